"""From an experiment to what must be computed: runs, their segments, and how snapshots are scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ayt import paths
from ayt.config import schema
from ayt.config.schema import Experiment
from ayt.specs import (
    EVALUATION_VERSION,
    ClassifierSpec,
    ClassifierUpstream,
    ConsistencySpec,
    LossSpec,
    Optimiser,
    PretrainSpec,
    PretrainUpstream,
    Times,
    UNetSpec,
    VGGSpec,
    digest,
)

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


@dataclass(frozen=True, eq=False)
class Run:
    """One training, with how far it goes and where it is cut; equal runs have equal names."""

    spec: PretrainSpec | ClassifierSpec | ConsistencySpec
    iterations: int
    segment: int
    snapshot_every: int
    upstream: tuple[Snapshot, ...] = ()
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
    features_run: str
    features_iteration: int

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
            "features": [self.features_run, self.features_iteration],
        }
        return f"steps{self.steps}-{digest(numbers)}"

    @property
    def argument(self) -> str:
        """As ``ayt score`` wants it, for example ``1`` or ``2:0.821``."""
        return f"{self.steps}:{','.join(map(str, self.mids))}" if self.mids else str(self.steps)


class Plan:
    """All that one experiment asks for.

    Attributes:
        experiment: the experiment.
        trained: the consistency runs, in the order of the experiment.
        runs: all runs by name, upstream ones first.
        evaluations: how each snapshot of the consistency runs is scored.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._classifiers: dict[str, Run] = {}
        self.pretrained = self._pretrained()
        self._methods = list(self._consistency())
        self.trained = [run for _, run in self._methods]
        self.features = self.classifier(experiment.evaluation.features)
        self.evaluations = [
            Evaluation(
                steps=steps,
                mids=tuple(experiment.evaluation.mids.get(steps, ())),
                samples=experiment.evaluation.samples,
                repeats=experiment.evaluation.repeats,
                seed=experiment.evaluation.seed,
                convention=experiment.evaluation.convention,
                grid=experiment.evaluation.grid,
                features_run=self.features.name,
                features_iteration=self.features.iterations,
            )
            for steps in experiment.evaluation.steps
        ]
        for figure in experiment.figures.values():
            if isinstance(figure, schema.TransformationsFigure):
                self.classifier(figure.classifier)
        self.runs: dict[str, Run] = {}
        for run in [self.pretrained, *self._classifiers.values(), *self.trained]:
            self.runs.setdefault(run.name, run)

    def classifier(self, name: str) -> Run:
        """The run that trains the classifier that the experiment calls ``name``."""
        if name not in self._classifiers:
            self._classifiers[name] = self._classifier(self.experiment.classifiers[name])
        return self._classifiers[name]

    def methods_and_runs(self) -> list[tuple[str, Run]]:
        """Each consistency run with the experiment's name of its method, the sweep's variant included."""
        return self._methods

    def evaluation(self, steps: int) -> Evaluation:
        """The evaluation with this number of steps."""
        return next(evaluation for evaluation in self.evaluations if evaluation.steps == steps)

    def upstream(self, run: str) -> list[Path]:
        """The weights that a run is made from."""
        return [snapshot.path for snapshot in self.runs[run].upstream]

    def segments(self, kind: str | None = None) -> dict[Segment, list[Run]]:
        """Each segment that some run, of one kind if given, has, with the runs that have it."""
        found: dict[Segment, list[Run]] = {}
        for run in self.runs.values():
            for segment in run.segments if kind in (None, run.spec.kind) else []:
                found.setdefault(segment, []).append(run)
        return found

    def scores(self) -> list[Path]:
        """The score files of the experiment."""
        return [
            paths.score(run.folder, evaluation.name, snapshot.iteration)
            for run in self.trained
            for snapshot in run.snapshots
            for evaluation in self.evaluations
        ]

    def contents(self) -> list[list[str]]:
        """Which scores there are, and what their methods are called; in no order of the experiment's file."""
        methods = sorted([name, run.label, run.name] for name, run in self._methods)
        return [*methods, sorted(map(str, self.scores()))]

    def grids(self, figure: schema.SamplesFigure) -> list[tuple[str, Run, Path]]:
        """For a figure of samples: label, run and images of each run with its seed."""
        name = self.evaluation(figure.steps).name
        return [
            (run.label, run, paths.sample_grid(run.folder, name, run.iterations))
            for method, run in self._methods
            if run.spec.seed == (self.experiment.methods[method].seeds[0] if figure.seed is None else figure.seed)
        ]

    def figure_data(self, name: str) -> list[Path]:
        """The files that a figure is drawn from."""
        figure = self.experiment.figures[name]
        if isinstance(figure, schema.SamplesFigure):
            return [path for _, _, path in self.grids(figure)]
        if isinstance(figure, schema.TransformationsFigure):
            run = self.classifier(figure.classifier)
            return [paths.classifier_report(run.folder, run.iterations, suffix) for suffix in ("csv", "npz")]
        return [paths.scores_table(self.experiment.name)]

    def _pretrained(self) -> Run:
        settings = self.experiment.start.pretrain
        spec = PretrainSpec(
            dataset=self.experiment.dataset,
            batch_size=settings.batch_size,
            seed=settings.seed,
            optimiser=_optimiser(settings, settings.iterations if settings.decay else None),
            network=UNetSpec(**self.experiment.network.model_dump()),
            dropout=settings.dropout,
            sigma_mean=settings.sigma_mean,
            sigma_std=settings.sigma_std,
        )
        return _cut(spec, settings)

    def _classifier(self, settings: schema.Classifier) -> Run:
        transforms = settings.task == "transformations"
        ramp = settings.iterations // 8 if settings.ramp is None else settings.ramp
        spec = ClassifierSpec(
            dataset=self.experiment.dataset,
            batch_size=settings.batch_size,
            seed=settings.seed,
            optimiser=_optimiser(settings, settings.iterations if settings.decay else None),
            task=settings.task,
            network=VGGSpec(widths=settings.widths, convs=settings.convs, batch_norm=settings.batch_norm),
            group=settings.group if transforms else None,
            probability=settings.probability if transforms else None,
            ramp=ramp if transforms else None,
        )
        return _cut(spec, settings)

    def _consistency(self) -> Iterator[tuple[str, Run]]:
        start = self.pretrained.last
        assert isinstance(start.run.spec, PretrainSpec)
        for name, method in self.experiment.methods.items():
            upstream = [start]
            classifier = None
            if isinstance(method, schema.Ayt | schema.LabelFeatures | schema.Hybrid):
                weights = self.classifier(method.classifier).last
                assert isinstance(weights.run.spec, ClassifierSpec)
                upstream.append(weights)
                classifier = ClassifierUpstream(iteration=weights.iteration, run=weights.run.spec)
            for batch_size in method.batch_sizes:
                for seed in method.seeds:
                    spec = ConsistencySpec(
                        dataset=self.experiment.dataset,
                        batch_size=batch_size,
                        seed=seed,
                        optimiser=_optimiser(method, None),
                        loss=LossSpec(
                            name=method.loss,
                            c=method.c if isinstance(method, schema.Ect | schema.Hybrid) else None,
                            lambda_=method.lambda_ if isinstance(method, schema.Hybrid) else None,
                            ramp=method.ramp if isinstance(method, schema.Hybrid) else None,
                        ),
                        dropout=method.dropout,
                        times=Times(
                            mean=method.t_mean,
                            std=method.t_std,
                            q=method.q,
                            n=method.n,
                            k=method.k,
                            b=method.b,
                            stage_iterations=method.stage_iterations,
                        ),
                        start=PretrainUpstream(iteration=start.iteration, run=start.run.spec),
                        classifier=classifier,
                    )
                    segment = method.segment or method.iterations
                    run = Run(
                        spec=spec,
                        iterations=method.iterations,
                        segment=segment,
                        snapshot_every=method.snapshot_every or segment,
                        upstream=tuple(upstream),
                        label=method.label or "",
                    )
                    yield name, run


def _optimiser(settings: schema.Optimisation, decay: int | None) -> Optimiser:
    return Optimiser(lr=settings.lr, warmup=settings.warmup, decay=decay, ema=settings.ema)


def _cut(spec: PretrainSpec | ClassifierSpec, settings: schema.Pretraining | schema.Classifier) -> Run:
    segment = settings.segment or settings.iterations
    return Run(spec=spec, iterations=settings.iterations, segment=segment, snapshot_every=segment)
