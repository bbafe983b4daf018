"""The report's first page: what was run, on what, when, at which commit and configuration, and what was not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import Any

from safetensors import SafetensorError, safe_open

from ayt.base import paths, yamlio
from ayt.experiment.schema import Experiment
from ayt.methods.base import METHODS, Method
from ayt.metrics.base import DenoisingMetric, Metric
from ayt.operations.status import RunStatus, statuses
from ayt.plan.plan import Plan
from ayt.plan.runs import Run
from ayt.plan.scored import read_score
from ayt.plan.stops import list_reached
from ayt.reporting.averages import say_average
from ayt.reporting.escapes import unbroken
from ayt.reporting.pages import menu_entries, read_part
from ayt.reporting.scores import read_failure
from ayt.reporting.wording import noise_levels, plural

FEW_SEEDS = 5
LISTED = 20
"""The most missing items listed; the rest are only counted."""

STAGES = {"pretrain": "a diffusion model", "classifier": "a feature network", "mid_train": "mid-training"}
"""What upstream runs train, by stage."""

INTRODUCTION = """\
Few-step image generators (consistency models), trained from a diffusion model by several methods and compared: what
this report is made of, and what it is not."""

# Snakemake fills this in. The sections are the menu's; links lead there.
SECTIONS = """\
{% if categories %}
Results, as in the menu at the left, where the eye shows one and the i says how it was measured:

{% for category, _ in categories|dictsort %}
* `{{ category.name }}`_
{% endfor %}

{% endif %}"""


def first_page(plan: Plan) -> str:
    """The page as reStructuredText, which Jinja renders first; its content comes from the files that runs left.

    The same files give the same text.
    """
    experiment = plan.experiment
    found = dict(zip(plan.runs, statuses(plan), strict=True))
    missing = list(_list_missing(plan, found))
    limits = list(_limits(plan))
    first = [_heading(f"Experiment {experiment.name}", "="), _style(), INTRODUCTION, _look_first(experiment)]
    first.append(_summary(plan, found))
    then = [
        _heading("What was run"),
        _methods(plan, found),
        "Before them:",
        _bullets(_upstream(plan, found)),
        *(["Beside them, for figures:", _bullets(_analyses(plan))] if plan.analyses else []),
        _heading("How it is scored"),
        _scoring(plan),
        _heading("What was not"),
        _bullets(missing) or "Everything that the experiment asks for was trained, scored and drawn.",
        *([_heading("What this does not show"), _bullets(limits)] if limits else []),
        _heading("Configuration"),
        "What differs from the defaults, which are the paper's settings on CIFAR-10. The whole, defaults filled in, is"
        f" in ``{paths.resolved_experiment(experiment.name)}``; ``run.yaml`` in the folder of a run has every number"
        " that changes its weights. ::",
        indent(yamlio.dump(differences(experiment)), "   "),
    ]
    return "\n\n".join([*map(_for_jinja, filter(None, first)), SECTIONS + _for_jinja("\n\n".join(then))])


def differences(experiment: Experiment) -> dict[str, Any]:
    """The minimal content of a file for this experiment, except where and how jobs run.

    Settings shared by all methods are under ``training``, or at the top, as in handwritten files.
    """
    content = experiment.content(only_differences=True)
    # Without figures and tables a file asks for the usual ones.
    kept = {key: value for key, value in content.items() if value or key in ("figures", "tables")}
    methods = {name: dict(options) for name, options in kept.pop("methods").items()}
    for name, method in experiment.methods.items():
        if name == method.name:
            del methods[name][METHODS.key]
        if method.label == method.usual_label:
            del methods[name]["label"]
    shared = _find_shared(list(methods.values()))
    top: dict[str, Any] = {key: shared.pop(key) for key in ("batch_sizes", "seeds") if key in shared}
    own = {
        name: {key: value for key, value in options.items() if key not in shared and key not in top}
        for name, options in methods.items()
    }
    apart = {key: value for key, value in kept.items() if key not in ("assets", "execution")}
    return {**apart, **({"training": shared} if shared else {}), **top, "methods": own}


def _find_shared(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Settings common to all methods, except losses and labels."""
    return {
        key: value
        for key, value in settings[0].items()
        if key not in (METHODS.key, "label") and all(key in other and other[key] == value for other in settings)
    }


def _style() -> str:
    """Snakemake's own layout cuts the top off a page that is longer than the screen; this one does not."""
    style = f"<style>\n{read_part('about.css')}</style>"
    return f".. raw:: html\n\n{indent(style, '   ')}"


def _summary(plan: Plan, found: dict[str, RunStatus]) -> str:
    dataset = plan.experiment.dataset
    states = list(_states(plan))
    versions: list[dict[str, str]] = [state.get("versions", {}) for state in states]
    software = [f"ayt {about.get('ayt', 'unknown')}, torch {about.get('torch', 'unknown')}" for about in versions]
    done = sum(found[run.name].state == "done" for run in plan.trained)
    fields = {
        "Dataset": f"{dataset.name}, {dataset.size:,} {'grey' if dataset.channels == 1 else 'colour'} images of"
        f" {dataset.resolution} × {dataset.resolution} pixels",
        "Trained": f"{done} of {plural(len(plan.trained), 'run')}",
        "When": _when(plan),
        "On": _count([state.get("device") for state in states]),
        "Threads": f"{plan.experiment.execution.threads} for each process, as configured",
        "Software": _count(software),
        "Commit": _count([" and ".join(state.get("commits", [])) for state in states]),
    }
    return "\n".join(f":{name}: {_plain(text)}" for name, text in fields.items())


def _look_first(experiment: Experiment) -> str:
    """The figure to look at first: the first in the experiment's file; empty if there is none."""
    for name, figure in experiment.figures.items():
        title = menu_entries({other: entry.title for other, entry in experiment.figures.items()})[name]
        return f"**Look first at** {_plain(title)}, under {figure.section} in the menu at the left."
    return ""


def _states(plan: Plan) -> Iterator[dict[str, Any]]:
    """The metadata of existing training states."""
    for run in plan.runs.values():
        for segment in run.segments:
            path = paths.state(run.folder, segment.stop)
            if path.exists():
                yield _metadata(path)


def _metadata(path: Path) -> dict[str, Any]:
    """A weight file's metadata, read without PyTorch; empty if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {}).get("ayt", "{}"))
            return found
    except (SafetensorError, OSError):
        return {}


def _count(values: Sequence[str | None]) -> str:
    """The values found, most common first, with the number of training states for each if they differ."""
    counts = Counter(value or "unknown" for value in values)
    if len(counts) < 2:
        return next(iter(counts), "nothing yet")
    parts = [f"{value} ({count} of {len(values)} training states)" for value, count in counts.most_common()]
    return "; ".join(parts)


def _when(plan: Plan) -> str:
    """When the first and the last file of the runs were written."""
    records = [paths.run_record(run.folder) for run in plan.runs.values()]
    states = [paths.state(run.folder, segment.stop) for run in plan.runs.values() for segment in run.segments]
    times = [path.stat().st_mtime for path in (*records, *states, *plan.scores()) if path.exists()]
    if not times:
        return "nothing yet"
    first, last = (f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}" for time in (min(times), max(times)))
    return f"{first} to {last} UTC, as files are dated"


def _methods(plan: Plan, found: dict[str, RunStatus]) -> str:
    """A table with one row per method."""
    rows = [("method", "batch sizes", "seeds", "iterations", "runs finished")]
    for name, method in plan.experiment.methods.items():
        runs = [run for other, run in plan.methods_and_runs() if other == name]
        done = sum(found[run.name].state == "done" for run in runs)
        sizes, seeds = (", ".join(map(str, values)) for values in (method.batch_sizes, method.seeds))
        rows.append((method.label or name, sizes, seeds, f"{method.iterations:,}", f"{done} of {len(runs)}"))
    cells = ["\n".join(f"{'*' if not i else ' '} - {_plain(cell)}" for i, cell in enumerate(row)) for row in rows]
    return ".. list-table::\n   :header-rows: 1\n\n" + indent("\n".join(cells), "   ")


def _upstream(plan: Plan, found: dict[str, RunStatus]) -> Iterator[str]:
    """The runs that others start from or use, or published weights in their place."""
    for run in plan.runs.values():
        if run not in plan.trained:
            length = f"{run.iterations:,} iterations at batch size {run.record.batch_size}"
            yield f"{run.name}: {STAGES[run.record.training.stage]}, {length}; {_state(run, found[run.name])}"
    for name in plan.checkpoints:
        yield f"{name}: published weights, not trained here"


def _analyses(plan: Plan) -> Iterator[str]:
    """What is computed for figures besides training and scores."""
    shown: dict[str, list[str]] = {}
    for name, figure in plan.experiment.figures.items():
        for analysis in figure.analyses(plan):
            shown.setdefault(analysis.name, []).append(name)
    for name, analysis in plan.analyses.items():
        yield f"{name}: for {', '.join(shown[name])}; {'finished' if analysis.path.exists() else 'not there'}"


def _scoring(plan: Plan) -> str:
    asked = plan.experiment.evaluation
    steps = "; ".join(
        f"{plural(steps, 'step')} ({noise_levels(sampling)})" for steps, sampling in plan.samplings.items()
    )
    features = plan.reference.features
    if features.classifier is None:
        network = "the Inception network of pytorch-fid"
    else:
        network = f"a small network trained here ({features.name}): nothing of it is an FID"
    text = (
        f"By {', '.join(title for metric in plan.metrics for title in _titles(plan, metric))}. Sampling steps (noise"
        f" levels): {steps}. Each snapshot is sampled {plural(asked.repeats, 'time')}"
        f"{' in bfloat16' if asked.precision == 'bf16' else ''} with different noise,"
        f" {asked.samples:,} images each time; its score is the mean. Images are compared in the features of {network}."
    )
    several = {run.label: run.record.average_names for run in plan.trained if len(run.record.averages) > 1}
    if several:
        kept = "; ".join(f"{label}: {', '.join(map(say_average, names))}" for label, names in several.items())
        text += f" Several averages of the weights are scored ({kept}); where none is named, the first is shown."
    return _plain(text)


def _titles(plan: Plan, metric: Metric) -> list[str]:
    """A metric's titles; for denoised images, one per noise level."""
    dataset, inception = plan.experiment.dataset.name, plan.reference.features.classifier is None
    times = plan.experiment.evaluation.denoise if isinstance(metric, DenoisingMetric) else [None]
    return [metric.title(dataset, inception, t) for t in times]


def _list_missing(plan: Plan, found: dict[str, RunStatus]) -> Iterator[str]:
    """What was requested but is missing, or failed."""
    for run in plan.runs.values():
        parts = [] if found[run.name].state == "done" else [_state(run, found[run.name])]
        if run in plan.trained:
            parts.extend(_missing_scores(plan, run))
        if parts:
            yield f"{_who(plan, run)}: {'; '.join(parts)}"
    unscored = [name for name, anchor in plan.anchors.items() if not anchor.path.exists()]
    if unscored:
        yield f"anchors not scored: {', '.join(unscored)}"
    experiment = plan.experiment
    for what, names, path, suffix in (
        ("figures", list(experiment.figures), paths.figure, "png"),
        ("tables", list(experiment.tables), paths.table, "csv"),
    ):
        absent = [name for name in names if not path(experiment.name, name, suffix).exists()]
        if absent:
            yield f"{what} not made: {', '.join(absent)}"


def _missing_scores(plan: Plan, run: Run) -> Iterator[str]:
    files = [
        score.result(run.folder, snapshot.iteration, snapshot.average)
        for snapshot in list_reached(plan, run)
        for score in [*plan.scores_of(run.name), *plan.denoising_scores_of(run.name)]
    ]
    there = [path for path in files if path.exists()]
    if len(there) < len(files):
        yield f"{len(files) - len(there)} of {plural(len(files), 'score')} missing"
    shown = {metric.name for metric in plan.metrics}
    bad = sum(
        any(values["mean"] is None for name, values in read_score(path).items() if name in shown) for path in there
    )
    if bad:
        yield f"{bad} of {plural(len(files), 'score')} not finite"


def _state(run: Run, status: RunStatus) -> str:
    """``finished``, or how far it got and why no further."""
    if status.state == "done":
        return "finished"
    if status.stopped:
        return status.stopped.text
    reason = read_failure(run.folder)[1]
    state = f"failed, {reason}" if reason else status.state
    return f"{state}; {status.iteration:,} of {run.iterations:,} iterations trained"


def _who(plan: Plan, run: Run) -> str:
    return run.title if run in plan.trained else run.name


def _limits(plan: Plan) -> Iterator[str]:
    """What should not be read into the numbers."""
    experiment = plan.experiment
    if not experiment.dataset.of_the_paper:
        yield (
            f"The paper's experiments are not on {experiment.dataset.name}: this shows that the chain works and where"
            " an effect is to be looked for; it does not show that the paper is right, nor that it is wrong."
        )
    if plan.reference.features.classifier is not None:
        names = [title for metric in plan.metrics if metric.inception_label for title in _titles(plan, metric)]
        if names:
            yield f"{', '.join(names)} cannot be compared with any FID."
    short = min(method.iterations for method in experiment.methods.values())
    papers = Method.model_fields["iterations"].default
    if experiment.dataset.of_the_paper and short < papers:
        yield f"Some runs have {short:,} iterations, the paper's {papers:,}."
    if experiment.dataset.of_the_paper and plan.pretrained:
        yield "Runs start from a diffusion model that was trained here, not from EDM's checkpoint as the paper's do."
    single = [method.label or name for name, method in experiment.methods.items() if len(method.seeds) == 1]
    several = sorted({len(method.seeds) for method in experiment.methods.values()} - {1})
    if single:
        yield f"One seed each: {', '.join(single)}. Nothing is known of their spread, so no ordering follows."
    if several and several[0] < FEW_SEEDS:
        yield f"With {several[0]} seeds, their spread itself is uncertain: captions say which differences exceed it."


def _heading(text: str, line: str = "-") -> str:
    text = _plain(text)
    return f"{text}\n{line * len(text)}"


def _bullets(lines: Iterable[str]) -> str:
    items = [f"* {_plain(line)}" for line in lines]
    more = len(items) - LISTED
    return "\n".join([*items[:LISTED], *([f"* and {more:,} more"] if more > 0 else [])])


def _plain(text: str) -> str:
    """Text escaped for docutils."""
    escaped = re.sub(r"([\\*`_|])", r"\\\1", unbroken(text))
    # An empty escape before what could be a list marker.
    return rf"\ {escaped}" if re.match(r"\W|\w{1,4}[.)]( |$)", text) else escaped


def _for_jinja(text: str) -> str:
    """Text that Jinja leaves unchanged."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)
