"""Fonts for characters missing from Matplotlib's own font, such as Chinese titles."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

OWN = "DejaVu Sans"
"""Comes with Matplotlib."""


def use_fonts_with_all_characters(figure: Figure, more: str = "") -> str:
    """Let a figure's text fall back to this machine's fonts for missing characters.

    Args:
        figure: the figure, with its text in place.
        more: further text that will be added.

    Returns:
        A sentence about characters that no font has; empty if there are none.
    """
    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    whole = "".join([more, *(text.get_text() for text in texts)])
    needed = {character for character in whole if character.isprintable() and not character.isascii()}
    missing = needed - _characters(findfont(OWN))
    families, missing = _choose(missing)
    for text in texts if families else []:
        text.set_fontfamily([OWN, *families])
    if not missing:
        return ""
    codes = ", ".join(f"U+{ord(character):04X}" for character in sorted(missing)[:5])
    return f"Boxes stand for characters that no font of this machine has ({codes}); Noto Sans CJK has most."


def _choose(missing: Iterable[str]) -> tuple[list[str], set[str]]:
    """This machine's fonts that have missing characters, best coverage first; and what is still missing."""
    left, families = set(missing), []
    plain = {
        font.name: font.fname
        for font in fontManager.ttflist
        if left and (font.style, font.variant) == ("normal", "normal") and font.name != OWN
    }
    has = {name: left & _characters(path) for name, path in sorted(plain.items())}
    while left and (best := max(has, key=lambda name: len(has[name] & left), default="")) and has[best] & left:
        families.append(best)
        left -= has[best]
    return families, left


def _characters(path: str) -> set[str]:
    """The characters that a font has; empty for fonts that cannot be scaled, such as coloured bitmaps."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return set()
    return {chr(code) for code in font.get_charmap()} if font.scalable else set()
