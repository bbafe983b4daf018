"""The verb that compares two experiments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayt.cli.common import Verbs, choose_console, verb

if TYPE_CHECKING:
    from ayt.experiment import Experiment


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    compare = verb(
        verbs,
        "compare",
        run_compare,
        "Show how two experiments differ: their settings, and the final scores of what they have in common.",
        "ayt compare config/embedded.yaml config/mine.yaml",
    )
    for name in ("first", "second"):
        compare.add_argument(name, type=Path, metavar=f"{name.upper()}.YAML", help="an experiment file")


def run_compare(options: argparse.Namespace) -> None:
    """Print two tables, or say that there is nothing to show."""
    from rich import box
    from rich.table import Table

    from ayt.experiment import load
    from ayt.reporting.comparison import compare_settings

    first, second = load([options.first]), load([options.second])
    settings = list(compare_settings(first, second))
    if settings:
        shown = Table("setting", str(options.first), str(options.second), box=box.SIMPLE_HEAD)
        for row in settings:
            shown.add_row(*row)
        choose_console().print(shown)
    else:
        print("no setting differs")
    _print_scores(first, second, str(options.first), str(options.second))


def _print_scores(first: Experiment, second: Experiment, *names: str) -> None:
    from rich import box
    from rich.table import Table

    from ayt.plan.plan import Plan
    from ayt.reporting.comparison import compare_scores
    from ayt.reporting.summaries import choose_digits

    scores = compare_scores(Plan(first), Plan(second))
    if scores.empty:
        print("there are no scores that both have")
        return
    ends = ("first", "second")
    measured = ["mean", "std", "seeds", "failed", "iteration"]
    pairs = [scores[[f"{name}_{end}" for name in measured]].to_numpy() for end in ends]
    differ = [str(first) != str(second) for first, second in zip(*pairs, strict=True)]
    print(f"final scores: {sum(differ)} differ, {len(differ) - sum(differ)} are equal")
    shown = Table("method", "batch size", "steps", "metric", *names, box=box.SIMPLE_HEAD)
    digits = choose_digits(scores["mean_first"])
    for row in scores[differ].to_dict("records"):
        cells = [_format_score({name: row[f"{name}_{end}"] for name in measured}, digits) for end in ends]
        shown.add_row(row["label"], str(row["batch_size"]), str(row["steps"]), row["metric"], *cells)
    if any(differ):
        choose_console().print(shown)


def _format_score(score: dict[str, Any], digits: int) -> str:
    """``40.00 ± 14.14 at 600 (2 seeds)``."""
    from ayt.reporting.summaries import format_mean
    from ayt.reporting.wording import plural

    mean = format_mean(score["mean"], score["std"], score["seeds"], score["failed"], digits)
    return f"{mean} at {score['iteration']:,} ({plural(score['seeds'], 'seed')})"
