"""Errors that a user can mend: the command line prints their text alone, without a traceback."""

from __future__ import annotations

LONGEST = 300
"""Characters of a line at most: values come from files and servers, and may be of any length."""

AFTER_PLACE = 280
"""Characters that are always left for what follows the file, key or address that a line begins with."""

TAIL = 120
"""Characters that stay of the end of a line that is too long."""


class UserError(Exception):
    """A wrong input or a broken file: one line for each mistake, with the value, where it came from, the choices.

    Lines are printable and have at most `LONGEST` characters, or `AFTER_PLACE` more than the place that they begin
    with: longer ones lose their middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_shorten_line(escape_unprintable(line)) for line in message.split("\n")))


def _shorten_line(line: str) -> str:
    place = line[:LONGEST].find(": ") + 2
    return shorten(line, max(LONGEST, place + AFTER_PLACE), TAIL)


def escape_unprintable(text: str) -> str:
    """The text with escapes for what would not be seen, or would be obeyed by a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shorten(text: str, longest: int, tail: int = 0) -> str:
    """The text, without its middle where it is too long; ``tail`` characters of its end stay."""
    if len(text) <= longest:
        return text
    mark = " ... "
    return text[: longest - tail - len(mark)] + mark + text[len(text) - tail :]
