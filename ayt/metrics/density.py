"""Density: average number of real images' neighbourhoods that contain a sample, divided by k (arXiv 2002.09797)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, Better, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Density(SampleMetric):
    """Density: average number of real images' neighbourhoods that contain a sample, divided by k (arXiv 2002.09797)."""

    name: ClassVar[str] = "density"
    label: ClassVar[str] = "density"
    better: ClassVar[Better] = "higher"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.neighbours import neighbourhoods

        return neighbourhoods(samples, real).density
