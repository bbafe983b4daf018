"""Figure of scores at the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ayt.experiment.outputs import FIGURES, Description
from ayt.reporting.chosen_scores import MEASURED, NOT_SHOWN, ScoreFigure

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@FIGURES.register
class Final(ScoreFigure):
    """Scores at the end of training by method and batch size."""

    name: ClassVar[str] = "final"
    by_default: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="the score at the end of training by method and batch size.",
        measured=MEASURED,
        not_shown=NOT_SHOWN,
        in_the_paper="its tables of scores by method and by batch size, as a picture.",
    )

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw the scores that are there."""
        from ayt.reporting.score_plots import choose_steps
        from ayt.reporting.significance import describe_ends

        scores, note = self.read_rows(plan, place)
        scores = choose_steps(scores, self.steps)
        claims = describe_ends(scores, self.usual_reference(plan.experiment))
        draw_final(scores, out, self.title, " ".join(part for part in (*claims, note) if part))


def draw_final(scores: pd.DataFrame, out: Path, title: str, notes: str = "") -> None:
    """Draw the score at the end of training by batch size and method: a dot for each seed, a bar for their mean.

    Scores that are not finite are crosses at the upper edge; those of runs that were stopped have rings.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the figure.
        notes: more to say below: what the ends claim, what is missing.
    """
    from matplotlib import rc_context

    from ayt.reporting import score_plots
    from ayt.reporting.style import RC, finish
    from ayt.reporting.summaries import at_end, describe_better, describe_end, describe_sampling

    rows = at_end(scores)
    with rc_context(RC):
        figure, panels, methods, sizes = score_plots.lay_out(rows)
        for panel, shown in panels:
            edges, names, place = [], [], 0.0
            for size in sizes:
                begin = place
                for index, label in enumerate(methods):
                    own = shown[(shown["batch_size"] == size) & (shown["label"] == label)]
                    values = own["mean"].to_numpy()
                    if not len(values):
                        continue
                    colour, marker = score_plots.look_of(index)
                    spread = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.array([place])
                    panel.plot(spread, values, marker, color=colour, markersize=4, alpha=0.8)
                    if np.isfinite(values).any():
                        panel.plot([place - 0.34, place + 0.34], [np.nanmean(values)] * 2, color=colour, linewidth=2)
                    score_plots.mark_stops(panel, own.assign(place=spread), "place", colour)
                    score_plots.mark_failures(panel, spread[np.isnan(values)], colour)
                    place += 1
                edges.append((begin + place - 1) / 2)
                names.append(f"{size}")
                place += 0.8
            panel.set_xticks(edges, names)
            panel.grid(axis="x", visible=False)
            panel.set_xlabel("batch size")
        score_plots.start_at_zero(panels)
        handles = score_plots.method_handles(methods)
        handles += score_plots.failure_handles(int(rows["mean"].isna().sum()))
        handles += score_plots.stop_handles(rows)
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
        caption = (
            f"{describe_better(rows)} Scores {describe_end(rows)}; markers: seeds; bars: their means."
            f" {describe_sampling(rows)}. {notes}"
        )
        columns = ["label", "batch_size", "seed", "steps", "metric", "iteration", "mean", "repeats", "samples"]
        finish(figure, out, title, caption.strip(), rows[columns])
