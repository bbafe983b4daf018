"""Figure of samples of all runs from the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field

from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.sections import UNNAMED, Count, Whole
from ayt.base.stopped import Stopped, read_stopped
from ayt.experiment.outputs import FIGURES, Description, Figure, Mistakes
from ayt.networks.base import Denoiser
from ayt.plan.analyses import Analysis
from ayt.reporting.wording import noise_levels, plural, say_which

if TYPE_CHECKING:
    import torch

    from ayt.networks.modules.precond import EDMPrecond
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
        shown="samples of each run at its end, one seed each. A column shows what all runs make of the same noise; the"
        " first row, where there is one of it, what the diffusion model that they started from makes of it in many"
        " steps, which a consistency model is to make in one.",
        measured="the first samples of those that were scored, in the order in which they came: nothing is chosen.",
        not_shown="how varied the samples are, nor how often one fails; the scores say more.",
        in_the_paper="its figures of samples.",
    )

    steps: Annotated[Count, UNNAMED] = 1
    """Number of sampling steps."""
    methods: Annotated[list[str], UNNAMED] = []
    """Methods to show; empty: all."""
    seed: Annotated[Whole | None, UNNAMED] = None
    """Seed of the runs; absent: each method's first."""
    columns: Count = 10
    """Samples in a row."""
    smooth: Annotated[bool, UNNAMED] = False
    """Whether to interpolate between pixels, which makes very small images easier to read."""
    teacher_steps: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Euler steps of the diffusion model that training starts from; its samples form the first row; 0: no such row."""

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
            for name, run in plan.choose_runs(self.methods)
            if run.record.seed == (methods[name].seeds[0] if self.seed is None else self.seed)
        ]

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it: the diffusion model's samples, if they are shown."""
        if not self.teacher_steps:
            return []
        start, dataset = plan.diffusion, plan.experiment.dataset
        seed = plan.experiment.evaluation.seed
        return [Analysis(self, seed, {"start": start}, dataset=dataset, inputs=(start.path, *dataset.files))]

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Sample the diffusion model: images (columns, C, H, W) uint8."""
        from ayt.base.images import to_uint8
        from ayt.evaluation.sampling import draw_diffusion_samples
        from ayt.networks.modules.precond import bind
        from ayt.training.work import build_frozen

        start, dataset = analysis.weights["start"], analysis.dataset
        assert dataset is not None
        network = cast("EDMPrecond", build_frozen(start, dataset, device))
        images = draw_diffusion_samples(
            lambda labels: bind(network, labels),
            self.teacher_steps,
            analysis.seed,
            range(self.columns),
            dataset.shape,
            cast(Denoiser, start.network).classes(dataset),
            device,
        )
        return {"images": to_uint8(images).cpu().numpy()}

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw the samples that are there."""
        wanted = [(run, grid.result(run.folder, run.iterations)) for run, grid in self.grids(plan)]
        left = [(run, read_stopped(run.last.path)) for run, _ in wanted]
        stops = {run.name: stopped for run, stopped in left if stopped}
        rows = [
            Row(
                f"{run.label}\nbatch size {run.record.batch_size}",
                run.label,
                run.record.batch_size,
                run.name,
                _iteration_of(run, stops.get(run.name)),
                images,
            )
            for run, path in wanted
            if path.exists() and len(images := read_arrays(path, "images")["images"])
        ]
        if wanted and not rows:
            raise UserError(f"{wanted[0][1]}: no such file, nor those of the other runs")
        missing = [f"{run.label}, batch size {run.record.batch_size}" for run, path in wanted if not path.exists()]
        above = ""
        for analysis in self.analyses(plan):
            if analysis.path.exists():
                rows.insert(0, self._teacher(plan, read_arrays(analysis.path, "images")["images"]))
                above = (
                    f" First row: the diffusion model that all start from, {plural(self.teacher_steps, 'Euler step')}."
                )
            else:
                missing.append("the diffusion model")
        given_up = [f"{run.title} ({stops[run.name].text})" for run, _ in wanted if run.name in stops]
        caption = (
            f"Samples at the end of training, one seed each; sampling steps: {self.steps} (noise levels"
            f" {noise_levels(plan.samplings[self.steps])}). All images of a column come from the same noise.{above}"
            f"{' Drawn smoothly between pixels.' if self.smooth else ''}"
            f" {say_which('Not there yet', missing)}"
            f" {say_which('Given up', given_up)}"
        )
        draw_rows(rows, out, self.title, self.columns, caption.strip(), self.smooth)

    def _teacher(self, plan: Plan, images: np.ndarray) -> Row:
        trained = plan.pretrained
        return Row(
            f"diffusion model\n{plural(self.teacher_steps, 'step')}",
            "diffusion model",
            trained.record.batch_size if trained else None,
            trained.name if trained else plan.diffusion.name,
            trained.iterations if trained else None,
            images,
        )


def _iteration_of(run: Run, stopped: Stopped | None) -> int:
    """The iteration of the last snapshot that a run came to."""
    return max(s.iteration for s in run.snapshots if stopped is None or s.iteration <= stopped.iteration)


class Row(NamedTuple):
    """Samples of one run, and what is known of them.

    Attributes:
        beside: what stands at their left.
        label: of the method.
        batch_size: of the run; None: not known, as of published weights.
        run: its name, or that of the weights.
        iteration: of the snapshot; None: not known.
        images: (n, C, H, W) uint8.
    """

    beside: str
    label: str
    batch_size: int | None
    run: str
    iteration: int | None
    images: np.ndarray


def draw_rows(rows: Sequence[Row], out: Path, title: str, columns: int, caption: str, smooth: bool = False) -> None:
    """Draw a row of samples for each run; a column shows what all make of the same noise.

    Args:
        rows: what is shown.
        out: where to, without ending.
        title: of the figure.
        columns: samples of each run.
        caption: how they were sampled.
        smooth: whether images are drawn smoothly between their pixels, which else are squares.

    Raises:
        UserError: there is no run to show.
    """
    import pandas as pd
    from matplotlib import rc_context

    from ayt.reporting.grids import enlarge
    from ayt.reporting.style import RC, finish, new_figure, show_row

    if not rows:
        raise UserError("no run to show: no run of the experiment has the figure's seed")
    with rc_context(RC):
        figure = new_figure(0.55 + 0.5 * len(rows))
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for panel, row in zip(panels, rows, strict=True):
            images = row.images[:columns]
            show_row(panel, enlarge(images) if smooth else images, row.beside)
        table = pd.DataFrame(
            [(*row[1:-1], columns) for row in rows],
            columns=["label", "batch_size", "run", "iteration", "samples_shown"],
        ).astype({"batch_size": "Int64", "iteration": "Int64"})
        finish(figure, out, title, caption, table)
