"""Anchors: weights that were not trained here, scored like snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

from ayt.base import paths
from ayt.datasets.base import DATASETS, Dataset
from ayt.metrics.base import SampleMetric
from ayt.networks.base import Denoiser
from ayt.plan import records
from ayt.plan.evaluations import (
    Precision,
    Sampling,
    comparison_content,
    comparison_identity,
    parse_comparison,
    parse_precision,
    precision_content,
)
from ayt.plan.records import Record, digest, part, require_version
from ayt.plan.references import EVALUATION_VERSION, Reference
from ayt.plan.runs import Weights, parse_weights


@dataclass(frozen=True)
class Heun:
    """A diffusion model is sampled along its trajectory, without further noise (EDM, algorithm 1).

    Attributes:
        steps: number of steps of Heun's method; the last is an Euler step.
        seed: seed of the initial noise.
        precision: of the network.
    """

    steps: int
    seed: int
    precision: Precision = "tf32"

    @property
    def evaluations(self) -> int:
        """Network evaluations per image."""
        return 2 * self.steps - 1

    def content(self) -> dict[str, Any]:
        """Its content in a record."""
        return {"heun": self.steps, "seed": self.seed, **precision_content(self.precision)}


@dataclass(frozen=True, eq=False)
class Anchor(Record):
    """Everything that affects the scores of samples from weights that were not trained here.

    Attributes:
        dataset: the dataset the weights are for.
        weights: of a denoiser.
        sampling: how images are sampled.
        samples: images per repeat.
        repeats: number of repeats, with different noise.
        reference: what they are compared with.
        more: metrics besides those that are always computed.
    """

    kind: ClassVar[str] = "anchor"

    dataset: Dataset
    weights: Weights
    sampling: Heun | Sampling
    samples: int
    repeats: int
    reference: Reference
    more: tuple[SampleMetric, ...] = ()

    @cached_property
    def name(self) -> str:
        """``heun{n}-{hash8}``, or ``steps{n}-{hash8}`` for a consistency model."""
        numbers = {
            "version": EVALUATION_VERSION,
            "dataset": DATASETS.identity(self.dataset),
            "weights": self.weights.identity(),
            "sampling": self.sampling.content(),
            **comparison_identity(self),
        }
        how = "heun" if isinstance(self.sampling, Heun) else "steps"
        return f"{how}{self.sampling.steps}-{digest(numbers)}"

    @property
    def record(self) -> Path:
        """The path of its record."""
        return paths.anchor(self.dataset.name, self.name, "yaml")

    @property
    def path(self) -> Path:
        """The path of its scores."""
        return paths.anchor(self.dataset.name, self.name, "json")

    @property
    def evaluations(self) -> int:
        """Network evaluations per image."""
        return self.sampling.evaluations if isinstance(self.sampling, Heun) else self.sampling.steps

    @property
    def classes(self) -> int:
        """Number of classes the denoiser is conditioned on; 0: none."""
        return cast(Denoiser, self.weights.network).classes(self.dataset)

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "version": EVALUATION_VERSION,
            "dataset": DATASETS.dump(self.dataset),
            "weights": self.weights.content(),
            "sampling": self.sampling.content(),
            **comparison_content(self),
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Anchor:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        require_version(content, EVALUATION_VERSION, source)
        return cls(
            dataset=DATASETS.parse(part(content, "dataset", dict, source), f"{source}.dataset"),
            weights=parse_weights(part(content, "weights", dict, source), f"{source}.weights"),
            sampling=_parse_sampling(part(content, "sampling", dict, source), f"{source}.sampling"),
            **parse_comparison(content, source),
        )


def read_anchor(path: Path) -> Anchor:
    """Read the record of an anchor.

    Raises:
        UserError: the file is missing, a different record, of another version, or was edited.
    """
    return records.read(path, {Anchor.kind: Anchor.parse})


def _parse_sampling(content: dict[str, Any], source: str) -> Heun | Sampling:
    if "heun" in content:
        steps, seed = (part(content, key, int, source) for key in ("heun", "seed"))
        return Heun(steps, seed, parse_precision(content, source))
    return Sampling.parse(content, source)
