"""Kernel Inception Distance (arXiv 1801.01401)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Kid(SampleMetric):
    """Squared maximum mean discrepancy with a cubic kernel, over random subsets of the features."""

    name: ClassVar[str] = "kid"
    label: ClassVar[str] = "KID"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.kernel import kid_of_sets

        return kid_of_sets(samples, real)
