"""What an experiment would cost, before anything is submitted: from what exists and how fast such runs were.

This is known immediately; disk space requires building networks, and is in `ayt.operations.disk`.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ayt.assets.fetch import find_prefetched
from ayt.assets.table import read_needed
from ayt.base import paths
from ayt.base.errors import UserError
from ayt.operations.measured import images_per_second, milliseconds
from ayt.operations.status import last_row
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.plan import Plan
from ayt.plan.runs import Run, RunRecord, Segment, Snapshot, read_run
from ayt.training.log import read_rows


@dataclass(frozen=True)
class RunCost:
    """The remaining work of one run.

    Attributes:
        name: of the run.
        iterations: iterations left to train.
        segments: jobs that train them.
        images_per_second: median over the logs of equivalent training runs, on any machine; None: there are none.
        hours: at that speed.
        hours_on_card: from measured steps like its own on `ayt.operations.measured.CARD`; None: none were measured.
    """

    name: str
    iterations: int
    segments: int
    images_per_second: float | None
    hours: float | None
    hours_on_card: float | None


@dataclass(frozen=True)
class Estimate:
    """The remaining work of an experiment.

    Attributes:
        runs: its unfinished training runs.
        done: number of finished training runs.
        scoring_jobs: jobs that score a segment's snapshots of one average, or an anchor.
        images_to_sample: images that these jobs sample.
        images_timed: those of them that are sampled at a rate measured on `ayt.operations.measured.CARD`.
        scoring_hours_on_card: what these take there.
        other_jobs: jobs of the rules that prepare, compare, gather and draw; all are short.
        to_download: published files that are neither here nor prefetched, with their sizes in bytes; None: unknown.
    """

    runs: list[RunCost]
    done: int
    scoring_jobs: int
    images_to_sample: int
    images_timed: int
    scoring_hours_on_card: float
    other_jobs: int
    to_download: dict[str, int | None]


def estimate(plan: Plan) -> Estimate:
    """The remaining work of an experiment, determined from missing files."""
    speeds = _read_speeds()
    costs = [_run_cost(run, speeds) for run in plan.runs.values()]
    left = [cost for cost in costs if cost.segments]
    scoring_jobs = images = timed = 0
    scoring_hours = 0.0
    for run in plan.trained:
        # A job makes all scores of samples of its segment; denoising scores have separate jobs.
        denoising = [[score] for score in plan.denoising_scores_of(run.name)]
        jobs: list[Sequence[Score | DenoisingScore]] = [plan.scores_of(run.name), *denoising]
        for segment, average, scores in itertools.product(run.segments, run.record.averages, jobs):
            iterations = segment.iterations
            results = (score.result(run.folder, iteration, average) for score in scores for iteration in iterations)
            if not all(path.exists() for path in results):
                scoring_jobs += 1
                for score in scores:
                    asked = score.repeats * score.samples * len(iterations)
                    images += asked
                    if rate := images_per_second(run.record, score):
                        timed += asked
                        scoring_hours += asked / rate / 3600
    for anchor in {anchor.name: anchor for anchor in plan.anchors.values()}.values():
        if not anchor.path.exists():
            scoring_jobs += 1
            images += anchor.repeats * anchor.samples
    table = read_needed(plan)
    assets = {name: table[name] for name in plan.assets if name in table}
    missing = {name: asset for name, asset in assets.items() if not asset.path(paths.ASSETS).exists()}
    prefetched = Path(folder) if (folder := plan.experiment.assets.prefetched) else None
    to_download = {name: asset.size for name, asset in missing.items() if not find_prefetched(asset, prefetched)}
    others = len(missing) + sum(not path.exists() for path in _others(plan))
    return Estimate(left, len(costs) - len(left), scoring_jobs, images, timed, scoring_hours, others, to_download)


def _others(plan: Plan) -> Iterator[Path]:
    """The outputs of jobs other than those for published files, training and scoring."""
    experiment = plan.experiment
    yield from experiment.dataset.files
    yield plan.reference.path
    yield from (analysis.path for analysis in plan.analyses.values())
    yield from (grid.result(run.folder, run.iterations) for run, grid in plan.grids())
    yield from (paths.checkpoint(name) for name in plan.checkpoints)
    yield from (paths.figure(experiment.name, name, "png") for name in experiment.figures)
    yield from (paths.table(experiment.name, name, "csv") for name in experiment.tables)
    yield paths.scores_table(experiment.name)
    yield paths.about(experiment.name)


def segments_left(run: Run) -> list[Segment]:
    """The segments of a run left to train."""
    return [segment for segment in run.segments if not paths.state(run.folder, segment.stop).exists()]


def _run_cost(run: Run, speeds: dict[str, list[float]]) -> RunCost:
    missing = segments_left(run)
    under_way = last_row(paths.resume_folder(run.folder) / "log.csv").get("iteration", 0)
    done = sum(max(0, min(int(under_way), segment.stop) - segment.start) for segment in missing[:1])
    iterations = sum(segment.stop - segment.start for segment in missing) - done
    like = kind_of_work(run.record)
    speed = statistics.median(speeds[like]) if like in speeds else None
    hours = iterations * run.record.batch_size / speed / 3600 if speed else None
    step = milliseconds(run.record)
    return RunCost(run.name, iterations, len(missing), speed, hours, iterations * step / 3.6e6 if step else None)


def kind_of_work(record: RunRecord) -> str:
    """A key equal for runs whose iterations cost the same: seeds, schedules and upstream weights do not matter."""
    upstream = {
        role: weights.run.content()["network"] if isinstance(weights, Snapshot) else weights.content()["network"]
        for role, weights in record.upstream.items()
    }
    described = record.content()
    described.pop("seed")
    training = record.training
    described["training"] = [training.stem, training.precision, getattr(training, "dropout", 0.0) > 0]
    return json.dumps({**described, "upstream": upstream}, sort_keys=True)


def _read_speeds() -> dict[str, list[float]]:
    """Images per second in the logs of all finished segments, by kind of work."""
    found: dict[str, list[float]] = {}
    for record in paths.RUNS.glob("*/*/run.yaml"):
        try:
            like = kind_of_work(read_run(record))
        except UserError:
            continue  # of an older version, whose runs may have a different cost
        for log in (record.parent / "logs").glob("*.csv"):
            found.setdefault(like, []).extend(_speeds(log))
    return {like: values for like, values in found.items() if values}


def _speeds(log: Path) -> Iterator[float]:
    """The speeds in a log except the first, which includes start-up."""
    yield from (row["images_per_second"] for row in read_rows(log)[1:])
