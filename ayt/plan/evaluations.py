"""How snapshots are scored: everything that changes a score, and the names that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ayt.base import paths
from ayt.experiment.checks import DENOISING
from ayt.experiment.schema import Dataset
from ayt.plan.runs import Snapshot
from ayt.plan.records import EVALUATION_VERSION, digest

DENOISING_METRICS = set(DENOISING)
"""Metrics of real images that were noised and denoised in one step."""
KEPT_METRICS = {"kid", "precision", "recall", "density", "coverage"}
"""Metrics that compare features one by one."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that changes the score of a snapshot at one number of steps."""

    steps: int
    mids: tuple[float, ...]
    samples: int
    repeats: int
    seed: int
    convention: str
    grid: int
    metrics: tuple[str, ...]
    denoise: tuple[float, ...]
    features: str
    """``inception``, or the run and the iteration of a classifier."""
    reference: str
    """Name of the statistics of real images."""

    @cached_property
    def name(self) -> str:
        """``steps{n}-{hash8}``: the folder of the scores."""
        numbers = {
            "version": EVALUATION_VERSION,
            "mids": list(self.mids),
            "samples": self.samples,
            "repeats": self.repeats,
            "seed": self.seed,
            "convention": self.convention,
            "grid": self.grid,
            "metrics": list(self.metrics),
            "denoise": list(self.denoise),
            "features": self.features,
            "reference": self.reference,
        }
        return f"steps{self.steps}-{digest(numbers)}"

    @property
    def argument(self) -> str:
        """As ``ayt score`` wants it, for example ``1`` or ``2:0.821``."""
        return f"{self.steps}:{','.join(map(str, self.mids))}" if self.mids else str(self.steps)


def evaluation(
    *,
    steps: int,
    mids: Sequence[float],
    samples: int,
    repeats: int,
    seed: int,
    convention: str,
    grid: int,
    metrics: Sequence[str],
    denoise: Sequence[float],
    features: str,
    reference: str,
) -> Evaluation:
    """An evaluation with what matters at this number of steps: denoising metrics are scores of one step."""
    metrics = [metric for metric in metrics if steps == 1 or metric not in DENOISING_METRICS]
    return Evaluation(
        steps=steps,
        mids=tuple(mids),
        samples=samples,
        repeats=repeats,
        seed=seed,
        convention=convention,
        grid=grid,
        metrics=tuple(sorted(metrics)),
        denoise=tuple(denoise) if DENOISING_METRICS & set(metrics) else (),
        features=features,
        reference=reference,
    )


@dataclass(frozen=True)
class Features:
    """The network in whose features images are compared: pytorch-fid's Inception network, or a classifier."""

    dataset: Dataset
    classifier: Snapshot | None
    statistics: str | None
    """The asset that holds mean and covariance of real images' features; None: they are computed."""
    kept: int
    """Features of real images that are kept whole; 0: no metric needs them."""

    @property
    def name(self) -> str:
        """What identifies the network."""
        if self.classifier is None:
            return "inception"
        return f"{self.classifier.run.name}@{self.classifier.iteration}"

    @property
    def weights(self) -> Path:
        """Where the network's weights are."""
        return paths.INCEPTION if self.classifier is None else self.classifier.path

    @property
    def argument(self) -> str:
        """As ``ayt score`` wants it: ``inception``, or a run's record with the iteration of its snapshot."""
        if self.classifier is None:
            return "inception"
        return f"{paths.run_record(self.classifier.run.folder)}@{self.classifier.iteration}"

    @property
    def inputs(self) -> list[Path]:
        """The files that the network is made from."""
        return [self.weights, *([paths.run_record(self.classifier.run.folder)] if self.classifier else [])]

    @property
    def reference_name(self) -> str:
        """``{network}-{hash8}``, over everything that the statistics of real images depend on."""
        numbers = {
            "version": EVALUATION_VERSION,
            "dataset": self.dataset.model_dump(),
            "network": self.name,
            "statistics": self.statistics,
            "kept": self.kept,
        }
        stem = "inception" if self.classifier is None else "classifier"
        return f"{stem}-{digest(numbers)}"

    @property
    def reference(self) -> Path:
        """Where the statistics of real images are."""
        return paths.reference(self.dataset.name, self.reference_name)
