"""Training curves, from the logs of finished or unfinished runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.files import write_beside
from ayt.plan.runs import RunRecord
from ayt.reporting.style import COLOURS, DPI, LINES, RC, new_figure, scale_logarithmically
from ayt.training.log import read_rows

PANELS = {
    "loss": "loss",
    "distance": "distance",
    "gradient_norm": "norm of the gradient",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
"""Columns to draw, with their names."""

LOGARITHMIC = ("loss", "distance", "gradient_norm")


def read_log(folder: Path) -> pd.DataFrame:
    """The rows of a run's training logs, including the segment in progress, by iteration.

    Raises:
        UserError: there are none yet.
    """
    logs = [*sorted((folder / "logs").glob("*.csv")), paths.resume_folder(folder) / "log.csv"]
    rows = pd.DataFrame([row for log in logs for row in read_rows(log)])
    if rows.empty:
        raise UserError(f"{folder}: has no training log yet")
    return rows.drop_duplicates("iteration", keep="last").sort_values("iteration", ignore_index=True)


def draw_training(runs: Mapping[Path, RunRecord], out: Path) -> None:
    """Draw loss, distance, gradient norm, learning rate and speed over iterations into one PNG.

    Args:
        runs: folders of runs and their records.
        out: the file to write.

    Raises:
        UserError: a run has no log yet.
    """
    from ayt.training.state import Optimiser, learning_rate

    with rc_context(RC):
        figure = new_figure(4.2)
        axes: list[Axes] = list(figure.subplots(2, 3, sharex=True).flat)
        for number, (folder, record) in enumerate(runs.items()):
            rows, optimiser = read_log(folder), Optimiser.of(record.training)
            # The log counts iterations done, a learning rate belongs to an iteration's index.
            rows["learning_rate"] = [learning_rate(int(done) - 1, optimiser) for done in rows["iteration"]]
            for panel, column in zip(axes, PANELS, strict=False):
                look = {
                    "color": COLOURS[number % len(COLOURS)],
                    "linestyle": LINES[number // len(COLOURS) % len(LINES)],
                }
                panel.plot(rows["iteration"], rows[column], label=record.name, linewidth=1, **look)
        for panel, (column, name) in zip(axes, PANELS.items(), strict=False):
            panel.set_title(name)
            if column in LOGARITHMIC:
                scale_logarithmically(panel, "y")
            else:
                panel.set_ylim(bottom=0)
        for panel in axes[2:5]:
            panel.set_xlabel("training iterations")
            panel.tick_params(labelbottom=True)
        axes[-1].axis("off")
        handles, _ = axes[0].get_legend_handles_labels()
        axes[-1].legend(handles=handles, loc="center", frameon=False, fontsize=5.5)
        with write_beside(out) as beside:
            figure.savefig(beside, format="png", dpi=DPI, metadata={"Software": None})
