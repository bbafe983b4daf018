"""What no section of an experiment can check alone: sizes against the dataset, names against each other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ayt.experiment import outputs
from ayt.experiment import schema
from ayt.datasets.base import facts
from ayt.experiment.schema import Experiment, base_name
from ayt.base.paths import RESERVED_NAMES

DENOISING = ("denoised_frechet", "lpips")
"""Metrics that are measured at each of evaluation.denoise."""

PUBLISHED = "cifar10"
"""The dataset that `ayt.reporting.published` has numbers of."""

Mistake = Callable[[Sequence[Any], Any, str], None]
"""Takes the key, its value and the problem."""


def choices(value: Any, known: Iterable[Any]) -> str:
    """``choose from a, b, c``, with a guess at what was meant."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(value), names, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"{guess}choose from {', '.join(names)}"


def cross_check(experiment: Experiment, mistake: Mistake) -> None:
    """Report every mistake of an experiment whose sections are each valid."""
    _check_sizes(experiment, mistake)
    _check_processes(experiment, mistake)
    _check_classifiers(experiment, mistake)
    _check_images(experiment, mistake)
    _check_channels(experiment, mistake)
    _check_labels(experiment, mistake)
    if experiment.evaluation.reference != "dataset" and experiment.evaluation.features != "inception":
        problem = "published statistics are those of Inception features; set features: inception, or reference: dataset"
        mistake(("evaluation", "reference"), experiment.evaluation.reference, problem)
    for name, figure in experiment.figures.items():
        _check_figure(experiment, ("figures", name), figure, mistake)
    for name, table in experiment.tables.items():
        _check_table(experiment, ("tables", name), table, mistake)
    if experiment.name in RESERVED_NAMES:
        mistake(("name",), experiment.name, "is the name of a folder of the workflow; choose another")
    if experiment.evaluation.grid > experiment.evaluation.samples:
        problem = f"more than evaluation.samples = {experiment.evaluation.samples}"
        mistake(("evaluation", "grid"), experiment.evaluation.grid, problem)


def _check_processes(experiment: Experiment, mistake: Mistake) -> None:
    """Check that batches can be shared out over processes, and processes over machines."""
    count, nodes = experiment.execution.processes, experiment.execution.nodes
    if count % nodes:
        mistake(("execution", "nodes"), nodes, f"cannot be given equal shares of {count} processes")
    uneven = sorted({size for method in experiment.methods.values() for size in method.batch_sizes if size % count})
    pretrain = experiment.start.pretrain
    if pretrain and pretrain.batch_size % count:
        uneven.append(pretrain.batch_size)
    if uneven:
        sizes = ", ".join(map(str, uneven))
        mistake(("execution", "processes"), count, f"batches of {sizes} images cannot be shared out evenly")


def _check_channels(experiment: Experiment, mistake: Mistake) -> None:
    """Check that distances over channels get networks that have such."""
    for name, method in experiment.methods.items():
        if not isinstance(method, schema.LabelFeatures):
            continue
        if isinstance(experiment.classifiers.get(method.classifier), schema.ViTClassifier):
            problem = "is a vit, and the distance of class-label features needs channels; choose another family"
            mistake(("methods", base_name(name), "classifier"), method.classifier, problem)


def _check_labels(experiment: Experiment, mistake: Mistake) -> None:
    """Check that no two methods would be one row of a table, or one curve."""
    seen: dict[str | None, str] = {}
    for name, method in experiment.methods.items():
        other = seen.setdefault(method.label, name)
        if other != name:
            mistake(("methods", base_name(name), "label"), method.label, f"is the label of {other} too; set another")


def _check_sizes(experiment: Experiment, mistake: Mistake) -> None:
    data = facts(experiment.dataset)
    halvings = len(experiment.network.channel_mult) - 1
    if data.resolution % 2**halvings:
        problem = f"{halvings} halvings do not divide the resolution {data.resolution} of {experiment.dataset.name}"
        mistake(("network", "channel_mult"), experiment.network.channel_mult, problem)
    sizes: list[tuple[tuple[str, ...], int]] = []
    if experiment.start.pretraining:
        sizes.append((("start", "pretrain", "batch_size"), experiment.start.pretraining.batch_size))
    for name, method in experiment.methods.items():
        sizes += [(("methods", base_name(name), "batch_sizes"), size) for size in method.batch_sizes]
    for where, size in sizes:
        if size > data.size:
            mistake(where, size, f"larger than the dataset ({data.size} images)")


def _check_classifiers(experiment: Experiment, mistake: Mistake) -> None:
    """Check that classifiers that something uses exist, do what it needs, and fit the dataset."""
    data = facts(experiment.dataset)
    uses: list[tuple[tuple[str, ...], str, str]] = []
    if experiment.evaluation.features != "inception":
        uses.append((("evaluation", "features"), experiment.evaluation.features, "labels"))
    for name, method in experiment.methods.items():
        where = ("methods", base_name(name), "classifier")
        if isinstance(method, schema.Ayt | schema.Hybrid):
            uses.append((where, method.classifier, "transformations"))
        elif isinstance(method, schema.LabelFeatures):
            uses.append((where, method.classifier, "labels"))
    for name, figure in experiment.figures.items():
        if isinstance(figure, outputs.TransformationsFigure | outputs.ManifoldFigure | outputs.TangentsFigure):
            uses.append((("figures", name, "classifier"), figure.classifier, "transformations"))
    tangents = [name for name, figure in experiment.figures.items() if isinstance(figure, outputs.TangentsFigure)]
    published_too = [
        *(place for place, _, _ in uses if place[0] == "methods"),
        *(("figures", name, "classifier") for name in tangents),
    ]
    for place, name, task in uses:
        fitting = sorted(key for key, value in experiment.classifiers.items() if value.task == task)
        if place == ("evaluation", "features"):
            fitting = ["inception", *fitting]
        if name not in experiment.classifiers:
            mistake(place, name, f"unknown classifier; {choices(name, fitting)}")
            continue
        classifier = experiment.classifiers[name]
        if name not in fitting:
            mistake(place, name, f"its task is not {task!r}; {choices(name, fitting)}")
        if classifier.checkpoint and place not in published_too:
            mistake(place, name, "is a published checkpoint; only classifiers that are trained here can stand here")
        if classifier.batch_size > data.size:
            problem = f"larger than the dataset ({data.size} images)"
            mistake(("classifiers", name, "batch_size"), classifier.batch_size, problem)
        _check_network(("classifiers", name), classifier, data.resolution, mistake)


def _check_network(where: tuple[str, ...], classifier: schema.AnyClassifier, resolution: int, mistake: Mistake) -> None:
    """Check that a network can be as deep as it says for images of this size."""
    if isinstance(classifier, schema.ViTClassifier):
        if resolution % classifier.patch:
            mistake((*where, "patch"), classifier.patch, f"does not divide the resolution {resolution}")
        if classifier.dim % 4 or classifier.dim < 8:
            mistake((*where, "dim"), classifier.dim, "is not a multiple of 4, 8 or above, as its positions need")
        return
    if isinstance(classifier, schema.VGGClassifier):
        key, value, halvings = "widths", classifier.widths, len(classifier.widths)
    elif isinstance(classifier, schema.ResNetClassifier):
        key, value, halvings = "widths", classifier.widths, len(classifier.widths) - 1
    else:
        wanted = 4 * 2 ** (len(classifier.blocks) - 1)
        if resolution != wanted:
            problem = f"so many blocks need images of {wanted} pixels, not {resolution}"
            mistake((*where, "blocks"), classifier.blocks, problem)
        return
    if resolution % 2**halvings:
        problem = f"{halvings} halvings do not divide the resolution {resolution}"
        mistake((*where, key), value, problem)


def _check_images(experiment: Experiment, mistake: Mistake) -> None:
    """Check that networks for colour images get such."""
    channels = facts(experiment.dataset).channels
    if channels == 3:
        return
    problem = f"needs images of 3 channels; {experiment.dataset.name} has {channels}"
    for name, method in experiment.methods.items():
        if isinstance(method, schema.Lpips):
            mistake(("methods", base_name(name), "loss"), "lpips", problem)
    if experiment.evaluation.features == "inception":
        mistake(("evaluation", "features"), "inception", problem)
    if "lpips" in experiment.evaluation.metrics:
        mistake(("evaluation", "metrics"), "lpips", problem)


def _check_known(mistake: Mistake, where: Sequence[Any], values: Iterable[Any], known: Iterable[Any]) -> None:
    """Report each of the values that is not known."""
    known = list(known)
    for value in values:
        if value not in known:
            mistake(where, value, f"not in this experiment; {choices(value, known)}")


def _check_figure(experiment: Experiment, where: tuple[str, ...], figure: outputs.AnyFigure, mistake: Mistake) -> None:
    def check_known(key: str, values: Iterable[Any], known: Iterable[Any]) -> None:
        _check_known(mistake, (*where, key), values, known)

    methods = sorted({base_name(key) for key in experiment.methods} | set(experiment.methods))
    if isinstance(figure, outputs.ScoreFigure):
        check_known("metric", [figure.metric] if figure.metric else [], experiment.evaluation.metrics)
        check_known("steps", figure.steps, experiment.evaluation.steps)
        check_known("methods", figure.methods, methods)
        check_known("batch_sizes", figure.batch_sizes, _batch_sizes(experiment))
        if isinstance(figure, outputs.CurvesFigure) and figure.reference:
            check_known("reference", [figure.reference], _shown(experiment, figure.methods))
    elif isinstance(figure, outputs.SamplesFigure):
        check_known("steps", [figure.steps], experiment.evaluation.steps)
        check_known("methods", figure.methods, methods)
        check_known("seed", [] if figure.seed is None else [figure.seed], _seeds(experiment))
        if figure.columns > experiment.evaluation.grid:
            problem = f"only evaluation.grid = {experiment.evaluation.grid} samples are kept"
            mistake((*where, "columns"), figure.columns, problem)
    elif isinstance(figure, outputs.TangentsFigure | outputs.OscillationFigure):
        named = [figure.method] if isinstance(figure, outputs.TangentsFigure) else figure.methods
        check_known("method" if isinstance(figure, outputs.TangentsFigure) else "methods", named, methods)
        shown = _shown(experiment, named)
        for key, value in (("batch_size", figure.batch_size), ("seed", figure.seed)):
            known = _batch_sizes(experiment, shown) if key == "batch_size" else _seeds(experiment, shown)
            check_known(key, [] if value is None or not shown else [value], known)
        if isinstance(figure, outputs.OscillationFigure):
            _check_oscillation(experiment, where, figure, shown, mistake)
    elif isinstance(figure, outputs.ToyFigure):
        check_known("toy", [figure.toy], experiment.toys)
    size = facts(experiment.dataset).size
    for key in ("images", "neighbours"):
        if getattr(figure, key, 0) > size:
            mistake((*where, key), getattr(figure, key), f"more than the dataset has ({size} images)")


def _check_oscillation(
    experiment: Experiment,
    where: tuple[str, ...],
    figure: outputs.OscillationFigure,
    shown: list[str],
    mistake: Mistake,
) -> None:
    if figure.dimensions >= figure.neighbours:
        problem = f"must be below neighbours = {figure.neighbours}, whose principal components they are"
        mistake((*where, "dimensions"), figure.dimensions, problem)
    both = [
        name
        for name in shown
        if figure.batch_size in (None, *experiment.methods[name].batch_sizes)
        and figure.seed in (None, *experiment.methods[name].seeds)
    ]
    if shown and not both:
        mistake((*where, "batch_size"), figure.batch_size, f"no method has it together with seed {figure.seed}")


def _shown(experiment: Experiment, methods: Sequence[str]) -> list[str]:
    """The experiment's methods, variants of sweeps included, that these names stand for; all if there are none."""
    return [name for name in experiment.methods if not methods or {name, base_name(name)} & set(methods)]


def _check_table(experiment: Experiment, where: tuple[str, ...], table: outputs.AnyTable, mistake: Mistake) -> None:
    if isinstance(table, outputs.PublishedTable | outputs.CostTable):
        if isinstance(table, outputs.PublishedTable) and experiment.dataset.name != PUBLISHED:
            mistake((*where, "kind"), "published", f"what is published is of {PUBLISHED}")
        return
    metrics = experiment.evaluation.metrics
    methods = sorted({base_name(key) for key in experiment.methods} | set(experiment.methods))
    _check_known(mistake, (*where, "metric"), [table.metric] if table.metric else [], metrics)
    _check_known(mistake, (*where, "methods"), table.methods, methods)
    _check_known(mistake, (*where, "batch_sizes"), table.batch_sizes, _batch_sizes(experiment))
    if isinstance(table, outputs.SpeedTable):
        shown = _shown(experiment, table.methods)
        if table.reference not in shown:
            mistake((*where, "reference"), table.reference, f"no such method; {choices(table.reference, shown)}")
    one_value = isinstance(table, outputs.SpeedTable | outputs.ReachTable | outputs.MethodsTable)
    metric = table.metric or metrics[0]
    if one_value and metric in DENOISING and len(experiment.evaluation.denoise) > 1:
        problem = "has a value for each of evaluation.denoise, and the table shows one; choose another metric"
        mistake((*where, "metric"), metric, problem)


def _batch_sizes(experiment: Experiment, methods: Iterable[str] | None = None) -> list[int]:
    """The batch sizes of some methods; of all if none are named."""
    chosen = experiment.methods if methods is None else methods
    return sorted({size for name in chosen for size in experiment.methods[name].batch_sizes})


def _seeds(experiment: Experiment, methods: Iterable[str] | None = None) -> list[int]:
    """The seeds of some methods; of all if none are named."""
    chosen = experiment.methods if methods is None else methods
    return sorted({seed for name in chosen for seed in experiment.methods[name].seeds})
