"""Figures about one classifier on the dataset."""

from __future__ import annotations

from typing import Annotated

from ayt.base.sections import UNNAMED, Name
from ayt.experiment.outputs import Figure
from ayt.plan.analyses import Analysis
from ayt.plan.plan import Plan
from ayt.plan.runs import Snapshot


class ClassifierFigure(Figure):
    """A figure about one classifier on the dataset, drawn from one analysis."""

    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The classifier's name in the experiment."""

    def classifiers(self) -> dict[str, bool]:
        """The transformation classifier that it uses, which must be trained here."""
        return {self.classifier: False}

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it, from the classifier's weights and the dataset."""
        classifier = plan.classifier_weights(self.classifier)
        return [
            Analysis(
                figure=self,
                seed=plan.experiment.evaluation.seed,
                weights={"classifier": classifier},
                inputs=(classifier.path, *plan.experiment.dataset.files),
            )
        ]

    @staticmethod
    def trained_snapshot(analysis: Analysis) -> Snapshot:
        """The classifier's snapshot in one of `analyses`: the weights are trained here, never published."""
        classifier = analysis.weights["classifier"]
        assert isinstance(classifier, Snapshot)
        return classifier
