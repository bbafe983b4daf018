"""How numbers and names are written in captions, tables and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayt.plan.evaluations import Sampling

NAMED = 4
"""The most names in a note; the rest are only counted."""


def plural(count: int, thing: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def say_which(head: str, names: Sequence[str]) -> str:
    """``Failed: a; b; c; d; and 3 more.``; empty if there is no name."""
    if not names:
        return ""
    more = len(names) - NAMED
    return f"{head}: {'; '.join(names[:NAMED])}{f'; and {more} more' if more > 0 else ''}."


def noise_levels(sampling: Sampling) -> str:
    """The noise levels that samples go through: ``80 → 0.821 → 0.002``."""
    end = 0 if sampling.convention == "ect" else 0.002
    return " → ".join(f"{t:g}" for t in (80, *sampling.mids, end))
