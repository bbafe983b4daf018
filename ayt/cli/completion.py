"""The verb for shell completion."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    completion = verb(
        verbs,
        "completion",
        run_completion,
        "Print a script that lets a shell complete verbs, options and files.",
        'ayt completion bash\n  eval "$(ayt completion bash)"    in ~/.bashrc',
    )
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh", "fish"], help="which shell")


def run_completion(options: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    from ayt.cli import parser

    whole = parser()
    print(shtab.complete(with_files(whole), options.shell))


def with_files(whole: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with every path argument marked for file completion."""
    import shtab

    waiting = [whole]
    while waiting:
        for action in waiting.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
            elif action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return whole
