"""Scores of weights that were not trained here, in tables beside those of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ayt.experiment.outputs import Table
from ayt.metrics.base import METRICS, SampleMetric
from ayt.reporting.chosen_scores import ChosenScores
from ayt.reporting.wording import say_which

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.anchors import Anchor
    from ayt.plan.plan import Plan

NOT_TRAINED = (
    "Rows called not trained here: weights of others, or the diffusion model that training starts from, scored by the"
    " same rule; mean over sampling runs; nfe: evaluations of the network for one image."
)


def mark(label: str) -> str:
    """An anchor's label in tables."""
    return f"{label} (not trained here)"


class AnchoredTable(ChosenScores, Table):
    """A table of scores with a row for each of the experiment's anchors."""

    def inputs(self, plan: Plan) -> list[Path]:
        """The files that it is made from."""
        return [*super().inputs(plan), *dict.fromkeys(anchor.path for _, anchor in self.shown_anchors(plan))]

    def shown_anchors(self, plan: Plan) -> list[tuple[str, Anchor]]:
        """The anchors that it shows, by name; none if its metric is not one of samples."""
        metric = METRICS.kinds[self.shown_metric(plan.experiment)]
        return list(plan.anchors.items()) if issubclass(metric, SampleMetric) else []

    def read_anchors(self, plan: Plan) -> tuple[pd.DataFrame, str]:
        """The scores of anchors: label, iterations, nfe, metric, better, mean; and a note of what is missing of them.

        Means are over sampling runs, and NaN where samples are not finite.
        """
        import pandas as pd

        from ayt.plan.scored import read_score

        name = self.shown_metric(plan.experiment)
        metric = METRICS.kinds[name]()
        title = metric.title(plan.experiment.dataset.name, plan.reference.features.classifier is None)
        rows, missing = [], []
        for key, anchor in self.shown_anchors(plan):
            settings = plan.experiment.anchors[key]
            label = settings.label or key
            if not anchor.path.exists():
                missing.append(label)
                continue
            mean = read_score(anchor.path)[name]["mean"]
            rows.append([label, settings.iterations, anchor.evaluations, title, metric.better, mean])
        columns = ["label", "iterations", "nfe", "metric", "better", "mean"]
        table = pd.DataFrame(rows, columns=columns)
        return table.astype({"iterations": "Int64", "nfe": int, "mean": float}), say_which("Not there yet", missing)
