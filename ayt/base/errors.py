"""Errors that the user can fix: the command line prints only their text, without a traceback."""

from __future__ import annotations

LONGEST = 300
"""The longest a line may be, in characters: values from files and servers may have any length."""

AFTER_PLACE = 280
"""Characters always available after the file, key or address that a line begins with."""

TAIL = 120
"""Characters kept at the end of a line that is too long."""


class UserError(Exception):
    """A wrong input or a broken file: one line per mistake, with the value, where it came from, and the choices.

    Lines are printable and have at most `LONGEST` characters, or `AFTER_PLACE` more than the location they begin with:
    longer ones lose their middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_shorten_line(escape_unprintable(line)) for line in message.split("\n")))


def _shorten_line(line: str) -> str:
    place = line[:LONGEST].find(": ") + 2
    return shorten(line, max(LONGEST, place + AFTER_PLACE), TAIL)


def escape_unprintable(text: str) -> str:
    """Escape invisible characters and those a terminal would interpret."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shorten(text: str, longest: int, tail: int = 0) -> str:
    """Cut the middle of a text that is too long, keeping the last ``tail`` characters."""
    if len(text) <= longest:
        return text
    mark = " ... "
    return text[: longest - tail - len(mark)] + mark + text[len(text) - tail :]
