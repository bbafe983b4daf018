"""Foreign text within our messages."""

from __future__ import annotations


def one_line(text: object, most: int = 120) -> str:
    """Any text on one line, without terminal control characters, shortened if it is long."""
    words = " ".join(str(text)[: 2 * most].split())
    shown = "".join(sign if sign.isprintable() else "?" for sign in words)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
