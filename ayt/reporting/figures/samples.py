"""Figure of samples of all runs from the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.sections import Count, Whole
from ayt.experiment.outputs import FIGURES, Description, Figure, Mistakes
from ayt.reporting.wording import noise_levels, say_which

if TYPE_CHECKING:
    from ayt.plan.evaluations import Grid
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run


@FIGURES.register
class Samples(Figure):
    """Samples of all runs at their end from the same noise."""

    name: ClassVar[str] = "samples"
    by_default: ClassVar[bool] = True
    section: ClassVar[str] = "Samples"
    description: ClassVar[Description] = Description(
        shown="samples of each run at its end, one seed each. A column shows what all runs make of the same noise.",
        measured="the first samples of those that were scored, in the order in which they came: nothing is chosen.",
        not_shown="how varied the samples are, nor how often one fails; the scores say more.",
        in_the_paper="its figures of samples.",
    )

    steps: Count = 1
    methods: list[str] = []
    """Empty: all."""
    seed: Whole | None = None
    """Of the runs that are shown; absent: each method's first."""
    columns: Count = 10

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        experiment = mistakes.experiment
        mistakes.require_known("steps", [self.steps], experiment.evaluation.steps)
        mistakes.require_methods(self.methods)
        mistakes.require_known("seed", [] if self.seed is None else [self.seed], experiment.seeds())
        kept = experiment.evaluation.grid
        if self.columns > kept:
            mistakes.report("columns", self.columns, f"only evaluation.grid = {kept} samples are kept")

    def grids(self, plan: Plan) -> list[tuple[Run, Grid]]:
        """The sample grids that it shows, each of a run at its end."""
        methods = plan.experiment.methods
        return [
            (run, plan.grid_of(run.name, self.steps))
            for name, run in plan.chosen(self.methods)
            if run.record.seed == (methods[name].seeds[0] if self.seed is None else self.seed)
        ]

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw the samples that are there."""
        wanted = [(run, grid.result(run.folder, run.iterations)) for run, grid in self.grids(plan)]
        rows = [
            Row(run.label, run.record.batch_size, run.name, run.iterations, read_arrays(path, "images")["images"])
            for run, path in wanted
            if path.exists()
        ]
        if wanted and not rows:
            raise UserError(f"{wanted[0][1]}: no such file, nor those of the other runs")
        missing = [f"{run.label}, batch size {run.record.batch_size}" for run, path in wanted if not path.exists()]
        caption = (
            f"Samples at the end of training, one seed each; sampling steps: {self.steps} (noise levels"
            f" {noise_levels(plan.samplings[self.steps])}). All images of a column come from the same noise."
            f" {say_which('Not there yet', missing)}"
        )
        draw_samples(rows, out, self.title, self.columns, caption.strip())


class Row(NamedTuple):
    """Samples of one run, and what is known of them.

    Attributes:
        label: of the method.
        batch_size: of the run.
        run: its name.
        iteration: of the snapshot.
        images: (n, C, H, W) uint8.
    """

    label: str
    batch_size: int
    run: str
    iteration: int
    images: np.ndarray


def draw_samples(rows: Sequence[Row], out: Path, title: str, columns: int, caption: str) -> None:
    """Draw a row of samples for each run; a column shows what all make of the same noise.

    Args:
        rows: what is shown.
        out: where to, without ending.
        title: of the figure.
        columns: samples of each run.
        caption: how they were sampled.

    Raises:
        UserError: there is no run to show.
    """
    import pandas as pd
    from matplotlib import rc_context

    from ayt.reporting.style import RC, finish, new_figure, show_row

    if not rows:
        raise UserError("no run to show: no run of the experiment has the figure's seed")
    with rc_context(RC):
        figure = new_figure(0.55 + 0.5 * len(rows))
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for panel, row in zip(panels, rows, strict=True):
            show_row(panel, row.images[:columns], f"{row.label}\nbatch size {row.batch_size}")
        table = pd.DataFrame(
            [(*row[:-1], columns) for row in rows],
            columns=["label", "batch_size", "run", "iteration", "samples_shown"],
        )
        finish(figure, out, title, caption, table)
