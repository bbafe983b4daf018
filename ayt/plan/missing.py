"""Results that were computed once but have since disappeared."""

from __future__ import annotations

from pathlib import Path

from ayt.base import paths
from ayt.plan.plan import Plan


def results(plan: Plan) -> list[Path]:
    """Results that are made again if missing, even if everything made from them exists."""
    experiment = plan.experiment
    return [
        *dict.fromkeys(plan.scores()),
        *(grid.result(run.folder, run.iterations) for run, grid in plan.grids()),
        *dict.fromkeys(anchor.path for anchor in plan.anchors.values()),
        *(analysis.path for analysis in plan.analyses.values()),
        *(paths.figure(experiment.name, name, suffix) for name in experiment.figures for suffix in paths.FIGURE_FILES),
        *(paths.table(experiment.name, name, suffix) for name in experiment.tables for suffix in paths.TABLE_FILES),
        paths.scores_table(experiment.name),
        paths.about(experiment.name),
    ]


def note_of_missing_snapshots(plan: Plan) -> str:
    """What to say about missing snapshots of finished training runs; empty if none is missing.

    They are not made again unasked: that would mean training, and whoever removed them may have wanted the space.
    """
    gone = [
        snapshot
        for run in plan.runs.values()
        for segment in run.segments
        if paths.state(run.folder, segment.stop).exists()
        for snapshot in segment.files(run.folder, run.record.averages)
        if not snapshot.exists()
    ]
    if not gone:
        return ""
    return (
        f"{len(gone)} snapshots of finished training runs are gone, the first {gone[0]}; what needs none of them is"
        f" left as it is. To have one made again: the same command, ended by -- {gone[0]}"
    )
