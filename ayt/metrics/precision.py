"""Precision: share of samples within the neighbourhood of a real image (arXiv 1904.06991)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, Better, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Precision(SampleMetric):
    """Precision: share of samples within the neighbourhood of a real image (arXiv 1904.06991)."""

    name: ClassVar[str] = "precision"
    label: ClassVar[str] = "precision"
    better: ClassVar[Better] = "higher"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.neighbours import neighbourhoods

        return neighbourhoods(samples, real).precision
