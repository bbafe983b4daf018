"""LPIPS (arXiv 1801.03924) of denoised images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.base import paths
from ayt.metrics.base import METRICS, DenoisingMetric

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import Denoised, FeatureSet


@METRICS.register
class DenoisedLpips(DenoisingMetric):
    """Mean LPIPS between real images and the same images after noising and one step of denoising."""

    name: ClassVar[str] = "lpips"
    label: ClassVar[str] = "LPIPS"
    in_features: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = True

    @property
    def files(self) -> list[Path]:
        """Files of published networks that it uses."""
        return [paths.VGG16]

    def compute(self, denoised: Denoised, real: FeatureSet) -> float:
        """Average the distance between each denoised image and its original."""
        from ayt.features.lpips import lpips

        distance = lpips(paths.VGG16, denoised.device)
        return denoised.mean(lambda images, result: distance(result.clamp(-1, 1), images))
