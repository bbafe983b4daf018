"""Continuous-time consistency distillation in pixels."""

from __future__ import annotations

from typing import ClassVar

from ayt.methods.base import METHODS
from ayt.methods.continuous import Distillation


@METHODS.register
class Ccd(Distillation):
    """Continuous-time consistency distillation: along the tangent of the pixels."""

    name: ClassVar[str] = "ccd"
    usual_label: ClassVar[str] = "CCD"
