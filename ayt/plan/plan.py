"""From an experiment to what must be computed: its runs, scores, analyses, and what figures and tables need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ayt.base import paths
from ayt.experiment import outputs
from ayt.experiment import schema
from ayt.experiment.schema import Experiment, base_name
from ayt.plan.runs import Checkpoint, Run, Segment, Snapshot
from ayt.plan.evaluations import DENOISING_METRICS, KEPT_METRICS, Evaluation, Features, evaluation
from ayt.plan.records import (
    ANALYSIS_VERSION,
    ClassifierCheckpoint,
    ClassifierSpec,
    ClassifierUpstream,
    ConsistencySpec,
    DenoiserCheckpoint,
    DenseNetSpec,
    LossSpec,
    Optimiser,
    PretrainSpec,
    PretrainUpstream,
    ResNetSpec,
    Times,
    UNetSpec,
    VGGSpec,
    ViTSpec,
    digest,
)

NETWORK_SPECS: dict[str, type[VGGSpec | ResNetSpec | DenseNetSpec | ViTSpec]] = {
    "vgg": VGGSpec,
    "resnet": ResNetSpec,
    "densenet": DenseNetSpec,
    "vit": ViTSpec,
}


@dataclass(frozen=True)
class Analysis:
    """A look into one run: a verb of ``ayt``, and everything that changes what it finds."""

    verb: str
    run: Run
    iteration: int
    arguments: str
    inputs: tuple[Path, ...]

    @cached_property
    def name(self) -> str:
        """``{verb}-{hash8}``: the folder of its results."""
        return f"{self.verb}-{digest([ANALYSIS_VERSION, self.arguments])}"

    @property
    def path(self) -> Path:
        """Where its result is."""
        return paths.analysis(self.run.folder, self.name, self.iteration)


def toy_name(toy: outputs.Toy) -> str:
    """``{manifold}-{hash8}``, over everything that changes what the toy experiment measures."""
    return f"{toy.manifold}-{digest([ANALYSIS_VERSION, toy.model_dump()])}"


class Plan:
    """All that one experiment asks for.

    Attributes:
        experiment: the experiment.
        data: the files of the dataset; none where it is shipped with a library.
        start: the weights that consistency training starts from.
        trained: the consistency runs, in the order of the experiment.
        runs: all runs by name, upstream ones first.
        features: what images are compared in.
        evaluations: how each snapshot of the consistency runs is scored.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.data = [paths.dataset(experiment.dataset.name)] if experiment.dataset.name == "cifar10" else []
        self._classifiers: dict[str, Run | Checkpoint] = {}
        self.pretrained = self._pretrained()
        self.start = self.pretrained.last if self.pretrained else Checkpoint(experiment.start.checkpoint or "")
        self._methods = list(self._consistency())
        self.trained = [run for _, run in self._methods]
        asked = experiment.evaluation
        self.features = Features(
            dataset=experiment.dataset,
            classifier=None if asked.features == "inception" else self._trained_features(asked.features),
            statistics=None if asked.reference == "dataset" else asked.reference,
            kept=asked.kept if KEPT_METRICS & set(asked.metrics) else 0,
        )
        self.evaluations = [
            evaluation(
                steps=steps,
                mids=asked.mids.get(steps, ()),
                samples=asked.samples,
                repeats=asked.repeats,
                seed=asked.seed,
                convention=asked.convention,
                grid=asked.grid,
                metrics=asked.metrics,
                denoise=asked.denoise,
                features=self.features.name,
                reference=self.features.reference_name,
            )
            for steps in asked.steps
        ]
        for figure in experiment.figures.values():
            if isinstance(figure, outputs.TransformationsFigure | outputs.ManifoldFigure | outputs.TangentsFigure):
                self.classifier(figure.classifier)
        self.runs: dict[str, Run] = {}
        classifiers = [run for run in self._classifiers.values() if isinstance(run, Run)]
        for run in [*([self.pretrained] if self.pretrained else []), *classifiers, *self.trained]:
            self.runs.setdefault(run.name, run)

    def classifier(self, name: str) -> Run | Checkpoint:
        """The run that trains the classifier that the experiment calls ``name``, or its published weights."""
        if name not in self._classifiers:
            settings = self.experiment.classifiers[name]
            made = Checkpoint(settings.checkpoint) if settings.checkpoint else self._classifier(settings)
            self._classifiers[name] = made
        return self._classifiers[name]

    def classifier_weights(self, name: str) -> Snapshot | Checkpoint:
        """The weights of the classifier that the experiment calls ``name``."""
        made = self.classifier(name)
        return made.last if isinstance(made, Run) else made

    def _trained_features(self, name: str) -> Snapshot:
        weights = self.classifier_weights(name)
        assert isinstance(weights, Snapshot)
        return weights

    @property
    def checkpoints(self) -> list[str]:
        """Names of the published weights that something uses."""
        made = [*self._classifiers.values(), self.start]
        return sorted({part.name for part in made if isinstance(part, Checkpoint)})

    def checkpoint_use(self, name: str) -> str:
        """What published weights are for, as ``ayt import-checkpoint`` wants it: a classifier's, or the denoiser's."""
        if isinstance(self.start, Checkpoint) and self.start.name == name:
            return ""
        names = [key for key, made in self._classifiers.items() if isinstance(made, Checkpoint) and made.name == name]
        return f"--classifier {names[0]}"

    @property
    def assets(self) -> list[str]:
        """The published files that are needed, as the table of assets calls them."""
        files = {path for run in self.runs.values() for path in run.upstream} | set(self.scoring)
        return [
            *([self.experiment.dataset.name] if self.data else []),
            *self.checkpoints,
            *([self.features.statistics] if self.features.statistics else []),
            *(["pytorch-fid-inception"] if paths.INCEPTION in files else []),
            *(["torchvision-vgg16"] if paths.VGG16 in files else []),
        ]

    def methods_and_runs(self) -> list[tuple[str, Run]]:
        """Each consistency run with the experiment's name of its method, the sweep's variant included."""
        return self._methods

    def evaluation(self, steps: int) -> Evaluation:
        """The evaluation with this number of steps."""
        return next(evaluation for evaluation in self.evaluations if evaluation.steps == steps)

    def upstream(self, run: str) -> list[Path]:
        """The files that a run is made from."""
        return list(self.runs[run].upstream)

    @property
    def scoring(self) -> list[Path]:
        """The files that scoring needs beside the snapshots: weights, statistics and, for some metrics, the data."""
        metrics = set(self.experiment.evaluation.metrics)
        lpips = [paths.VGG16] if "lpips" in metrics else []
        data = self.data if DENOISING_METRICS & metrics else []
        return [*self.features.inputs, self.features.reference, *lpips, *data]

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
        # Figures and tables show the first metric, unless they say another.
        return [*methods, sorted(map(str, self.scores())), [str(self.experiment.evaluation.metrics[0])]]

    def grids(self, figure: outputs.SamplesFigure) -> list[tuple[str, Run, Path]]:
        """For a figure of samples: label, run and images of each run with its seed."""
        name = self.evaluation(figure.steps).name
        return [
            (run.label, run, paths.sample_grid(run.folder, name, run.iterations))
            for method, run in self._chosen(figure.methods)
            if run.spec.seed == (self.experiment.methods[method].seeds[0] if figure.seed is None else figure.seed)
        ]

    def _chosen(self, methods: Sequence[str]) -> list[tuple[str, Run]]:
        """The consistency runs of some methods, by their names with or without variants; of all if none are named."""
        return [(name, run) for name, run in self._methods if not methods or {name, base_name(name)} & set(methods)]

    def analyses(self, name: str) -> list[Analysis]:
        """The analyses that a figure is drawn from; none if its kind needs none."""
        figure = self.experiment.figures[name]
        if isinstance(figure, outputs.TangentsFigure):
            return [self._tangents(figure)]
        if isinstance(figure, outputs.OscillationFigure):
            return [self._oscillation(figure, run) for run in self._oscillating(figure)]
        return [self._manifold(figure)] if isinstance(figure, outputs.ManifoldFigure) else []

    def _tangents(self, figure: outputs.TangentsFigure) -> Analysis:
        method, run = self._chosen([figure.method])[0]
        size = figure.batch_size or max(self.experiment.methods[method].batch_sizes)
        run = self._run(method, size, figure.seed)
        classifier = self._classifier_upstream(figure.classifier).model_dump(mode="json")
        return Analysis(
            verb="tangents",
            run=run,
            iteration=run.iterations,
            arguments=f"--classifier '{json.dumps(classifier, sort_keys=True)}' --images {figure.images}"
            f" {_times(figure.times)} --seed {self.experiment.evaluation.seed}",
            inputs=(run.last.path, self.classifier_weights(figure.classifier).path, *self.data),
        )

    def _oscillating(self, figure: outputs.OscillationFigure) -> list[Run]:
        """One run of each method that has the batch size and the seed."""
        runs = []
        for method, settings in self.experiment.methods.items():
            size = figure.batch_size or min(settings.batch_sizes)
            seed = settings.seeds[0] if figure.seed is None else figure.seed
            chosen = not figure.methods or bool({method, base_name(method)} & set(figure.methods))
            if chosen and size in settings.batch_sizes and seed in settings.seeds:
                runs.append(self._run(method, size, seed))
        return runs

    def _oscillation(self, figure: outputs.OscillationFigure, run: Run) -> Analysis:
        return Analysis(
            verb="oscillation",
            run=run,
            iteration=run.iterations,
            arguments=f"--iterations {figure.iterations} --images {figure.images} {_times(figure.times)}"
            f" --neighbours {figure.neighbours} --dimensions {figure.dimensions}"
            f" --seed {self.experiment.evaluation.seed}",
            inputs=(paths.state(run.folder, run.iterations), *run.upstream),
        )

    def _manifold(self, figure: outputs.ManifoldFigure) -> Analysis:
        run = self.classifier(figure.classifier)
        assert isinstance(run, Run)
        return Analysis(
            verb="manifold",
            run=run,
            iteration=run.iterations,
            arguments=f"--images {figure.images} --seed {self.experiment.evaluation.seed}",
            inputs=(run.last.path, *self.data),
        )

    def _run(self, method: str, batch_size: int, seed: int | None) -> Run:
        """The run of a method with this batch size and seed; without a seed the method's first."""
        seed = self.experiment.methods[method].seeds[0] if seed is None else seed
        return next(
            run
            for name, run in self._methods
            if name == method and (run.spec.batch_size, run.spec.seed) == (batch_size, seed)
        )

    @cached_property
    def analysed(self) -> dict[tuple[str, str], Analysis]:
        """All analyses, by the names of their run and of their own."""
        found = [analysis for name in self.experiment.figures for analysis in self.analyses(name)]
        return {(analysis.run.name, analysis.name): analysis for analysis in found}

    @cached_property
    def toys(self) -> dict[str, outputs.Toy]:
        """The toy experiments that some figure shows, by the names of their results."""
        figures = [figure for figure in self.experiment.figures.values() if isinstance(figure, outputs.ToyFigure)]
        return {toy_name(toy): toy for toy in (self.experiment.toys[figure.toy] for figure in figures)}

    def figure_data(self, name: str) -> list[Path]:
        """The files that a figure is drawn from."""
        figure = self.experiment.figures[name]
        if isinstance(figure, outputs.ScoreFigure):
            return [paths.scores_table(self.experiment.name)]
        if isinstance(figure, outputs.SamplesFigure):
            return [path for _, _, path in self.grids(figure)]
        if isinstance(figure, outputs.TransformationsFigure):
            run = self.classifier(figure.classifier)
            assert isinstance(run, Run)
            return [paths.classifier_report(run.folder, run.iterations, suffix) for suffix in ("csv", "npz")]
        if isinstance(figure, outputs.ToyFigure):
            return [paths.toy(toy_name(self.experiment.toys[figure.toy]))]
        return [analysis.path for analysis in self.analyses(name)]

    def table_data(self, name: str) -> list[Path]:
        """The files that a table is made from."""
        table = self.experiment.tables[name]
        if isinstance(table, outputs.PublishedTable):
            return []
        if isinstance(table, outputs.CostTable):
            return [
                paths.training_log(run.folder, segment.stop) for run in self.runs.values() for segment in run.segments
            ]
        return [paths.scores_table(self.experiment.name)]

    def _pretrained(self) -> Run | None:
        settings = self.experiment.start.pretraining
        if settings is None:
            return None
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
        return self._cut(spec, settings)

    def _classifier(self, settings: schema.AnyClassifier) -> Run:
        transforms = settings.task == "transformations"
        ramp = settings.iterations // 8 if settings.ramp is None else settings.ramp
        spec = ClassifierSpec(
            dataset=self.experiment.dataset,
            batch_size=settings.batch_size,
            seed=settings.seed,
            optimiser=_optimiser(settings, settings.iterations if settings.decay else None),
            task=settings.task,
            network=network_spec(settings),
            group=settings.group if transforms else None,
            probability=settings.probability if transforms else None,
            ramp=ramp if transforms else None,
        )
        return self._cut(spec, settings)

    def _cut(self, spec: PretrainSpec | ClassifierSpec, settings: schema.Pretraining | schema.Classifier) -> Run:
        segment = settings.segment or settings.iterations
        return Run(spec, settings.iterations, segment, snapshot_every=segment, upstream=tuple(self.data))

    def _consistency(self) -> Iterator[tuple[str, Run]]:
        for name, method in self.experiment.methods.items():
            upstream = [*self.data, self.start.path]
            classifier = None
            if isinstance(method, schema.Ayt | schema.LabelFeatures | schema.Hybrid):
                classifier = self._classifier_upstream(method.classifier)
                upstream.append(self.classifier_weights(method.classifier).path)
            elif isinstance(method, schema.Lpips):
                upstream.append(paths.VGG16)
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
                        start=self._start_upstream(),
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

    def _start_upstream(self) -> PretrainUpstream | DenoiserCheckpoint:
        if isinstance(self.start, Checkpoint):
            network = UNetSpec(**self.experiment.network.model_dump())
            return DenoiserCheckpoint(checkpoint=self.start.name, network=network)
        assert isinstance(self.start.run.spec, PretrainSpec)
        return PretrainUpstream(iteration=self.start.iteration, run=self.start.run.spec)

    def _classifier_upstream(self, name: str) -> ClassifierUpstream | ClassifierCheckpoint:
        weights = self.classifier_weights(name)
        if isinstance(weights, Checkpoint):
            settings = self.experiment.classifiers[name]
            group = settings.group if settings.task == "transformations" else None
            return ClassifierCheckpoint(checkpoint=weights.name, network=network_spec(settings), group=group)
        assert isinstance(weights.run.spec, ClassifierSpec)
        return ClassifierUpstream(iteration=weights.iteration, run=weights.run.spec)


def network_spec(settings: schema.AnyClassifier) -> VGGSpec | ResNetSpec | DenseNetSpec | ViTSpec:
    """The network of a classifier."""
    spec = NETWORK_SPECS[settings.family]
    return spec(**settings.model_dump(include=set(spec.model_fields)))


def _times(times: Sequence[float]) -> str:
    return " ".join(f"--time {t!r}" for t in times)


def _optimiser(settings: schema.Optimisation, decay: int | None) -> Optimiser:
    return Optimiser(
        lr=settings.lr, warmup=settings.warmup, decay=decay, ema=settings.ema, precision=settings.precision
    )
