"""Errors that a user can mend: the command line prints their text alone, without a traceback."""


class UserError(Exception):
    """A wrong input or a broken file. The message is one line: the value, where it came from, the choices."""
