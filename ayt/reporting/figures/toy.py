"""The toy experiment: which way tangents point, seen from a manifold that is known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import numpy as np

from ayt.base.arrays import read_arrays
from ayt.base.sections import ABSENT, UNNAMED, Name, Section
from ayt.experiment.outputs import FIGURES, Description, Figure, Mistakes
from ayt.experiment.schema import Toy
from ayt.plan.analyses import Analysis
from ayt.reporting.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from ayt.experiment.schema import Experiment
    from ayt.plan.plan import Plan

LABELS = {"ect": "ECT", "ayt": "AYT"}
ARROW = 0.16
"""Length of the arrows, in units of the data."""

CHANCE: Any = {"color": "#555555", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}


@FIGURES.register
class ToyFigure(Figure):
    """A toy experiment: energy of the tangents along and across its manifold, and pictures of their flow."""

    name: ClassVar[str] = "toy"
    section: ClassVar[str] = "Toy experiment"
    parts: ClassVar[Mapping[str, type[Section]]] = {"toy": Toy}
    description: ClassVar[Description] = Description(
        shown="consistency models of points on a manifold that is known exactly: how much of each loss's direction"
        " points along it and across it, and pictures of where it points.",
        measured="by projection onto the tangent space at the manifold's point nearest to the output, while training"
        " goes on.",
        not_shown="anything about images: dimensions are few and networks tiny.",
        in_the_paper="the geometry that it argues with: tangents along a manifold and towards it.",
    )

    toy: Annotated[Name | None, UNNAMED] = None
    """Which of the experiment's toys; absent: the first."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        toys = mistakes.experiment.toys
        if self.toy:
            mistakes.require_known("toy", [self.toy], toys)
        elif not toys:
            mistakes.report("toy", ABSENT, "the experiment has no toys")

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it: the whole toy experiment, which has seeds of its own."""
        return [Analysis(figure=self, seed=0, parts={"toy": self._shown(plan.experiment)}, on_cpu=True)]

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Train and measure."""
        from ayt.analysis.toy.experiment import run_toy

        return run_toy(cast(Toy, analysis.parts["toy"]), device)

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it; see `Output.make`."""
        (path,) = self.inputs(plan)
        draw_toy(read_arrays(path), out, self.title)

    def _shown(self, experiment: Experiment) -> Toy:
        return experiment.toys[self.toy or next(iter(experiment.toys))]


def draw_toy(arrays: Mapping[str, np.ndarray], out: Path, title: str) -> None:
    """Draw the share of tangents' energy along the manifold over training, and more below.

    In the plane that is the flow of tangents, early and late; elsewhere the distance of samples to the manifold, how
    much tangents turn between measurements, and whether they lead to the manifold.

    Args:
        arrays: what `ayt.analysis.toy.experiment.run_toy` returned.
        out: where to, without ending.
        title: of the figure.
    """
    from matplotlib import rc_context

    from ayt.reporting.style import RC, finish, new_figure

    with rc_context(RC):
        flat = "manifold" in arrays
        figure = new_figure(4.9 if flat else 4.5)
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.05 if flat else 1))[:, 0]
        _shares(above, arrays)
        if flat:
            _flow(below, arrays)
        else:
            _draw_others(below, arrays)
        finish(figure, out, title, _caption(arrays, flat), _table(arrays))


def _table(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row for each loss, seed, measurement and noise level."""
    import pandas as pd

    shape = arrays["parallel"].shape
    names = [LABELS[str(name)] for name in arrays["losses"]]
    axes = (names, arrays["seeds"], arrays["iterations"], arrays["times"])
    rows = pd.MultiIndex.from_product(axes, names=["loss", "seed", "iteration", "t"]).to_frame(index=False)
    return rows.assign(
        parallel=arrays["parallel"].ravel(),
        orthogonal=1 - arrays["parallel"].ravel(),
        cosine=arrays["cosine"].ravel(),
        towards=arrays["towards"].ravel(),
        distance=np.broadcast_to(arrays["distance"][..., None], shape).ravel(),
        points=int(arrays["points"]),
    )


def _shares(figure: SubFigure, arrays: Mapping[str, np.ndarray]) -> None:
    """A panel for each noise level: what lies along the manifold, from below; across it, from above."""
    from matplotlib.lines import Line2D

    from ayt.reporting.style import COLOURS, LINES, MARKERS

    panels = figure.subplots(1, len(arrays["times"]), sharey=True, squeeze=False)[0]
    for index, (panel, t) in enumerate(zip(panels, arrays["times"], strict=True)):
        _draw_over_training(panel, arrays, arrays["parallel"][..., index])
        panel.axhline(float(arrays["chance"]), **CHANCE)
        panel.set_title(f"t = {t:g}")
        panel.set_ylim(0, 1)
    panels[0].set_ylabel("energy along the manifold")
    across = panels[-1].secondary_yaxis("right", functions=(lambda share: 1 - share, lambda share: 1 - share))
    across.set_ylabel("energy across it")
    handles = [
        Line2D([], [], color=COLOURS[i], linestyle=LINES[i], marker=MARKERS[i], markersize=4, label=LABELS[str(name)])
        for i, name in enumerate(arrays["losses"])
    ]
    handles.append(Line2D([], [], **CHANCE, label="random\ndirection"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)


def _draw_over_training(panel: Axes, arrays: Mapping[str, np.ndarray], values: np.ndarray) -> None:
    """Draw (L, S, M) values: means over seeds, and bands from the lowest to the highest."""
    from ayt.reporting.style import COLOURS, LINES, MARKERS

    iterations = arrays["iterations"]
    for index, line in enumerate(values):
        if len(line) > 1:
            panel.fill_between(iterations, line.min(0), line.max(0), color=COLOURS[index], alpha=0.2, linewidth=0)
        panel.plot(
            iterations,
            line.mean(0),
            color=COLOURS[index],
            linestyle=LINES[index],
            marker=MARKERS[index],
            markersize=3.5,
            markevery=max(1, len(iterations) // 5),
        )
    panel.set_xlim(left=0)
    panel.set_xticks([0, iterations[-1] / 2, iterations[-1]])
    panel.set_xlabel("training iterations")


def _flow(figure: SubFigure, arrays: Mapping[str, np.ndarray]) -> None:
    """A panel for each loss and of two moments: the manifold, outputs, and where the loss pushes them."""
    from ayt.reporting.style import COLOURS

    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    iterations = arrays["iterations"][arrays["flow_measurements"]]
    for index, name in enumerate(arrays["losses"]):
        for moment, panel in enumerate(panels[2 * index : 2 * index + 2]):
            points, arrows = arrays["outputs"][index, moment], -ARROW * arrays["directions"][index, moment]
            panel.plot(*arrays["manifold"].T, color="#999999", linewidth=1)
            panel.quiver(
                *points.T, *arrows.T, angles="xy", scale_units="xy", scale=1, color=COLOURS[index], width=0.008
            )
            panel.plot(*points.T, "o", color="black", markersize=1.2)
            panel.update_datalim(points + arrows)  # arrows alone would be cut off
            panel.set_aspect("equal")
            panel.set_title(f"{LABELS[str(name)]}, {plural(int(iterations[moment]), 'iteration')}")
            panel.set_xticks([-0.5, 0, 0.5])
            panel.set_yticks([-0.5, 0, 0.5])


def _draw_others(figure: SubFigure, arrays: Mapping[str, np.ndarray]) -> None:
    """Three panels: distance of samples; cosines to the measurement before and to the way to the manifold."""
    panels = figure.subplots(1, 3)
    shown = {
        "distance of samples": arrays["distance"],
        "cosine to measurement before": arrays["cosine"].mean(3),
        "cosine to way to manifold": arrays["towards"].mean(3),
    }
    for panel, (name, values) in zip(panels, shown.items(), strict=True):
        _draw_over_training(panel, arrays, values)
        panel.set_title(name)
    panels[0].set_ylim(bottom=0)


def _caption(arrays: Mapping[str, np.ndarray], flat: bool) -> str:
    seeds, points = len(arrays["seeds"]), int(arrays["points"])
    over = f", and over {seeds} seeds; bands: lowest to highest of the seeds." if seeds > 1 else "."
    alone = "" if seeds > 1 else " There is one seed, so there are no bands."
    above = (
        "Above: the direction of each loss, its gradient at the output D(x + t eps; t) of the network in training: the"
        " share of its energy along the manifold at the point nearest to the output (right axis: across it)."
        f" Means over n = {points} fixed points at each noise level t{over}{alone}"
    )
    if flat:
        shown = arrays["outputs"].shape[2]
        return (
            f"{above} Below: the manifold (line), {shown} of the outputs at t = {float(arrays['flow_time']):g} (dots),"
            f" first seed; arrows, all of one length: where the loss pushes them, against its direction."
        )
    return (
        f"{above} Below: mean distance of {points} one-step samples of the averaged weights to the manifold; cosine of"
        " the direction with that of the same point at the measurement before; cosine of where the loss pushes the"
        " output, against its direction, with the way to the nearest point. Both are means over the noise levels."
    )
