"""Coverage: share of real images whose neighbourhood contains a sample (arXiv 2002.09797)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, Better, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Coverage(SampleMetric):
    """Coverage: share of real images whose neighbourhood contains a sample (arXiv 2002.09797)."""

    name: ClassVar[str] = "coverage"
    label: ClassVar[str] = "coverage"
    better: ClassVar[Better] = "higher"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.neighbours import neighbourhoods

        return neighbourhoods(samples, real).coverage
