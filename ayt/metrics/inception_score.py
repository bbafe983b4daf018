"""Inception Score (arXiv 1606.03498)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, Better, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class InceptionScore(SampleMetric):
    """How certain the network is of each sample's class, and how evenly classes occur; it does not use real images."""

    name: ClassVar[str] = "inception_score"
    label: ClassVar[str] = "IS"
    better: ClassVar[Better] = "higher"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Judge the classes of the samples."""
        return samples.predictions.value
