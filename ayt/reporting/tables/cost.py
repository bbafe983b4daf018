"""Table of what training cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.experiment.outputs import TABLES, Description, Table

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Cost(Table):
    """The cost of training: hours, images seen, memory; including the cost of the classifier and the start."""

    name: ClassVar[str] = "cost"
    description: ClassVar[Description] = Description(
        shown="what training cost: hours, images seen, memory, with the cost of the feature network and of the start.",
        measured="from the training logs, on the machine that the first page names.",
        not_shown="scoring, and waiting for a machine; nor what a run alone on its machine would take, where jobs"
        " shared one.",
        in_the_paper="no table of its own.",
    )

    def inputs(self, plan: Plan) -> list[Path]:
        """The training logs of all runs."""
        return [paths.training_log(run.folder, segment.stop) for run in plan.runs.values() for segment in run.segments]

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write what the runs that are done cost."""
        from ayt.reporting.costs import read_costs

        tabulate_costs(read_costs(plan), out, self.title)


def tabulate_costs(costs: pd.DataFrame, out: Path, title: str) -> None:
    """Write a table of what training cost.

    Args:
        costs: as `ayt.reporting.costs.read_costs` gives.
        out: where to, without ending.
        title: of the table.

    Raises:
        UserError: nothing was trained yet.
    """
    import pandas as pd

    from ayt.reporting.table_files import write_table

    if costs.empty:
        raise UserError("nothing was trained yet")
    unit = "GPUs" if (costs["gpus"] > 0).all() else "CPU" if (costs["gpus"] == 0).all() else "GPUs or CPU"
    cells = pd.DataFrame(
        {
            "batch size": costs["batch_size"].astype(str),
            "runs": costs["runs"].astype(str),
            "images seen": [f"{images:,.0f}" for images in costs["images"]],
            "run": _format_hours(costs["hours"]),
            "classifier": _format_hours(costs["classifier_hours"]),
            "start": _format_hours(costs["start_hours"]),
            "total": _format_hours(costs["total_hours"]),
            "peak memory": [
                "–" if pd.isna(memory) else f"{memory / 1000:.2f} GB" for memory in costs["peak_memory_mb"]
            ],
        }
    ).set_axis(costs["label"])
    caption = (
        f"Time of one run on its {unit} (on several GPUs, the sum of theirs), mean over seeds: its own training, that"
        " of its feature network, that of the weights it starts from and of what else they were made from (– where"
        " there is none, or it was published), and their sum. What several runs share is counted in full for each,"
        " though it is trained once. Time is images seen by images per second in the training logs, whatever else the"
        " machine was doing: jobs that ran side by side slowed each other. Scoring is not counted. Peak memory: of one"
        " process, on its GPU if it has one."
    )
    write_table(out, costs, cells, title, caption)


def _format_hours(values: pd.Series[Any]) -> list[str]:
    return [_format_duration(3600 * hours) for hours in values]


def _format_duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.2g} s"
