"""Text for where it goes: labels and titles are anybody's, and must be shown as they are, never obeyed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BRACKETS = str.maketrans("{}<>", "()‹›")
FORMULA = re.compile(r"'*[=+\-@]")
"""What a spreadsheet takes for a formula, and what is made of it."""


def unbroken(text: str) -> str:
    """The text with single spaces in place of line breaks and the like."""
    return " ".join(text.split())


def menu(text: str) -> str:
    """For the menu of Snakemake's report: it takes braces for wildcards, and stands inside a script of the page."""
    return text.translate(BRACKETS)


def mathtext(text: str) -> str:
    r"""For Matplotlib: a dollar sign begins no formula, and an underscore hides no entry of a legend."""
    escaped = text.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped  # a space of no width


def strip_mathtext(text: str) -> str:
    """What Matplotlib shows of a text with parts of `mathtext`."""
    return text.replace("\u200b", "").replace(r"\$", "$")


def markdown(text: str) -> str:
    """For a paragraph or a cell of Markdown."""
    escaped = re.sub(r"([\\`*\[\]<>|~$]|&(?=#?\w+;))", r"\\\1", unbroken(text))
    escaped = re.sub("_+", _underscores, escaped)
    return re.sub(r"^(\d{0,9})([-+=#.)])(?=[-+=#\s]|$)", r"\1\\\2", escaped)  # would begin a list, a heading, a line


def _underscores(run: re.Match[str]) -> str:
    """Underscores with escapes, unless they stand within a word, where they mean nothing."""
    before, after = run.string[: run.start()][-1:], run.string[run.end() :][:1]
    return run[0] if before.isalnum() and after.isalnum() else r"\_" * len(run[0])


def csv(table: pd.DataFrame) -> str:
    """A table as CSV; text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = table.select_dtypes(exclude=["number", "bool"]).columns
    return table.assign(**{name: table[name].map(_guard) for name in text}).to_csv(index=False, lineterminator="\n")


def _guard(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_csv(value: str) -> str:
    """A text as it was before `csv`."""
    return value[1:] if value.startswith("'") and FORMULA.match(value[1:]) else value
