"""LPIPS (arXiv 1801.03924) as the distance that is descended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.base import paths
from ayt.methods.base import METHODS, Method

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class Lpips(Method):
    """Unit steps along the gradient of LPIPS (VGG16, the lpips package)."""

    name: ClassVar[str] = "lpips"
    usual_label: ClassVar[str] = "LPIPS"
    needs_colour: ClassVar[bool] = True

    @property
    def files(self) -> list[Path]:
        """Files of published networks that it uses."""
        return [paths.VGG16]

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in LPIPS, weighted."""
        from ayt.features.lpips import lpips
        from ayt.methods.formulas.losses import distance_loss

        return distance_loss(work.compile(lpips(paths.VGG16, work.device)), weighted=True)
