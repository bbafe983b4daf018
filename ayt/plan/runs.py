"""Training runs: their records, their names, and the segments they are divided into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.kinds import validate
from ayt.base.sections import choices
from ayt.datasets.base import DATASETS, Dataset
from ayt.methods.base import METHODS, Method
from ayt.methods.classification import ClassifierTraining
from ayt.methods.mid_training import MidTraining
from ayt.methods.pretraining import Pretraining
from ayt.methods.stopping import Stop
from ayt.methods.training import Training
from ayt.networks.base import DENOISERS, FEATURE_NETWORKS, Denoiser, FeatureNetwork
from ayt.plan import records
from ayt.plan.records import Record, digest, part


@dataclass(frozen=True)
class Published:
    """Converted published weights: the name of the asset or imported file, and the network they belong to.

    Attributes:
        checkpoint: the name.
        network: the network they belong to.
        recognises: the group of transformations that a transformation classifier recognises; otherwise None.
    """

    checkpoint: str
    network: Denoiser | FeatureNetwork
    recognises: str | None = None

    @property
    def name(self) -> str:
        """What identifies the weights in messages and tables."""
        return self.checkpoint

    @property
    def path(self) -> Path:
        """The path of the weights."""
        return paths.checkpoint(self.checkpoint)

    def path_from(self, folder: Path) -> Path:
        """The path of the weights, given the folder of a run that is made from them."""
        return self.path

    def identity(self) -> dict[str, Any]:
        """What distinguishes these weights from others."""
        return {"checkpoint": self.checkpoint, "network": _identity(self.network), "recognises": self.recognises}

    def content(self) -> dict[str, Any]:
        """Its content in a record."""
        recognises = {"recognises": self.recognises} if self.recognises else {}
        return {"checkpoint": self.checkpoint, "network": _dump(self.network), **recognises}


@dataclass(frozen=True)
class Snapshot:
    """The averaged weights of a run after some number of iterations.

    Attributes:
        run: the run.
        iteration: iterations done.
        average: one of the run's averages, by name; empty: the first.
    """

    run: RunRecord
    iteration: int
    average: str = ""

    @property
    def name(self) -> str:
        """What identifies the weights: run, iteration and, if it is not the first, average."""
        return f"{self.run.name}@{self.iteration}{f'@{self.average}' if self.average else ''}"

    @property
    def path(self) -> Path:
        """The path of the weights."""
        return paths.snapshot(self.run.folder, self.iteration, self.average)

    def path_from(self, folder: Path) -> Path:
        """The path of the weights, given the folder of a run on the same dataset that is made from them."""
        return paths.snapshot(paths.sibling_folder(folder, self.run.name), self.iteration, self.average)

    @property
    def network(self) -> Denoiser | FeatureNetwork:
        """The network they belong to."""
        return self.run.network

    @property
    def recognises(self) -> str | None:
        """The group of transformations that a transformation classifier recognises; otherwise None."""
        return self.run.training.recognises if isinstance(self.run.training, ClassifierTraining) else None

    def identity(self) -> dict[str, Any]:
        """What distinguishes these weights from others; the run's name covers everything else."""
        return {"run": self.run.name, "iteration": self.iteration, **self._average}

    def content(self) -> dict[str, Any]:
        """Its content in a record."""
        return {"iteration": self.iteration, **self._average, "run": self.run.content()}

    @property
    def _average(self) -> dict[str, str]:
        return {"average": self.average} if self.average else {}


Weights = Snapshot | Published


@dataclass(frozen=True, eq=False)
class RunRecord(Record):
    """Everything that affects the weights of one training run.

    Attributes:
        dataset: the training data.
        network: the network to train.
        training: how it is trained.
        batch_size: images per iteration, over all processes.
        seed: of everything random.
        upstream: the weights that it is made from, by role: ``start`` for what a consistency model starts from, others
            as named by the method.
        auxiliary: the networks trained alongside the denoiser, by role.
    """

    kind: ClassVar[str] = "run"

    dataset: Dataset
    network: Denoiser | FeatureNetwork
    training: Training
    batch_size: int
    seed: int
    upstream: Mapping[str, Weights] = field(default_factory=dict)
    auxiliary: Mapping[str, FeatureNetwork] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """``{method}-bs{batch}-seed{seed}-{hash8}`` for a consistency model; others begin with their kind."""
        numbers = {
            "dataset": DATASETS.identity(self.dataset),
            "network": _identity(self.network),
            "training": {"name": self.training.name, **self.training.identity()},
            "batch_size": self.batch_size,
            "seed": self.seed,
            "upstream": {role: weights.identity() for role, weights in self.upstream.items()},
        }
        if self.auxiliary:
            numbers["auxiliary"] = {role: _identity(network) for role, network in self.auxiliary.items()}
        return f"{self.training.stem}-bs{self.batch_size}-seed{self.seed}-{digest(numbers)}"

    @cached_property
    def folder(self) -> Path:
        """The run's folder."""
        return paths.run_folder(self.dataset.name, self.name)

    @property
    def inputs(self) -> list[Path]:
        """The files that it is made from: the dataset, upstream weights, published networks."""
        return [*self.dataset.files, *(weights.path for weights in self.upstream.values()), *self.training.files]

    @property
    def sampling_inputs(self) -> list[Path]:
        """The files needed to sample its snapshots, besides themselves."""
        return [self.upstream[role].path for role in self.training.sampled_with]

    @property
    def classes(self) -> int:
        """Number of classes its denoiser is conditioned on; 0: none."""
        return self.network.classes(self.dataset) if isinstance(self.network, Denoiser) else 0

    @property
    def average_names(self) -> tuple[str, ...]:
        """Its averages' names, in order: ``0.9999``, ``power0.05``."""
        return self.training.average_names

    @cached_property
    def averages(self) -> tuple[str, ...]:
        """Its averages as named in snapshots and paths: empty for the first, which has no separate folder."""
        return ("", *self.average_names[1:])

    def average_called(self, name: str) -> str:
        """One of `averages` by its name in `average_names`.

        Raises:
            UserError: the run keeps no such average.
        """
        if name not in self.average_names:
            raise UserError(f"{self.name}: keeps no average {name!r}; {choices(name, self.average_names)}")
        return self.averages[self.average_names.index(name)]

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        training = self.training
        settings = METHODS.dump(training) if isinstance(training, Method) else _dump_fixed(training)
        auxiliary = {role: FEATURE_NETWORKS.dump(network) for role, network in self.auxiliary.items()}
        return {
            "stage": training.stage,
            "dataset": DATASETS.dump(self.dataset),
            "network": _dump(self.network),
            "training": settings,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "upstream": {role: weights.content() for role, weights in self.upstream.items()},
            **({"auxiliary": auxiliary} if auxiliary else {}),
        }


def read_run(path: Path) -> RunRecord:
    """Read ``run.yaml``.

    Raises:
        UserError: the file is missing, not a run's record, of another version, or was edited.
    """
    return records.read(path, {RunRecord.kind: parse_run})


def parse_run(content: Any, source: str) -> RunRecord:
    """A run from its record's content.

    Raises:
        UserError: this version does not understand it.
    """
    stage = part(content, "stage", str, source)
    trained = part(content, "training", dict, source)
    batch_size, seed = part(content, "batch_size", int, source), part(content, "seed", int, source)
    training: Training
    if stage in FIXED:
        training = _parse_fixed(FIXED[stage], trained, f"{source}.training")
    else:
        # How often a run is repeated does not affect it, and is not in its record.
        training = METHODS.parse({**trained, "batch_sizes": [batch_size], "seeds": [seed]}, f"{source}.training")
    networks = FEATURE_NETWORKS if stage == ClassifierTraining.stage else DENOISERS
    network: Denoiser | FeatureNetwork = networks.parse(content.get("network"), f"{source}.network")
    upstream = part(content, "upstream", dict, source)
    auxiliary = part(content, "auxiliary", dict, source) if "auxiliary" in content else {}
    return RunRecord(
        dataset=DATASETS.parse(content.get("dataset"), f"{source}.dataset"),
        network=network,
        training=training,
        batch_size=batch_size,
        seed=seed,
        upstream={role: parse_weights(found, f"{source}.upstream.{role}") for role, found in upstream.items()},
        auxiliary={
            role: FEATURE_NETWORKS.parse(found, f"{source}.auxiliary.{role}") for role, found in auxiliary.items()
        },
    )


def parse_weights(content: Any, source: str) -> Weights:
    """Upstream weights, from their form in `RunRecord.content`.

    Raises:
        UserError: this version does not understand them.
    """
    if isinstance(content, dict) and "checkpoint" in content:
        described = part(content, "network", dict, source)
        is_feature_network = FEATURE_NETWORKS.get(described.get(FEATURE_NETWORKS.key)) is not None
        networks = FEATURE_NETWORKS if is_feature_network else DENOISERS
        network: Denoiser | FeatureNetwork = networks.parse(described, f"{source}.network")
        return Published(part(content, "checkpoint", str, source), network, content.get("recognises"))
    iteration = part(content, "iteration", int, source)
    run = parse_run(part(content, "run", dict, source), f"{source}.run")
    average = content.get("average", "")
    if average not in run.averages:
        raise UserError(f"{source}.average = {average!r}: the run keeps no such average")
    return Snapshot(run, iteration, average)


FIXED: dict[str, type[Training]] = {
    training.stage: training for training in (Pretraining, ClassifierTraining, MidTraining)
}
"""Stages with a single kind of training."""


def _dump_fixed(training: Training) -> dict[str, Any]:
    return {"version": training.version, **training.settings()}


def _parse_fixed(model: type[Training], content: dict[str, Any], source: str) -> Training:
    settings = dict(content)
    version = settings.pop("version", None)
    if version != model.version:
        raise UserError(f"{source}: was written for version {version}; this is version {model.version}")
    return validate(model, settings, source)


def _identity(network: Denoiser | FeatureNetwork) -> dict[str, Any]:
    return DENOISERS.identity(network) if isinstance(network, Denoiser) else FEATURE_NETWORKS.identity(network)


def _dump(network: Denoiser | FeatureNetwork) -> dict[str, Any]:
    return DENOISERS.dump(network) if isinstance(network, Denoiser) else FEATURE_NETWORKS.dump(network)


@dataclass(frozen=True)
class Segment:
    """Iterations ``start`` to ``stop`` of a run, with a snapshot every ``every`` iterations."""

    start: int
    stop: int
    every: int

    @property
    def label(self) -> str:
        """The suffix of its rules' names."""
        return f"{self.start}_to_{self.stop}_by_{self.every}"

    def begins_with(self, folder: Path) -> list[Path]:
        """The state that it starts from; none for a run's first segment."""
        return [paths.state(folder, self.start)] if self.start else []

    @property
    def iterations(self) -> list[int]:
        """The iterations of its snapshots."""
        return list(range(self.start + self.every, self.stop + 1, self.every))

    def files(self, folder: Path, averages: Sequence[str]) -> list[Path]:
        """Its snapshots of these averages, in the folder of a run."""
        return [paths.snapshot(folder, iteration, name) for iteration in self.iterations for name in averages]

    def made(self, folder: Path, averages: Sequence[str]) -> list[Path]:
        """Its snapshots of these averages, and the state at its end."""
        return [*self.files(folder, averages), paths.state(folder, self.stop)]

    def snapshots(self, after: int, until: int) -> list[int]:
        """The iterations of its snapshots in (after, until]."""
        return [iteration for iteration in self.iterations if after < iteration <= until]


@dataclass(frozen=True, eq=False)
class Run:
    """A training run of an experiment, with its length, its segments, and its rule for stopping early.

    Equal runs have equal names.
    """

    record: RunRecord
    iterations: int
    segment: int
    snapshot_every: int
    label: str = ""
    stop: Stop | None = None

    @property
    def name(self) -> str:
        """The run's folder name."""
        return self.record.name

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.record.folder

    @property
    def title(self) -> str:
        """Its name in captions: ``ECT, batch size 8, seed 0``."""
        return f"{self.label}, batch size {self.record.batch_size}, seed {self.record.seed}"

    @property
    def last(self) -> Snapshot:
        """The snapshot at its end."""
        return Snapshot(self.record, self.iterations)

    @property
    def snapshot_iterations(self) -> list[int]:
        """The iterations of its snapshots, in order."""
        return list(range(self.snapshot_every, self.iterations + 1, self.snapshot_every))

    @property
    def snapshots(self) -> list[Snapshot]:
        """All snapshots, in order: one per average at each iteration."""
        return [
            Snapshot(self.record, iteration, average)
            for iteration in self.snapshot_iterations
            for average in self.record.averages
        ]

    @property
    def segments(self) -> list[Segment]:
        """All segments, in order."""
        return [
            Segment(stop - self.segment, stop, self.snapshot_every)
            for stop in range(self.segment, self.iterations + 1, self.segment)
        ]
