"""Comparison of two experiments: settings that differ, and scores of what both have trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ayt.experiment import Experiment
from ayt.plan.plan import Plan
from ayt.reporting.averages import choose_averages
from ayt.reporting.scores import gather_scores
from ayt.reporting.summaries import final_scores

ABSENT = "-"
"""Shown if an experiment has no such setting."""


def compare_settings(first: Experiment, second: Experiment) -> Iterator[tuple[str, str, str]]:
    """Settings that differ, including defaults: the key, and its value in each; experiments' names are ignored."""
    contents = [experiment.content() for experiment in (first, second)]
    for content in contents:
        del content["name"]
    yield from _differences("", *contents)


def _differences(where: str, first: Any, second: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in [*first, *(key for key in second if key not in first)]:
            inner = f"{where}.{key}" if where else str(key)
            yield from _differences(inner, first.get(key, ABSENT), second.get(key, ABSENT))
    elif first != second:
        yield where, _format_value(first), _format_value(second)


def _format_value(value: Any) -> str:
    """A value in a table; for a section that the other experiment lacks, its number of settings."""
    if isinstance(value, Mapping):
        return f"{len(value)} settings" if value else "there"
    return str(value)


def compare_scores(first: Plan, second: Plan) -> pd.DataFrame:
    """The final scores that both experiments have, by label, batch size, number of steps and metric.

    Returns:
        label, batch_size, steps, metric, better; and for each, ending in ``_first`` and ``_second``, mean and std over
        seeds, seeds, failed and iteration. Of an experiment that is under way: from what is there.
    """
    found = [choose_averages(gather_scores(plan, partial=True), plan, "all") for plan in (first, second)]
    keys = ["label", "batch_size", "steps", "metric", "better"]
    if any(scores.empty for scores in found):
        return pd.DataFrame(columns=keys)
    left, right = (final_scores(scores).drop(columns="images") for scores in found)
    return left.merge(right, on=keys, suffixes=("_first", "_second"))
