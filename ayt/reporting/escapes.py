"""Escaping text for its destination: labels and titles may contain anything, and must be shown, never interpreted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BRACKETS = str.maketrans("{}<>", "()‹›")
FORMULA = re.compile(r"'*[=+\-@]")
"""Text that a spreadsheet takes for a formula, and its escaped form."""


def unbroken(text: str) -> str:
    """The text with single spaces instead of line breaks and other white space."""
    return " ".join(text.split())


def menu(text: str) -> str:
    """For the menu of Snakemake's report, which takes braces for wildcards and is inside a script of the page."""
    return text.translate(BRACKETS)


def mathtext(text: str) -> str:
    r"""For Matplotlib: dollar signs do not start formulas, and underscores do not hide legend entries."""
    escaped = text.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped  # a zero-width space


def strip_mathtext(text: str) -> str:
    """What Matplotlib shows for a text escaped by `mathtext`."""
    return text.replace("\u200b", "").replace(r"\$", "$")


def markdown(text: str) -> str:
    """For a Markdown paragraph or table cell."""
    escaped = re.sub(r"([\\`*\[\]<>|~$]|&(?=#?\w+;))", r"\\\1", unbroken(text))
    escaped = re.sub("_+", _underscores, escaped)
    return re.sub(r"^(\d{0,9})([-+=#.)])(?=[-+=#\s]|$)", r"\1\\\2", escaped)  # would begin a list, a heading, a line


def _underscores(run: re.Match[str]) -> str:
    """Escape underscores, unless they are within a word, where they mean nothing."""
    before, after = run.string[: run.start()][-1:], run.string[run.end() :][:1]
    return run[0] if before.isalnum() and after.isalnum() else r"\_" * len(run[0])


def csv(table: pd.DataFrame) -> str:
    """A table as CSV; text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = table.select_dtypes(exclude=["number", "bool"]).columns
    return table.assign(**{name: table[name].map(_guard) for name in text}).to_csv(index=False, lineterminator="\n")


def _guard(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_csv(value: str) -> str:
    """Undo the escaping of `csv`."""
    return value[1:] if value.startswith("'") and FORMULA.match(value[1:]) else value
