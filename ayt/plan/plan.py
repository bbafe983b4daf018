"""From an experiment to what must be computed: its runs, scores, analyses, and what figures and tables need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.experiment.schema import INCEPTION, Classifier, Experiment
from ayt.methods.base import Method
from ayt.methods.training import Stage, Training, average_name
from ayt.metrics.base import METRICS, DenoisingMetric, Metric, SampleMetric
from ayt.plan.analyses import Analysis
from ayt.plan.anchors import Anchor, Heun
from ayt.plan.evaluations import DenoisingScore, Grid, Sampling, Score
from ayt.plan.records import Record, digest
from ayt.plan.references import MOST_KEPT, FeatureSpace, Reference
from ayt.plan.runs import Published, Run, RunRecord, Segment, Snapshot, Weights


class ShownScore(NamedTuple):
    """A metric shown in figures and tables.

    Attributes:
        metric: the metric.
        record: the record of the scores that contain it.
        steps: sampling steps.
        title: its name in figures and tables.
    """

    metric: Metric
    record: Score | DenoisingScore
    steps: int
    title: str


class Plan:
    """Everything that one experiment asks for.

    Attributes:
        experiment: the experiment.
        pretrained: the run of the diffusion model that everything starts from; None: it is published.
        diffusion: its weights.
        mid_trained: the mid-training run between it and consistency training; None: there is none.
        start: the weights that consistency training starts from.
        trained: the consistency runs, in the order of the experiment.
        runs: all runs by name, upstream ones first.
        reference: features of real images that samples are compared with.
        metrics: the metrics to show, in the order of the experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._classifiers: dict[str, Run | Published] = {}
        self.pretrained = self._plan_pretraining()
        self.diffusion: Weights = (
            self.pretrained.last
            if self.pretrained
            else Published(experiment.start.checkpoint or "", experiment.network)
        )
        self.mid_trained = self._plan_mid_training()
        self.start = self.mid_trained.last if self.mid_trained else self.diffusion
        self._made: dict[tuple[str, int, int], Run] = {}
        self._methods = list(self._consistency())
        self.trained = [run for _, run in self._methods]
        asked = experiment.evaluation
        features = None if asked.features == INCEPTION else self.classifier_weights(asked.features)
        self.reference = Reference(
            dataset=experiment.dataset,
            features=FeatureSpace(features),
            statistics=None if asked.reference == "dataset" else asked.reference,
            kept=min(asked.samples, MOST_KEPT),
        )
        self.metrics: list[Metric] = [METRICS.kinds[name]() for name in asked.metrics]
        for figure in experiment.figures.values():
            for name in figure.classifiers():
                self.classifier(name)
        self.runs: dict[str, Run] = {}
        classifiers = [run for run in self._classifiers.values() if isinstance(run, Run)]
        pretrained, mid_trained = ([run] if run else [] for run in (self.pretrained, self.mid_trained))
        # A run that starts from another's snapshot comes after it.
        for run in [*pretrained, *classifiers, *mid_trained, *self._made.values()]:
            self.runs.setdefault(run.name, run)

    # Runs

    def classifier(self, name: str) -> Run | Published:
        """The run that trains the experiment's classifier ``name``, or its published weights."""
        if name not in self._classifiers:
            self._classifiers[name] = self._classifier(self.experiment.classifiers[name])
        return self._classifiers[name]

    def classifier_weights(self, name: str) -> Weights:
        """The weights of the experiment's classifier ``name``."""
        made = self.classifier(name)
        return made.last if isinstance(made, Run) else made

    def methods_and_runs(self) -> list[tuple[str, Run]]:
        """Each consistency run with its method's name in the experiment, including the sweep's variant."""
        return self._methods

    def run(self, method: str, batch_size: int, seed: int) -> Run:
        """A method's run with this batch size and seed."""
        return next(
            run
            for name, run in self._methods
            if name == method and (run.record.batch_size, run.record.seed) == (batch_size, seed)
        )

    def choose_runs(self, methods: Sequence[str]) -> list[tuple[str, Run]]:
        """The consistency runs of the given methods, named with or without variants; without names, all."""
        names = self.experiment.choose_methods(methods)
        return [(name, run) for name, run in self._methods if name in names]

    def segments(self, *stages: Stage) -> dict[tuple[Segment, tuple[str, ...]], list[Run]]:
        """Each distinct segment of runs of these stages, with the averages kept, and all runs that have it."""
        found: dict[tuple[Segment, tuple[str, ...]], list[Run]] = {}
        for run in self.runs.values():
            for segment in run.segments if run.record.training.stage in stages else []:
                found.setdefault((segment, run.record.averages), []).append(run)
        return found

    def scored_segments(self) -> dict[tuple[Segment, str], list[Run]]:
        """Each segment whose snapshots of an average are scored, and the runs that have it."""
        found: dict[tuple[Segment, str], list[Run]] = {}
        for (segment, averages), runs in self.segments("train").items():
            for average in averages:
                found.setdefault((segment, average), []).extend(runs)
        return found

    # Scores

    @cached_property
    def samplings(self) -> dict[int, Sampling]:
        """How images are sampled, by number of steps."""
        asked = self.experiment.evaluation
        return {
            steps: Sampling(tuple(asked.mids.get(steps, ())), asked.convention, asked.seed, asked.precision)
            for steps in asked.steps
        }

    def scores_of(self, run: str) -> list[Score]:
        """The records of scores of samples from a run's snapshots, one per number of steps."""
        asked = self.experiment.evaluation
        return [
            Score(run, sampling, asked.samples, asked.repeats, self.reference, self._more)
            for sampling in self.samplings.values()
        ]

    @property
    def _more(self) -> tuple[SampleMetric, ...]:
        """The shown metrics of samples that would not be computed otherwise."""
        return tuple(metric for metric in self.metrics if isinstance(metric, SampleMetric) and not metric.always)

    def denoising_scores_of(self, run: str) -> list[DenoisingScore]:
        """The records of scores of images denoised by a run's snapshots, one per shown metric and noise level."""
        asked = self.experiment.evaluation
        return [
            DenoisingScore(
                *(run, metric, t, asked.samples, asked.repeats, asked.convention, asked.seed, self.reference),
                asked.precision,
            )
            for metric in self.metrics
            if isinstance(metric, DenoisingMetric)
            for t in asked.denoise
        ]

    def shown_scores(self, run: str) -> list[ShownScore]:
        """The shown metrics of a run's snapshots, in the order of the experiment, with their records."""
        dataset, inception = self.experiment.dataset.name, self.reference.features.classifier is None
        found = []
        for metric in self.metrics:
            if isinstance(metric, DenoisingMetric):
                denoising = [score for score in self.denoising_scores_of(run) if score.metric.name == metric.name]
                found += [ShownScore(metric, s, 1, metric.title(dataset, inception, s.t)) for s in denoising]
            else:
                title = metric.title(dataset, inception)
                found += [ShownScore(metric, s, s.sampling.steps, title) for s in self.scores_of(run)]
        return found

    @cached_property
    def anchors(self) -> dict[str, Anchor]:
        """The weights that are scored without training, by their names in the experiment."""
        return {name: self._anchor(name) for name in self.experiment.anchors}

    def grid_of(self, run: str, steps: int) -> Grid:
        """The record of samples of a run's snapshots kept as images."""
        return Grid(run, self.samplings[steps], self.experiment.evaluation.grid)

    def grids(self) -> list[tuple[Run, Grid]]:
        """The sample grids that figures show, each of a run at its end."""
        found = [pair for figure in self.experiment.figures.values() for pair in figure.grids(self)]
        return list({grid.result(run.folder, run.iterations): (run, grid) for run, grid in found}.values())

    def scores(self) -> list[Path]:
        """The score files of the experiment."""
        return [
            score.result(run.folder, snapshot.iteration, snapshot.average)
            for run in self.trained
            for score in [*self.scores_of(run.name), *self.denoising_scores_of(run.name)]
            for snapshot in run.snapshots
        ]

    def contents(self) -> list[list[str]]:
        """The scores that exist and are shown, and their methods' labels, regardless of the order in the file."""
        methods = sorted([name, run.label, run.name] for name, run in self._methods)
        # Figures and tables show the first metric, unless they specify another.
        first, *others = self.experiment.evaluation.metrics
        shown = self.experiment.anchors
        anchors = sorted(
            [name, shown[name].label or "", str(shown[name].iterations), anchor.name]
            for name, anchor in self.anchors.items()
        )
        stops = sorted(
            [name, method.stop.model_dump_json()]
            for name, method in self.experiment.methods.items()
            if method.stop is not None
        )
        return [*methods, sorted(map(str, self.scores())), [first, *sorted(others)], *anchors, *stops]

    # Analyses and published files

    @cached_property
    def analyses(self) -> dict[str, Analysis]:
        """All analyses, by name."""
        found = [analysis for figure in self.experiment.figures.values() for analysis in figure.analyses(self)]
        return {analysis.name: analysis for analysis in found}

    @property
    def checkpoints(self) -> list[str]:
        """Names of all published weights in use."""
        made = [*self._classifiers.values(), self.diffusion, *(anchor.weights for anchor in self.anchors.values())]
        return sorted({part.checkpoint for part in made if isinstance(part, Published)})

    def checkpoint_use(self, name: str) -> str:
        """The classifier that published weights are for; empty for the denoiser's."""
        denoisers = [self.diffusion, *(anchor.weights for anchor in self.anchors.values())]
        if any(isinstance(part, Published) and part.checkpoint == name for part in denoisers):
            return ""
        made = self._classifiers.items()
        return next(key for key, part in made if isinstance(part, Published) and part.checkpoint == name)

    @property
    def assets(self) -> list[str]:
        """The published files that are needed, by their names in the table of assets."""
        dataset = self.experiment.dataset
        files = {path for run in self.runs.values() for path in run.record.inputs} | set(self.scoring_inputs)
        for score in self.denoising_scores_of(""):
            files |= set(score.metric.files)
        return [
            *([dataset.archive] if dataset.archive else []),
            *self.checkpoints,
            *([self.reference.statistics] if self.reference.statistics else []),
            *(asset for path, asset in paths.PUBLISHED_NETWORKS.items() if path in files),
        ]

    @property
    def scoring_inputs(self) -> list[Path]:
        """The files that scoring samples needs besides the snapshots."""
        return [*self.reference.features.inputs, self.reference.path]

    def denoising_inputs(self, score: DenoisingScore) -> list[Path]:
        """The files that a denoising metric needs besides the snapshots."""
        return [*self.scoring_inputs, *score.metric.files, *self.experiment.dataset.files]

    # Records

    def records(self) -> Iterator[tuple[Path, Record]]:
        """Every record that the experiment's jobs read, with its path."""
        for run in self.runs.values():
            yield paths.run_record(run.folder), run.record
        for run in self.trained:
            for score in [*self.scores_of(run.name), *self.denoising_scores_of(run.name)]:
                yield score.record(run.folder), score
        for run, grid in self.grids():
            yield grid.record(run.folder), grid
        yield self.reference.record, self.reference
        for anchor in self.anchors.values():
            yield anchor.record, anchor
        for analysis in self.analyses.values():
            yield analysis.record, analysis

    def write_records(self) -> list[Path]:
        """Write the records that are missing or were changed; returns the paths of all."""
        places = []
        for path, record in self.records():
            places.append(path)
            text = record.text
            try:
                same = path.exists() and path.read_text(encoding="utf-8", errors="replace") == text
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror}") from None
            if not same:
                write_text(path, text)
        return places

    def digest(self) -> str:
        """A digest that changes when different runs or scores are requested or shown, or a method's label changes."""
        return digest(self.contents())

    # Settings to runs

    def _anchor(self, name: str) -> Anchor:
        settings, asked = self.experiment.anchors[name], self.experiment.evaluation
        return Anchor(
            dataset=self.experiment.dataset,
            weights=(
                Published(settings.checkpoint, self.experiment.network) if settings.checkpoint else self.diffusion
            ),
            sampling=(
                Heun(settings.steps, asked.seed, asked.precision)
                if settings.sampler == "heun"
                else self.samplings[settings.steps]
            ),
            samples=asked.samples,
            repeats=asked.repeats,
            reference=self.reference,
            more=self._more,
        )

    def _plan_pretraining(self) -> Run | None:
        settings = self.experiment.start.pretraining
        if settings is None:
            return None
        record = RunRecord(
            self.experiment.dataset, self.experiment.network, settings, settings.batch_size, settings.seed
        )
        return _cut(record, settings)

    def _plan_mid_training(self) -> Run | None:
        settings = self.experiment.start.mid_train
        if settings is None:
            return None
        upstream = {role: self.classifier_weights(need.name) for role, need in settings.upstream().items()}
        record = RunRecord(
            self.experiment.dataset,
            self.experiment.network,
            settings,
            settings.batch_size,
            settings.seed,
            {"start": self.diffusion, **upstream},
        )
        return _cut(record, settings)

    def _classifier(self, entry: Classifier) -> Run | Published:
        if entry.checkpoint:
            return Published(entry.checkpoint, entry.network, entry.training.recognises)
        training = entry.training
        upstream = {"denoiser": self.diffusion} if training.denoised else {}
        record = RunRecord(
            self.experiment.dataset, entry.network, training, training.batch_size, training.seed, upstream
        )
        return _cut(record, training)

    def _consistency(self) -> Iterator[tuple[str, Run]]:
        for name, method in self.experiment.methods.items():
            for batch_size in method.batch_sizes:
                for seed in method.seeds:
                    yield name, self._consistency_run(name, batch_size, seed)

    def _consistency_run(self, name: str, batch_size: int, seed: int) -> Run:
        if (name, batch_size, seed) not in self._made:
            self._made[name, batch_size, seed] = self._make_consistency_run(name, batch_size, seed)
        return self._made[name, batch_size, seed]

    def _make_consistency_run(self, name: str, batch_size: int, seed: int) -> Run:
        method = self.experiment.methods[name]
        upstream = {role: self.classifier_weights(need.name) for role, need in method.upstream().items()}
        record = RunRecord(
            self.experiment.dataset,
            self.experiment.network,
            method,
            batch_size,
            seed,
            {"start": self._start_of(method, batch_size, seed), **upstream},
            {role: self.experiment.classifiers[need.name].network for role, need in method.auxiliary().items()},
        )
        segment = method.segment or method.iterations
        every = method.snapshot_every or segment
        return Run(record, method.iterations, segment, every, method.label or "", method.stop)

    def _start_of(self, method: Method, batch_size: int, seed: int) -> Weights:
        need = method.starts_from()
        if need is None:
            return self.start
        run = self._consistency_run(need.name, need.batch_size or batch_size, seed if need.seed is None else need.seed)
        average = "" if need.ema is None else run.record.average_called(average_name(need.ema))
        return Snapshot(run.record, need.iteration or run.iterations, average)


def _cut(record: RunRecord, settings: Training) -> Run:
    segment = settings.segment or settings.iterations
    return Run(record, settings.iterations, segment, snapshot_every=segment)
