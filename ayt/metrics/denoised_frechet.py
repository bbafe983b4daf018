"""Frechet distance of denoised images (dFID)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from ayt.metrics.base import METRICS, DenoisingMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import Denoised, FeatureSet


@METRICS.register
class DenoisedFrechet(DenoisingMetric):
    """Frechet distance between real images and the same images after noising and one step of denoising."""

    name: ClassVar[str] = "denoised_frechet"
    label: ClassVar[str] = "dFD"
    inception_label: ClassVar[str | None] = "dFID"

    def compute(self, denoised: Denoised, real: FeatureSet) -> float:
        """Compare the features of denoised images with those of real ones."""
        from ayt.metrics.formulas.frechet import frechet_distance

        features = denoised.features()
        if not features.finite:
            return math.nan
        return frechet_distance(features.mean, features.covariance, real.mean, real.covariance)
