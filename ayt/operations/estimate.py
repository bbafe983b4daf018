"""What an experiment would cost, before anything is submitted: from what is there and how fast it went."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ayt.training import work as models
from ayt.base import paths
from ayt.assets.table import needed
from ayt.experiment import outputs
from ayt.base.errors import UserError
from ayt.plan.plan import Plan
from ayt.plan.runs import Run
from ayt.plan.records import ClassifierSpec, ConsistencySpec, PretrainSpec, read_record
from ayt.operations.status import last_row

FLOAT = 4
"""Bytes of a weight: files keep float32."""


@dataclass(frozen=True)
class RunCost:
    """What is left of one run.

    Attributes:
        name: of the run.
        iterations: still to train.
        segments: jobs that train them.
        images_per_second: median over the logs of equal trainings, whatever machine wrote them; None: none did.
        hours: at that speed.
        bytes: of snapshots and states still to write.
    """

    name: str
    iterations: int
    segments: int
    images_per_second: float | None
    hours: float | None
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """What is left of an experiment.

    Attributes:
        runs: its trainings that are not done.
        done: how many are.
        scoring_jobs: jobs that score a segment's snapshots.
        images_to_sample: by these jobs.
        other_jobs: jobs of the rules that prepare, compare, gather and draw; none of them is long.
    """

    runs: list[RunCost]
    done: int
    scoring_jobs: int
    images_to_sample: int
    other_jobs: int


def estimate(plan: Plan) -> Estimate:
    """What has to be done for an experiment, judged by which files are missing."""
    speeds = _measured()
    sizes: dict[str, tuple[int, int]] = {}
    costs = [_run_cost(run, speeds, sizes) for run in plan.runs.values()]
    left = [cost for cost in costs if cost.segments]
    scoring_jobs = images = 0
    for run in plan.trained:
        for segment in run.segments:
            missing = [
                evaluation
                for evaluation in plan.evaluations
                for iteration in segment.iterations
                if not paths.score(run.folder, evaluation.name, iteration).exists()
            ]
            scoring_jobs += bool(missing)
            # A scoring job makes all scores of its segment.
            made = len(segment.iterations) * len(plan.evaluations) if missing else 0
            images += made * plan.experiment.evaluation.samples * plan.experiment.evaluation.repeats
    experiment = plan.experiment
    table = needed(plan)
    reports = [
        path
        for name, figure in experiment.figures.items()
        if isinstance(figure, outputs.TransformationsFigure)
        for path in plan.figure_data(name)[:1]
    ]
    files = [
        *(table[name].path(paths.ASSETS) for name in plan.assets if name in table),
        *reports,
        *(paths.run_record(run.folder) for run in plan.runs.values()),
        *plan.data,
        plan.features.reference,
        *(analysis.path for analysis in plan.analysed.values()),
        *(paths.toy(name) for name in plan.toys),
        *(paths.checkpoint(name) for name in plan.checkpoints),
        *(paths.figure(experiment.name, name, "png") for name in experiment.figures),
        *(paths.table(experiment.name, name, "csv") for name in experiment.tables),
        paths.scores_table(experiment.name),
        paths.about(experiment.name),
    ]
    others = sum(not path.exists() for path in files)
    return Estimate(left, len(costs) - len(left), scoring_jobs, images, others)


def _run_cost(run: Run, speeds: dict[str, list[float]], sizes: dict[str, tuple[int, int]]) -> RunCost:
    missing = [segment for segment in run.segments if not paths.state(run.folder, segment.stop).exists()]
    under_way = last_row(paths.resume_folder(run.folder) / "log.csv").get("iteration", 0)
    done = sum(max(0, min(int(under_way), segment.stop) - segment.start) for segment in missing[:1])
    iterations = sum(segment.stop - segment.start for segment in missing) - done
    like = _kind_of_work(run.spec)
    speed = statistics.median(speeds[like]) if like in speeds else None
    hours = iterations * run.spec.batch_size / speed / 3600 if speed else None
    if missing and like not in sizes:
        sizes[like] = _sizes(run.spec)
    snapshot, state = sizes.get(like, (0, 0))
    snapshots = sum(len(segment.iterations) for segment in missing)
    return RunCost(run.name, iterations, len(missing), speed, hours, snapshots * snapshot + len(missing) * state)


def _sizes(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> tuple[int, int]:
    """Bytes of a snapshot, and of a training state: weights, their average, and two moments of the optimiser."""
    network = models.build(spec)
    snapshot = FLOAT * sum(tensor.numel() for tensor in network.state_dict().values())
    weights = FLOAT * sum(parameter.numel() for parameter in network.parameters())
    return snapshot, snapshot + weights * (3 if spec.optimiser.ema else 2)


def _kind_of_work(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> str:
    """Equal for trainings whose iterations cost the same: seeds, schedules and datasets of one size do not matter."""
    described = spec.model_dump(mode="json")
    for key in ("version", "seed", "optimiser", "times", "start", "ramp", "probability", "sigma_mean", "sigma_std"):
        described.pop(key, None)
    described["precision"] = spec.optimiser.precision
    if isinstance(spec, ConsistencySpec):
        described["loss"] = spec.loss.name
        if described.get("classifier"):
            run = described["classifier"].get("run") or {}
            described["classifier"] = run.get("network") or described["classifier"]
    return json.dumps(described, sort_keys=True)


def _measured() -> dict[str, list[float]]:
    """Images per second in the logs of all finished segments, by kind of work."""
    found: dict[str, list[float]] = {}
    for record in paths.RUNS.glob("*/*/run.yaml"):
        try:
            like = _kind_of_work(read_record(record))
        except UserError:
            continue  # an older version's: its trainings may cost something else
        for log in (record.parent / "logs").glob("*.csv"):
            found.setdefault(like, []).extend(_speeds(log))
    return {like: values for like, values in found.items() if values}


def _speeds(log: Path) -> Iterator[float]:
    """The speeds of a log but for the first, which has the start in it."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    yield from (float(row["images_per_second"]) for row in rows[1:])
