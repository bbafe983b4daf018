"""Recall: share of real images within the neighbourhood of a sample (arXiv 1904.06991)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, Better, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Recall(SampleMetric):
    """Recall: share of real images within the neighbourhood of a sample (arXiv 1904.06991)."""

    name: ClassVar[str] = "recall"
    label: ClassVar[str] = "recall"
    better: ClassVar[Better] = "higher"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.neighbours import neighbourhoods

        return neighbourhoods(samples, real).recall
