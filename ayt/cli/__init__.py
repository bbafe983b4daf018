"""The command ``ayt``: one verb per step of the workflow."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from ayt import __version__
from ayt.base.errors import UserError
from ayt.base.kinds import load_extensions_of_environment
from ayt.cli import (
    about,
    analysis,
    assets,
    clean,
    compare,
    completion,
    doctor,
    drawing,
    evaluation,
    experiment,
    foreign,
    init,
    keys,
    plot_log,
    sampling,
    training,
    watching,
)

GROUPS = (
    *(init, experiment, assets, foreign, training, evaluation, sampling, analysis, drawing, about),
    *(keys, watching, plot_log, compare, clean, doctor, completion),
)
"""Modules with verbs, in the order of the help."""

EPILOG = """\
Exit codes: 0 done; 1 an error, explained in one line; 2 wrong usage; 128 + n stopped by signal n, with the state
saved if there is one.

Examples:
  ayt check config/embedded.yaml           is this experiment valid, and what does it ask for?
  ayt runs config/embedded.yaml            its runs and their folders
  ayt plan config/embedded.yaml            what is left to do, and what it would cost
  ayt status --watch                       progress of everything that was started
  ayt summary results/embedded/experiment.yaml
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="ayt",
        description="Train, score and draw few-step image generators. Snakemake calls these verbs; so can you.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ayt {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for group in GROUPS:
        group.add_verbs(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack characters, which are then escaped
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        load_extensions_of_environment()
        code: int | None = options.run(options)
        return code or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone; closing standard output again would raise the same error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
