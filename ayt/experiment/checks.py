"""Checks across sections of an experiment: sizes against the dataset, names against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ayt.base.paths import RESERVED_NAMES
from ayt.base.sections import ABSENT, choices
from ayt.experiment.outputs import Mistakes
from ayt.experiment.schema import INCEPTION, Experiment
from ayt.methods.base import base_name
from ayt.methods.training import Training, average_name
from ayt.metrics.base import METRICS, DenoisingMetric
from ayt.networks.base import NEEDS_WHOLE_BATCHES

Mistake = Callable[[Sequence[Any], Any, str], None]
"""Takes the key, its value and the problem."""


CONFIRM = "if they are meant, set execution.max_jobs as high"


def check_size(experiment: Experiment, mistake: Mistake) -> None:
    """Report an experiment that asks for more training jobs and scores than `execution.max_jobs`."""
    evaluation = experiment.evaluation
    metrics = [METRICS.get(name) for name in evaluation.metrics]
    denoising = sum(metric is not None and issubclass(metric, DenoisingMetric) for metric in metrics)
    scores = len(evaluation.steps) + denoising * len(evaluation.denoise)
    most, jobs = experiment.execution.max_jobs, 0
    for name, method in experiment.methods.items():
        segment = method.segment or method.iterations
        snapshots = method.iterations // (method.snapshot_every or segment)
        runs = len(method.batch_sizes) * len(method.seeds)
        jobs += (own := runs * (method.iterations // segment + snapshots * scores * len(method.averages)))
        if own > most:
            mistake(("methods", base_name(name)), ABSENT, f"asks for {own:,} training jobs and scores; {CONFIRM}")
            return
    for named, training in _list_upstream(experiment):
        if (own := training.iterations // (training.segment or training.iterations)) > most:
            mistake(named, ABSENT, f"asks for {own:,} training jobs; {CONFIRM}")
            return
        jobs += own
    if jobs > most:
        mistake(("methods",), ABSENT, f"the experiment asks for {jobs:,} training jobs and scores; {CONFIRM}")


def _list_upstream(experiment: Experiment) -> Iterator[tuple[tuple[str, ...], Training]]:
    """Training that may happen upstream of methods, and its keys."""
    if experiment.start.pretraining:
        yield ("start", "pretrain"), experiment.start.pretraining
    if experiment.start.mid_train:
        yield ("start", "mid_train"), experiment.start.mid_train
    used = _used_classifiers(experiment)
    for name, classifier in experiment.classifiers.items():
        if name in used and not classifier.checkpoint:
            yield ("classifiers", name), classifier.training


def _used_classifiers(experiment: Experiment) -> set[str]:
    """The names of the classifiers in use."""
    trainings = [*experiment.methods.values(), *([experiment.start.mid_train] if experiment.start.mid_train else [])]
    needed = {need.name for training in trainings for need in training.upstream().values()}
    shown = {name for figure in experiment.figures.values() for name in figure.classifiers()}
    return needed | shown | {experiment.evaluation.features}


def cross_check(experiment: Experiment, mistake: Mistake) -> None:
    """Report every mistake of an experiment whose sections are valid individually."""
    for key, value, problem in experiment.network.misfits(experiment.dataset):
        mistake(("network", key), value, problem)
    _check_batches(experiment, mistake)
    _check_classifiers(experiment, mistake)
    _check_auxiliary(experiment, mistake)
    _check_methods(experiment, mistake)
    _check_starts(experiment, mistake)
    _check_stops(experiment, mistake)
    _check_evaluation(experiment, mistake)
    _check_anchors(experiment, mistake)
    for section, outputs in (("figures", experiment.figures), ("tables", experiment.tables)):
        for name, output in outputs.items():

            def report(key: str, value: Any, problem: str, where: tuple[str, str] = (section, name)) -> None:
                mistake((*where, key), value, problem)

            output.check(Mistakes(experiment, report))
    if experiment.name in RESERVED_NAMES:
        mistake(("name",), experiment.name, "is the name of a folder of the workflow; choose another")


def _check_batches(experiment: Experiment, mistake: Mistake) -> None:
    """Check that batches fit the dataset and divide evenly among processes, and processes among machines."""
    size, count, nodes = experiment.dataset.size, experiment.execution.processes, experiment.execution.nodes
    pretraining = experiment.start.pretraining
    if pretraining and pretraining.batch_size > size:
        mistake(("start", "pretrain", "batch_size"), pretraining.batch_size, f"larger than the dataset ({size} images)")
    middle = experiment.start.mid_train
    if middle and middle.batch_size > size:
        mistake(("start", "mid_train", "batch_size"), middle.batch_size, f"larger than the dataset ({size} images)")
    for name, method in experiment.methods.items():
        for batch_size in method.batch_sizes:
            if batch_size > size:
                place = ("methods", base_name(name), "batch_sizes")
                mistake(place, batch_size, f"larger than the dataset ({size} images)")
    if count % nodes:
        mistake(("execution", "nodes"), nodes, f"cannot be given equal shares of {count} processes")
    uneven = [batch_size for batch_size in experiment.batch_sizes() if batch_size % count]
    if pretraining and pretraining.batch_size % count:
        uneven.append(pretraining.batch_size)
    if uneven:
        sizes = ", ".join(map(str, uneven))
        mistake(("execution", "processes"), count, f"batches of {sizes} images cannot be divided evenly")


def _check_methods(experiment: Experiment, mistake: Mistake) -> None:
    """Check that methods fit the images, and that no two share a row of a table or a curve."""
    seen: dict[str | None, str] = {}
    for name, method in experiment.methods.items():
        for key, value, problem in method.misfits():
            mistake(("methods", base_name(name), key), value, problem)
        if method.needs_colour and experiment.dataset.channels == 1:
            mistake(("methods", base_name(name), "loss"), method.name, _needs_colour(experiment))
        other = seen.setdefault(method.label, name)
        if other != name:
            mistake(("methods", base_name(name), "label"), method.label, f"is the label of {other} too; set another")


def _check_starts(experiment: Experiment, mistake: Mistake) -> None:
    """Check that runs that methods start from are in the experiment, consist of one network, and come first."""
    middle = experiment.start.mid_train
    if middle and middle.files and experiment.dataset.channels == 1:
        mistake(("start", "mid_train", "distance"), middle.distance, _needs_colour(experiment))
    for name, method in experiment.methods.items():
        if middle and method.needs_diffusion:
            problem = "has the start as its teacher, which must be a diffusion model; remove start.mid_train"
            mistake(("methods", base_name(name), "loss"), method.name, problem)
        need = method.starts_from()
        if need is None:
            continue
        where = ("methods", base_name(name))
        other = experiment.methods.get(need.name)
        if other is None:
            variants = [key for key in experiment.methods if base_name(key) == need.name]
            others = [key for key in experiment.methods if key != name and base_name(key) == key]
            problem = f"is swept into {len(variants)} methods" if variants else f"unknown method; {choices('', others)}"
            mistake((*where, need.key), need.name, problem)
            continue
        if other.sampled_with:
            problem = f"is {other.name}, itself of two networks" if other is not method else "is the method itself"
            mistake((*where, need.key), need.name, f"{problem}; name a method of one network")
            continue
        if other.starts_from():
            mistake((*where, need.key), need.name, "starts from another method itself; name one that does not")
        sizes = [need.batch_size] if need.batch_size else method.batch_sizes
        seeds = method.seeds if need.seed is None else [need.seed]
        for key, found, known in (("batch_size", sizes, other.batch_sizes), ("seed", seeds, other.seeds)):
            for value in found:
                if value not in known:
                    problem = f"{need.name} has no run with {key.replace('_', ' ')} {value}; {choices(value, known)}"
                    mistake((*where, f"{need.key}_{key}"), getattr(need, key) or ABSENT, problem)
        every = other.snapshot_every or other.segment or other.iterations
        if need.iteration and (need.iteration % every or need.iteration > other.iterations):
            problem = f"{need.name} has snapshots every {every} iterations up to {other.iterations}"
            mistake((*where, f"{need.key}_iteration"), need.iteration, problem)
        if need.ema is not None and (average := average_name(need.ema)) not in other.average_names:
            problem = f"{need.name} keeps no such average; {choices(average, other.average_names)}"
            mistake((*where, f"{need.key}_ema"), average, problem)


def _check_stops(experiment: Experiment, mistake: Mistake) -> None:
    """Check that scores by which runs may be stopped exist between segments."""
    evaluation = experiment.evaluation
    for name, method in experiment.methods.items():
        rule, where = method.stop, ("methods", base_name(name), "stop")
        if rule is None or not rule.by_score:
            continue
        segment = method.segment or method.iterations
        every = method.snapshot_every or segment
        if segment == method.iterations:
            mistake(where, ABSENT, "looks at scores between segments, and there is one; set segment")
        elif rule.after and (rule.after % every or rule.after > method.iterations - segment):
            problem = f"snapshots are every {every} iterations, and the last segment begins at"
            mistake((*where, "after"), rule.after, f"{problem} {method.iterations - segment}")
        if rule.plateau and rule.plateau >= (method.iterations - segment) // every:
            problem = f"only {(method.iterations - segment) // every} snapshots lie before the last segment"
            mistake((*where, "plateau"), rule.plateau, problem)
        shown = rule.metric or evaluation.metrics[0]
        metric = METRICS.get(shown)
        if shown not in evaluation.metrics:
            mistake((*where, "metric"), shown, f"is none of evaluation.metrics; {choices(shown, evaluation.metrics)}")
        elif metric is not None and issubclass(metric, DenoisingMetric):
            if len(evaluation.denoise) > 1:
                problem = "has a value for each of evaluation.denoise, and a rule looks at one; choose another metric"
                mistake((*where, "metric"), shown, problem)
            if rule.steps:
                mistake((*where, "steps"), rule.steps, f"means nothing: {shown} is of images denoised in one step")
        elif rule.steps and rule.steps not in evaluation.steps:
            problem = f"is none of evaluation.steps; {choices(rule.steps, evaluation.steps)}"
            mistake((*where, "steps"), rule.steps, problem)


def _check_classifiers(experiment: Experiment, mistake: Mistake) -> None:
    """Check that classifiers in use exist, do what is needed, and fit the dataset."""
    for name, method in experiment.methods.items():
        for need in method.upstream().values():
            where: tuple[str, ...] = ("methods", base_name(name), need.key)
            _check_classifier(experiment, where, need.name, need.task, True, mistake)
            entry = experiment.classifiers.get(need.name)
            if need.maps and entry is not None and not entry.network.has_maps:
                problem = f"is a {entry.network.name}, and the distance needs channels; choose another family"
                mistake(where, need.name, problem)
    for need in experiment.start.mid_train.upstream().values() if experiment.start.mid_train else []:
        _check_classifier(experiment, ("start", "mid_train", need.key), need.name, need.task, True, mistake)
    for figure_name, figure in experiment.figures.items():
        for name, published_too in figure.classifiers().items():
            where = ("figures", figure_name, "classifier")
            _check_classifier(experiment, where, name, "transformations", published_too, mistake)
    if experiment.evaluation.features != INCEPTION:
        where = ("evaluation", "features")
        _check_classifier(experiment, where, experiment.evaluation.features, "labels", False, mistake)


def _check_auxiliary(experiment: Experiment, mistake: Mistake) -> None:
    """Check that networks trained alongside denoisers are known, fit, and get whole batches if needed."""
    count, at_a_time = experiment.execution.processes, experiment.execution.microbatch
    for name, method in experiment.methods.items():
        share = max(method.batch_sizes) // count
        if at_a_time and at_a_time < share and not method.accumulates:
            problem = f"{base_name(name)} looks at the {share} images of a batch at once; leave it out"
            mistake(("execution", "microbatch"), at_a_time, problem)
        for need in method.auxiliary().values():
            where = ("methods", base_name(name), need.key)
            entry = experiment.classifiers.get(need.name)
            if entry is None:
                mistake(where, need.name, f"unknown classifier; {choices(need.name, sorted(experiment.classifiers))}")
                continue
            if "labels" not in entry.network.tasks:
                mistake(
                    where, need.name, f"is of the family {entry.network.name}, which puts out images; choose another"
                )
                continue
            for key, value, problem in entry.network.misfits(experiment.dataset):
                mistake(("classifiers", need.name, key), value, problem)
            if count > 1 and entry.network.has_batch_norm:
                mistake(where, need.name, NEEDS_WHOLE_BATCHES)


def _check_classifier(
    experiment: Experiment, where: tuple[str, ...], name: str, task: str, published_too: bool, mistake: Mistake
) -> None:
    """Check one use of a classifier; ``published_too``: whether published weights may be used."""
    fitting = sorted(key for key, value in experiment.classifiers.items() if value.training.task == task)
    if where == ("evaluation", "features"):
        fitting = [INCEPTION, *fitting]
    if name not in experiment.classifiers:
        mistake(where, name, f"unknown classifier; {choices(name, fitting)}")
        return
    classifier = experiment.classifiers[name]
    if name not in fitting:
        mistake(where, name, f"its task is not {task!r}; {choices(name, fitting)}")
    if classifier.checkpoint and not published_too:
        mistake(where, name, "is a published checkpoint; only classifiers trained here can be used here")
    size = experiment.dataset.size
    if classifier.training.batch_size > size:
        place = ("classifiers", name, "batch_size")
        mistake(place, classifier.training.batch_size, f"larger than the dataset ({size} images)")
    for key, value, problem in classifier.network.misfits(experiment.dataset):
        mistake(("classifiers", name, key), value, problem)


def _check_evaluation(experiment: Experiment, mistake: Mistake) -> None:
    """Check metrics against the images, and statistics against the features."""
    evaluation = experiment.evaluation
    if evaluation.reference != "dataset" and evaluation.features != INCEPTION:
        problem = "published statistics are those of Inception features; set features: inception, or reference: dataset"
        mistake(("evaluation", "reference"), evaluation.reference, problem)
    grey = experiment.dataset.channels == 1
    if evaluation.features == INCEPTION and grey:
        mistake(("evaluation", "features"), INCEPTION, _needs_colour(experiment))
    for name in evaluation.metrics:
        metric = METRICS.get(name)
        if metric is None:
            mistake(("evaluation", "metrics"), name, METRICS.describe_unknown(name))
        elif metric.needs_colour and grey:
            mistake(("evaluation", "metrics"), name, _needs_colour(experiment))


def _check_anchors(experiment: Experiment, mistake: Mistake) -> None:
    """Check that anchors can be sampled as specified, and have distinct labels."""
    metrics = [METRICS.get(name) for name in experiment.evaluation.metrics]
    if experiment.anchors and all(metric is not None and issubclass(metric, DenoisingMetric) for metric in metrics):
        mistake(("anchors",), ABSENT, "are scored by their samples, and evaluation.metrics names no metric of samples")
    classifiers = {entry.checkpoint: name for name, entry in experiment.classifiers.items() if entry.checkpoint}
    labels = {method.label: name for name, method in experiment.methods.items()}
    known = experiment.evaluation.steps
    for name, anchor in experiment.anchors.items():
        where = ("anchors", name)
        if anchor.checkpoint in classifiers:
            problem = f"is the classifier {classifiers[anchor.checkpoint]}; an anchor is a denoiser"
            mistake((*where, "checkpoint"), anchor.checkpoint, problem)
        if anchor.sampler == "consistency":
            if anchor.checkpoint in (None, experiment.start.checkpoint):
                problem = "training starts from these weights, a diffusion model's: set heun, or another checkpoint"
                mistake((*where, "sampler"), anchor.sampler, problem)
            if anchor.steps not in known:
                problem = f"is none of evaluation.steps; {choices(anchor.steps, known)}"
                mistake((*where, "steps"), anchor.steps, problem)
        label = anchor.label or name
        other = labels.setdefault(label, name)
        if other != name:
            mistake((*where, "label"), label, f"is the label of {other} too; set another")


def _needs_colour(experiment: Experiment) -> str:
    return f"needs images of 3 channels; {experiment.dataset.name} has {experiment.dataset.channels}"
