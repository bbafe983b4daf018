"""What was run, on what, when, at which commit and configuration, and what was not: the report's first page."""

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

from ayt.base import paths
from ayt.base import yamlio
from ayt.datasets.base import facts
from ayt.experiment.schema import METHOD_LABELS, Experiment
from ayt.reporting.scores import failure
from ayt.evaluation.naming import metric
from ayt.reporting.style import plural
from ayt.plan.plan import Plan
from ayt.plan.runs import Run
from ayt.plan.evaluations import DENOISING_METRICS
from ayt.operations.status import RunStatus, statuses

PAPER_ITERATIONS = 400_000
FEW_SEEDS = 5
LISTED = 20
"""Lines of what is missing; of more it tells the number."""

KINDS = {"pretrain": "a diffusion model", "classifier": "a feature network"}

INTRODUCTION = """\
Few-step image generators (consistency models), trained from a diffusion model by several methods and compared: what
this report is made of, and what it is not."""

# Snakemake's own layout cuts the top off a page that is longer than the screen.
STYLE = """\
.. raw:: html

   <style>
   .h-screen.overflow-auto { align-items: flex-start; }
   .prose.prose-sm { max-width: 50rem; }
   .prose h1.title { margin: 0 0 1rem; font-size: 1.6rem; }
   .prose .section h1 { margin: 1.8rem 0 .5rem; font-size: 1.15rem; }
   .prose ul { margin: .5rem 0; }
   .prose li, .prose li p { margin: .1rem 0; }
   .prose table { width: auto; margin: .5rem 0; }
   .prose :is(th, td) { padding: .15rem 1.5rem .15rem 0; text-align: left; vertical-align: top; }
   .prose td p { margin: 0; }
   .prose pre { max-height: 24rem; }
   </style>"""

# Snakemake fills this in. The sections are the menu's; links lead there.
SECTIONS = """\
{% if categories %}
Results, as in the menu at the left, where the eye shows one and the i says how it was measured:

{% for category, _ in categories|dictsort %}
* `{{ category.name }}`_
{% endfor %}

{% endif %}"""


def about(plan: Plan) -> str:
    """The page as reStructuredText that Jinja renders first; what it says is read off the files that the runs left.

    The same files give the same text.
    """
    experiment = plan.experiment
    found = dict(zip(plan.runs, statuses(plan), strict=True))
    missing = list(_missing(plan, found))
    limits = list(_limits(plan))
    first = [_heading(f"Experiment {experiment.name}", "="), STYLE, INTRODUCTION, _summary(plan, found)]
    then = [
        _heading("What was run"),
        _methods(plan, found),
        "Before them:",
        _bullets(_upstream(plan, found)),
        *(["Beside them:", _bullets(_toys(plan))] if plan.toys else []),
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
    return "\n\n".join([*map(_for_jinja, first), SECTIONS + _for_jinja("\n\n".join(then))])


def differences(experiment: Experiment) -> dict[str, Any]:
    """What a file must say to ask for this experiment; where and how jobs run apart.

    What all methods share stands under ``training``, or at the top, as in files written by hand.
    """
    content = experiment.model_dump(by_alias=True, exclude_defaults=True, exclude={"execution", "assets"})
    for name, classifier in experiment.classifiers.items():
        if classifier.family != "vgg":
            content["classifiers"][name] = {"family": classifier.family, **content["classifiers"][name]}
    methods = content.pop("methods")
    for name, method in experiment.methods.items():
        if name != method.loss:
            methods[name] = {"loss": method.loss, **methods[name]}
        if method.label == METHOD_LABELS[method.loss]:
            del methods[name]["label"]
    settings: list[dict[str, Any]] = list(methods.values())
    shared = {
        key: value
        for key, value in settings[0].items()
        if key not in ("loss", "label") and all(other.get(key) == value for other in settings)
    }
    top: dict[str, Any] = {key: shared.pop(key) for key in ("batch_sizes", "seeds") if key in shared}
    own = {
        name: {key: value for key, value in options.items() if key not in shared and key not in top}
        for name, options in methods.items()
    }
    return {**content, **({"training": shared} if shared else {}), **top, "methods": own}


def _summary(plan: Plan, found: dict[str, RunStatus]) -> str:
    dataset = plan.experiment.dataset
    of = facts(dataset)
    states = list(_states(plan))
    versions: list[dict[str, str]] = [state.get("versions", {}) for state in states]
    software = [f"ayt {about.get('ayt', 'unknown')}, torch {about.get('torch', 'unknown')}" for about in versions]
    done = sum(found[run.name].state == "done" for run in plan.trained)
    fields = {
        "Dataset": f"{dataset.name}, {of.size:,} {'grey' if of.channels == 1 else 'colour'} images of"
        f" {of.resolution} × {of.resolution} pixels",
        "Trained": f"{done} of {plural(len(plan.trained), 'run')}",
        "When": _when(plan),
        "On": _counted([state.get("device") for state in states]),
        "Threads": f"{plan.experiment.execution.threads} for each process, as configured",
        "Software": _counted(software),
        "Commit": _counted([state.get("commit") for state in states]),
    }
    return "\n".join(f":{name}: {_plain(text)}" for name, text in fields.items())


def _states(plan: Plan) -> Iterator[dict[str, Any]]:
    """The metadata of the training states that are there."""
    for run in plan.runs.values():
        for segment in run.segments:
            path = paths.state(run.folder, segment.stop)
            if path.exists():
                yield _metadata(path)


def _metadata(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself, read without PyTorch; nothing if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {}).get("ayt", "{}"))
            return found
    except (SafetensorError, OSError):
        return {}


def _counted(values: Sequence[str | None]) -> str:
    """The values that there are, the commonest first; how many of the training states have each, if they differ."""
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
    """A table: a row for each method."""
    rows = [("method", "batch sizes", "seeds", "iterations", "runs finished")]
    for name, method in plan.experiment.methods.items():
        runs = [run for other, run in plan.methods_and_runs() if other == name]
        done = sum(found[run.name].state == "done" for run in runs)
        sizes, seeds = (", ".join(map(str, values)) for values in (method.batch_sizes, method.seeds))
        rows.append((method.label or name, sizes, seeds, f"{method.iterations:,}", f"{done} of {len(runs)}"))
    cells = ["\n".join(f"{'*' if not i else ' '} - {_plain(cell)}" for i, cell in enumerate(row)) for row in rows]
    return ".. list-table::\n   :header-rows: 1\n\n" + indent("\n".join(cells), "   ")


def _upstream(plan: Plan, found: dict[str, RunStatus]) -> Iterator[str]:
    """The trainings that others start from or look through, and published weights in their place."""
    for run in plan.runs.values():
        if run not in plan.trained:
            length = f"{run.iterations:,} iterations at batch size {run.spec.batch_size}"
            yield f"{run.name}: {KINDS[run.spec.kind]}, {length}; {_state(run, found[run.name])}"
    for name in plan.checkpoints:
        yield f"{name}: published weights, not trained here"


def _toys(plan: Plan) -> Iterator[str]:
    """The toy experiments."""
    for name, toy in plan.toys.items():
        state = "finished" if paths.toy(name).exists() else "not there"
        length = f"{toy.iterations:,} iterations at batch size {toy.batch_size}, {plural(len(toy.seeds), 'seed')}"
        yield f"{name}: consistency models of points on a known {toy.manifold}, {length}; {state}"


def _scoring(plan: Plan) -> str:
    asked = plan.experiment.evaluation
    end = 0.002 if asked.convention == "ayt" else 0
    steps = "; ".join(
        f"{plural(evaluation.steps, 'step')} ({' → '.join(f'{t:g}' for t in (80, *evaluation.mids, end))})"
        for evaluation in plan.evaluations
    )
    if plan.features.classifier is None:
        features = "the Inception network of pytorch-fid"
    else:
        features = f"a small network trained here ({plan.features.name}): nothing of it is an FID"
    text = (
        f"By {', '.join(_metric_labels(plan))}. Sampling steps (noise levels): {steps}. Each snapshot is sampled"
        f" {plural(asked.repeats, 'time')} with different noise, {asked.samples:,} images each time; its score is the"
        f" mean. Images are compared in the features of {features}."
    )
    return _plain(text)


def _metric_labels(plan: Plan) -> list[str]:
    asked, inception = plan.experiment.evaluation, plan.features.classifier is None
    return [
        metric(key, plan.experiment.dataset.name, inception, t).label
        for key in asked.metrics
        for t in (asked.denoise if key in DENOISING_METRICS else (None,))
    ]


def _missing(plan: Plan, found: dict[str, RunStatus]) -> Iterator[str]:
    """What was asked for and is not there, or failed."""
    for run in plan.runs.values():
        parts = [] if found[run.name].state == "done" else [_state(run, found[run.name])]
        if run in plan.trained:
            parts.extend(_missing_scores(plan, run))
        if parts:
            yield f"{_who(plan, run)}: {'; '.join(parts)}"
    experiment = plan.experiment
    for kind, names, path, suffix in (
        ("figure", experiment.figures, paths.figure, "png"),
        ("table", experiment.tables, paths.table, "csv"),
    ):
        absent = [name for name in names if not path(experiment.name, name, suffix).exists()]
        if absent:
            yield f"{kind}s not made: {', '.join(absent)}"


def _missing_scores(plan: Plan, run: Run) -> Iterator[str]:
    files = [
        paths.score(run.folder, evaluation.name, snapshot.iteration)
        for snapshot in run.snapshots
        for evaluation in plan.evaluations
    ]
    there = [path for path in files if path.exists()]
    if len(there) < len(files):
        yield f"{len(files) - len(there)} of {plural(len(files), 'score')} missing"
    bad = sum(any(values["mean"] is None for values in _scores(path)) for path in there)
    if bad:
        yield f"{bad} of {plural(len(files), 'score')} not finite"


def _scores(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["metrics"].values())


def _state(run: Run, status: RunStatus) -> str:
    """``finished``, or how far it came and why not further."""
    if status.state == "done":
        return "finished"
    reason = failure(run.folder)[1]
    state = f"failed, {reason}" if reason else status.state
    return f"{state}; {status.iteration:,} of {run.iterations:,} iterations trained"


def _who(plan: Plan, run: Run) -> str:
    return run.title if run in plan.trained else run.name


def _limits(plan: Plan) -> Iterator[str]:
    """What nobody should read into the numbers."""
    experiment = plan.experiment
    if experiment.dataset.name != "cifar10":
        yield (
            f"The paper's experiments are on CIFAR-10. On {experiment.dataset.name}, with small networks and short"
            " trainings, this shows that the chain works and where an effect is to be looked for; it does not show that"
            " the paper is right, nor that it is wrong."
        )
    if plan.features.classifier is not None:
        names = ", ".join(label for label in _metric_labels(plan) if label.startswith("FD"))
        if names:
            yield f"{names} cannot be compared with any FID."
    short = sorted({method.iterations for method in experiment.methods.values()})
    if experiment.dataset.name == "cifar10" and short[0] < PAPER_ITERATIONS:
        yield f"Some runs have {short[0]:,} iterations, the paper's {PAPER_ITERATIONS:,}."
    if experiment.dataset.name == "cifar10" and plan.pretrained:
        yield "Runs start from a diffusion model that was trained here, not from EDM's checkpoint as the paper's do."
    single = [method.label or name for name, method in experiment.methods.items() if len(method.seeds) == 1]
    several = sorted({len(method.seeds) for method in experiment.methods.values()} - {1})
    if single:
        yield f"One seed each: {', '.join(single)}. Nothing is known of their spread, so no ordering follows."
    if several and several[0] < FEW_SEEDS:
        yield f"With {several[0]} seeds, a difference within their spread is none, and the spread itself is uncertain."


def _heading(text: str, line: str = "-") -> str:
    text = _plain(text)
    return f"{text}\n{line * len(text)}"


def _bullets(lines: Iterable[str]) -> str:
    items = [f"* {_plain(line)}" for line in lines]
    more = len(items) - LISTED
    return "\n".join([*items[:LISTED], *([f"* and {more:,} more"] if more > 0 else [])])


def _plain(text: str) -> str:
    """Text that docutils takes for nothing else."""
    escaped = re.sub(r"([\\*`_|])", r"\\\1", text)
    # An empty escape before what could be a list's marker.
    return rf"\ {escaped}" if re.match(r"\W|\w{1,4}[.)]( |$)", text) else escaped


def _for_jinja(text: str) -> str:
    """Text that Jinja gives back as it is."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)
