"""Frechet distance (FID, arXiv 1706.08500)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, SampleMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import FeatureSet


@METRICS.register
class Frechet(SampleMetric):
    """Frechet distance between Gaussians fitted to the features; with Inception's features it is FID."""

    name: ClassVar[str] = "frechet"
    label: ClassVar[str] = "FD"
    inception_label: ClassVar[str | None] = "FID"
    always: ClassVar[bool] = True

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        from ayt.metrics.formulas.frechet import frechet_distance

        return frechet_distance(samples.mean, samples.covariance, real.mean, real.covariance)
