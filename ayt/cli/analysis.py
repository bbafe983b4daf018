"""The verb that analyses trained networks and runs toy experiments: ``analyse``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, add_device, choose_device, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    analyse = verb(
        verbs,
        "analyse",
        run_analyse,
        "Run an analysis that a figure is drawn from, and write its results beside its record.",
        "ayt analyse results/analyses/tangents-HASH/record.yaml",
    )
    analyse.add_argument(
        "record",
        type=Path,
        metavar="RECORD.YAML",
        help="the analysis's record, results/analyses/NAME/record.yaml, written when the workflow starts",
    )
    add_device(analyse)


def run_analyse(options: argparse.Namespace) -> None:
    """Write an analysis's results."""
    from ayt.base.arrays import write_arrays
    from ayt.plan.analyses import read_analysis

    analysis = read_analysis(options.record)
    found = analysis.figure.compute(analysis, choose_device(options))
    write_arrays(options.record.with_name(analysis.path.name), found)
