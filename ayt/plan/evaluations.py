"""How snapshots are evaluated: records of scores, of denoising scores and of sample grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast, get_args

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.metrics.base import METRICS, DenoisingMetric, SampleMetric
from ayt.plan import records
from ayt.plan.records import Record, digest, part, require_version
from ayt.plan.references import EVALUATION_VERSION, Reference

Convention = Literal["ayt", "ect"]

Precision = Literal["tf32", "bf16"]
"""Precision of the sampled network; bf16 becomes part of the result's name."""


def precision_content(precision: Precision) -> dict[str, str]:
    """Its part of a record and of its name: left out at the default."""
    return {} if precision == "tf32" else {"precision": precision}


def parse_precision(content: Any, source: str) -> Precision:
    """The inverse.

    Raises:
        UserError: it is unknown to this version.
    """
    found = content.get("precision", "tf32")
    if found not in get_args(Precision):
        raise UserError(f"{source}.precision = {found!r}: unknown; choose from {', '.join(get_args(Precision))}")
    return cast(Precision, found)


@dataclass(frozen=True)
class Sampling:
    """How images are sampled.

    Attributes:
        mids: noise levels between the steps, decreasing; one fewer than the steps.
        convention: ``ayt``: each step ends at noise level 0.002; ``ect``: each step ends at the denoised image.
        seed: of the noise.
        precision: of the network.
    """

    mids: tuple[float, ...]
    convention: Convention
    seed: int
    precision: Precision = "tf32"

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.mids) + 1

    def content(self) -> dict[str, Any]:
        """Its content in a record."""
        about = {"mids": list(self.mids), "convention": self.convention, "seed": self.seed}
        return about | precision_content(self.precision)

    @classmethod
    def parse(cls, content: Any, source: str) -> Sampling:
        """From its content in a record.

        Raises:
            UserError: this version does not understand it.
        """
        convention = part(content, "convention", str, source)
        return cls(
            tuple(part(content, "mids", list, source)),
            cast(Convention, convention),
            part(content, "seed", int, source),
            parse_precision(content, source),
        )


class SnapshotRecord(Record):
    """A computation on the snapshots of one run: one result per iteration and average, beside the record."""

    run: str
    """Name of the run."""

    folder_name: ClassVar[str]

    suffix: ClassVar[str] = "json"
    """The suffix of its results."""

    def folder(self, run: Path) -> Path:
        """The folder of its results, in a run's folder."""
        return run / self.folder_name / self.name

    def result(self, run: Path, iteration: int | str, average: str = "") -> Path:
        """The result for the snapshot after ``iteration`` iterations, of the run's first average or another one."""
        return paths.numbered_file(paths.average_folder(self.folder(run), average), iteration, self.suffix)

    def kept(self, run: Path, iteration: int, average: str = "") -> Path:
        """A second copy, where no workflow removes it before restarting a job."""
        result = self.result(run, iteration, average)
        return result.with_name("kept") / result.name

    def record(self, run: Path) -> Path:
        """The path of its record."""
        return self.folder(run) / "record.yaml"


class Comparison(Protocol):
    """What records of samples have in common: how many are compared with what, and by which metrics."""

    @property
    def samples(self) -> int:
        """Images per repeat."""

    @property
    def repeats(self) -> int:
        """Number of repeats, with different noise."""

    @property
    def reference(self) -> Reference:
        """What samples are compared with."""

    @property
    def more(self) -> tuple[SampleMetric, ...]:
        """Metrics besides those that are always computed."""


def comparison_identity(of: Comparison) -> dict[str, Any]:
    """Its part of a record's identity."""
    return {
        "samples": of.samples,
        "repeats": of.repeats,
        "reference": of.reference.name,
        "more": {metric.name: metric.identity() for metric in of.more},
    }


def comparison_content(of: Comparison) -> dict[str, Any]:
    """Its part of a record's file."""
    return {
        "samples": of.samples,
        "repeats": of.repeats,
        "reference": of.reference.content(),
        "more": [METRICS.dump(metric) for metric in of.more],
    }


def parse_comparison(content: Any, source: str) -> dict[str, Any]:
    """The fields of `Comparison`, from a record's content.

    Raises:
        UserError: this version does not understand it.
    """
    return {
        "samples": part(content, "samples", int, source),
        "repeats": part(content, "repeats", int, source),
        "reference": Reference.parse(part(content, "reference", dict, source), f"{source}.reference"),
        "more": tuple(
            cast(SampleMetric, METRICS.parse(found, f"{source}.more")) for found in part(content, "more", list, source)
        ),
    }


@dataclass(frozen=True, eq=False)
class Score(SnapshotRecord):
    """Everything that affects the scores of samples from a run's snapshots.

    Attributes:
        run: name of the run.
        sampling: how images are sampled.
        samples: images per repeat.
        repeats: number of repeats, with different noise.
        reference: what they are compared with.
        more: metrics besides those that are always computed.
    """

    kind: ClassVar[str] = "score"
    folder_name: ClassVar[str] = "scores"

    run: str
    sampling: Sampling
    samples: int
    repeats: int
    reference: Reference
    more: tuple[SampleMetric, ...] = ()

    @property
    def precision(self) -> Precision:
        """Precision of the network."""
        return self.sampling.precision

    @cached_property
    def name(self) -> str:
        """``steps{n}-{hash8}``: the folder of the scores; the same for every run."""
        numbers = {
            "version": EVALUATION_VERSION,
            "sampling": self.sampling.content(),
            **comparison_identity(self),
        }
        return f"steps{self.sampling.steps}-{digest(numbers)}"

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "version": EVALUATION_VERSION,
            "run": self.run,
            "sampling": self.sampling.content(),
            **comparison_content(self),
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Score:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        require_version(content, EVALUATION_VERSION, source)
        return cls(
            run=part(content, "run", str, source),
            sampling=Sampling.parse(part(content, "sampling", dict, source), f"{source}.sampling"),
            **parse_comparison(content, source),
        )


@dataclass(frozen=True, eq=False)
class DenoisingScore(SnapshotRecord):
    """Everything that affects a metric of real images noised to t and denoised in one step by snapshots.

    Attributes:
        run: name of the run.
        metric: the metric.
        t: noise level.
        samples: images per repeat, from the start of the dataset; at most all of it.
        repeats: number of repeats, with different noise.
        convention: where the step ends.
        seed: of the noise.
        reference: what they are compared with.
        precision: of the network.
    """

    kind: ClassVar[str] = "denoising"
    folder_name: ClassVar[str] = "scores"

    run: str
    metric: DenoisingMetric
    t: float
    samples: int
    repeats: int
    convention: Convention
    seed: int
    reference: Reference
    precision: Precision = "tf32"

    @cached_property
    def name(self) -> str:
        """``{metric}-t{t}-{hash8}``: the folder of the scores; the same for every run."""
        numbers = {
            "version": EVALUATION_VERSION,
            "metric": METRICS.identity(self.metric),
            "t": self.t,
            "samples": self.samples,
            "repeats": self.repeats,
            "convention": self.convention,
            "seed": self.seed,
            "reference": self.reference.name,
            **precision_content(self.precision),
        }
        return f"{self.metric.name}-t{self.t:g}-{digest(numbers)}"

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "version": EVALUATION_VERSION,
            "run": self.run,
            "metric": METRICS.dump(self.metric),
            "t": self.t,
            "samples": self.samples,
            "repeats": self.repeats,
            "convention": self.convention,
            "seed": self.seed,
            "reference": self.reference.content(),
            **precision_content(self.precision),
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> DenoisingScore:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        require_version(content, EVALUATION_VERSION, source)
        metric = METRICS.parse(part(content, "metric", dict, source), f"{source}.metric")
        return cls(
            run=part(content, "run", str, source),
            metric=cast(DenoisingMetric, metric),
            t=float(part(content, "t", (int, float), source)),
            samples=part(content, "samples", int, source),
            repeats=part(content, "repeats", int, source),
            convention=cast(Convention, part(content, "convention", str, source)),
            seed=part(content, "seed", int, source),
            reference=Reference.parse(part(content, "reference", dict, source), f"{source}.reference"),
            precision=parse_precision(content, source),
        )


@dataclass(frozen=True, eq=False)
class Grid(SnapshotRecord):
    """The first samples of a run's snapshots, kept as images.

    Attributes:
        run: name of the run.
        sampling: how images are sampled.
        images: number of images kept.
    """

    kind: ClassVar[str] = "grid"
    folder_name: ClassVar[str] = "grids"
    suffix: ClassVar[str] = "npz"

    run: str
    sampling: Sampling
    images: int

    @cached_property
    def name(self) -> str:
        """``steps{n}-{hash8}``: the folder of the images; the same for every run."""
        numbers = {"version": EVALUATION_VERSION, "sampling": self.sampling.content(), "images": self.images}
        return f"steps{self.sampling.steps}-{digest(numbers)}"

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "version": EVALUATION_VERSION,
            "run": self.run,
            "sampling": self.sampling.content(),
            "images": self.images,
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Grid:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        require_version(content, EVALUATION_VERSION, source)
        return cls(
            run=part(content, "run", str, source),
            sampling=Sampling.parse(part(content, "sampling", dict, source), f"{source}.sampling"),
            images=part(content, "images", int, source),
        )


def read_evaluation(path: Path) -> Score | DenoisingScore:
    """Read the record of scores.

    Raises:
        UserError: the file is missing, a different record, of another version, or was edited.
    """
    kinds: Mapping[str, Callable[[Any, str], Score | DenoisingScore]] = {
        Score.kind: Score.parse,
        DenoisingScore.kind: DenoisingScore.parse,
    }
    return records.read(path, kinds)


def read_grid(path: Path) -> Grid:
    """Read the record of sample grids; raises as `read_evaluation` does."""
    return records.read(path, {Grid.kind: Grid.parse})
