"""Groups of transformations, and the labels that say how an image was transformed. No torch here."""

from __future__ import annotations

from typing import Literal

from ayt.base.errors import UserError

Group = Literal["geo", "deg", "geo_clr", "geo_deg", "geo_clr_deg"]

_GEO = ("scale", "rotate", "aniso", "translate")
_CLR = ("brightness", "contrast", "hue", "saturation")
_DEG = ("blur", "mixup", "noise")
GROUPS: dict[Group, tuple[str, ...]] = {
    "geo": _GEO,
    "deg": _DEG,
    "geo_clr": _GEO + _CLR,
    "geo_deg": _GEO + _DEG,
    "geo_clr_deg": _GEO + _CLR + _DEG,
}
_LABELS: dict[str, tuple[str, ...]] = {
    "scale": ("scale",),
    "rotate": ("rotation, cos - 1", "rotation, sin"),
    "aniso": ("anisotropy, cos", "anisotropy, sin"),
    "translate": ("translation, x", "translation, y"),
    "brightness": ("brightness",),
    "contrast": ("contrast",),
    "hue": ("hue, cos - 1", "hue, sin"),
    "saturation": ("saturation",),
    "blur": ("blur",),
    "mixup": ("mixup",),
    "noise": ("noise",),
}
_MEANINGLESS_ON_GREY = ("hue", "saturation")


def check_names(names: tuple[str, ...]) -> None:
    """Raise UserError if a transformation is unknown."""
    for name in names:
        if name not in _LABELS:
            raise UserError(f"unknown transformation {name!r}; choose from {', '.join(_LABELS)}")


def names_for(group: str, image_channels: int) -> tuple[str, ...]:
    """The transformations of a group; for grey images, without those that have no effect on them.

    Raises:
        UserError: the group is unknown.
    """
    for known, names in GROUPS.items():
        if known == group:
            return tuple(name for name in names if image_channels > 1 or name not in _MEANINGLESS_ON_GREY)
    raise UserError(f"unknown transformation group {group!r}; choose from {', '.join(GROUPS)}")


def label_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the labels' columns."""
    return tuple(label for name in names for label in _LABELS[name])
