"""Scores summarised over seeds, and their description in captions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ayt.base.errors import UserError
from ayt.reporting.wording import plural

DAGGER = "†"
"""Beside a mean over runs of which some were stopped before their end."""


def at_end(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last iteration, by the label, which tells a run's averages apart."""
    return scores[scores["iteration"] == scores.groupby(["run", "label"])["iteration"].transform("max")]


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds at the end of training, by method, batch size and steps.

    The standard deviation is missing if there is one seed. ``failed`` is how many seeds have no finite score; the
    mean is that of the others. ``stopped`` is how many were stopped, and are scored where they were.

    Raises:
        UserError: there are no scores.
    """
    if scores.empty:
        raise UserError("there are no scores")
    ends = at_end(scores)
    if "stopped" not in ends:
        ends = ends.assign(stopped=False)
    grouped = ends.groupby(["label", "batch_size", "steps", "metric", "better"], sort=False)
    return grouped.agg(
        mean=("mean", "mean"),
        std=("mean", "std"),
        seeds=("seed", "nunique"),
        failed=("mean", lambda values: int(values.isna().sum())),
        stopped=("stopped", "sum"),
        iteration=("iteration", "max"),
        images=("images", "max"),
    ).reset_index()


def describe_sampling(scores: pd.DataFrame) -> str:
    """The numbers of seeds, repeats and samples behind the scores."""
    seeds = sorted(scores.groupby(["method", "batch_size"])["seed"].nunique().unique())
    repeats, samples = int(scores["repeats"].max()), int(scores["samples"].max())
    many = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    score = f"the mean of {repeats} sampling runs" if repeats > 1 else "that of one sampling run"
    return f"n = {many} a point; each score is {score} of {samples:,} images"


def describe_end(scores: pd.DataFrame) -> str:
    """The number of iterations after which these rows' scores were reached."""
    ends = sorted(scores["iteration"].unique())
    return f"after {ends[0]:,} iterations" if len(ends) == 1 else f"after {ends[0]:,} to {ends[-1]:,} iterations"


def describe_better(scores: pd.DataFrame) -> str:
    """Whether lower or higher values are better."""
    return f"{scores['better'].iloc[0].capitalize()} is better."


def choose_digits(values: pd.Series[Any]) -> int:
    """The number of decimals for such values."""
    return 2 if values.abs().max() >= 1 else 4


def format_mean(mean: float, std: float, seeds: int, failed: int, digits: int, stopped: int = 0) -> str:
    """``62.64 ± 25.34``; failures are said, and a dagger is where some run was stopped."""
    if stopped:
        return f"{format_mean(mean, std, seeds, failed, digits)} {DAGGER}"
    if failed == seeds:
        return "failed"
    text = f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
    return f"{text}, {failed} of {seeds} failed" if failed else text
