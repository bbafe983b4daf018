"""The verb that reports what was run."""

from __future__ import annotations

import argparse

from ayt.cli.common import Verbs, add_resolved, read_plan, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    about = verb(
        verbs,
        "about",
        run_about,
        "Write the report's first page: what was run, on what, when and how, and what was not.",
        "ayt about results/embedded/experiment.yaml",
    )
    add_resolved(about)


def run_about(options: argparse.Namespace) -> None:
    """Write ``about.rst`` beside the experiment."""
    from ayt.base import paths
    from ayt.base.files import write_text
    from ayt.reporting.about import first_page

    plan = read_plan(options)
    write_text(paths.about(plan.experiment.name), first_page(plan))
