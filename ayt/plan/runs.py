"""Trainings: what a run is called, where it lives, its snapshots, and the segments that it is cut into."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ayt.base import paths
from ayt.plan.records import ClassifierSpec, ConsistencySpec, PretrainSpec

VERBS = {"pretrain": "pretrain", "classifier": "train-classifier", "train": "train"}


@dataclass(frozen=True)
class Snapshot:
    """One run's EMA weights at one iteration."""

    run: Run
    iteration: int

    @property
    def path(self) -> Path:
        """Where the weights are."""
        return paths.snapshot(self.run.folder, self.iteration)


@dataclass(frozen=True)
class Checkpoint:
    """Published weights, converted."""

    name: str

    @property
    def path(self) -> Path:
        """Where the weights are."""
        return paths.checkpoint(self.name)


@dataclass(frozen=True, eq=False)
class Run:
    """One training, with how far it goes and where it is cut; equal runs have equal names."""

    spec: PretrainSpec | ClassifierSpec | ConsistencySpec
    iterations: int
    segment: int
    snapshot_every: int
    upstream: tuple[Path, ...] = ()
    """The files that it is made from: the dataset's, if it was downloaded, and weights."""
    label: str = ""

    @cached_property
    def name(self) -> str:
        """The run's folder name."""
        return self.spec.name

    @cached_property
    def folder(self) -> Path:
        """Where the run lives."""
        return paths.run_folder(self.spec.dataset.name, self.name)

    @property
    def title(self) -> str:
        """As captions name it: ``ECT, batch size 8, seed 0``."""
        return f"{self.label}, batch size {self.spec.batch_size}, seed {self.spec.seed}"

    @property
    def record(self) -> str:
        """Its specification as JSON, as ``ayt record`` wants it; the same text for the same run."""
        return json.dumps(self.spec.model_dump(mode="json"), sort_keys=True)

    @property
    def last(self) -> Snapshot:
        """The snapshot at its end."""
        return Snapshot(self, self.iterations)

    @property
    def snapshots(self) -> list[Snapshot]:
        """All snapshots, in order."""
        return [
            Snapshot(self, iteration)
            for iteration in range(self.snapshot_every, self.iterations + 1, self.snapshot_every)
        ]

    @property
    def segments(self) -> list[Segment]:
        """All segments, in order."""
        return [
            Segment(self.spec.kind, stop - self.segment, stop, self.snapshot_every)
            for stop in range(self.segment, self.iterations + 1, self.segment)
        ]


@dataclass(frozen=True)
class Segment:
    """Iterations ``start`` to ``stop`` of any run of one kind, with a snapshot every ``every`` iterations."""

    kind: str
    start: int
    stop: int
    every: int

    @property
    def label(self) -> str:
        """What its rules are called by."""
        return f"{self.start}_to_{self.stop}_by_{self.every}"

    @property
    def verb(self) -> str:
        """The verb of ``ayt`` that trains it."""
        return VERBS[self.kind]

    def begins_with(self, folder: Path) -> list[Path]:
        """The state that it begins with; none for a run's first segment."""
        return [paths.state(folder, self.start)] if self.start else []

    @property
    def iterations(self) -> list[int]:
        """The iterations of its snapshots."""
        return list(range(self.start + self.every, self.stop + 1, self.every))
