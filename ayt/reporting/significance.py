"""Whether methods differ at the end of training by more than the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ayt.reporting.summaries import at_end, choose_digits
from ayt.reporting.wording import plural

COLUMNS = (
    *("label", "batch_size", "steps", "metric", "seeds", "reference_seeds", "iteration", "reference_iteration"),
    *("difference", "separate", "p"),
)
LEVEL = 0.05
"""Below this p an ordering is read from means even where single seeds overlap, as those of many seeds do."""


def welch(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """The two-sided p value of Welch's t test: whether the means of two samples of unequal variances differ.

    t = (mean a - mean b) / sqrt(u + v) with u = var a / n_a and v = var b / n_b, unbiased variances, is compared with
    Student's distribution of (u + v)^2 / (u^2 / (n_a - 1) + v^2 / (n_b - 1)) degrees of freedom (Welch 1947).

    Args:
        a: at least two finite numbers.
        b: at least two finite numbers.

    Returns:
        p in [0, 1]; NaN if neither varies.
    """
    from scipy.special import stdtr

    u, v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    if not u + v > 0:
        return math.nan
    t = (np.mean(a) - np.mean(b)) / math.sqrt(u + v)
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))
    return float(2 * stdtr(freedom, -abs(t)))


def compare_ends(scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare the last scores of each method's seeds with those of a reference's, at the same batch size and steps.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        reference: a method, as the column ``method`` calls it.

    Returns:
        A row for each method, batch size and number of steps that both have at least two seeds of, none of which
        failed, scored last at one ``iteration`` (``reference_iteration``), as those under way may not be: numbers of
        ``seeds`` and ``reference_seeds``; the ``difference`` of the means, below 0 where the
        method's is lower; whether the seeds are ``separate``: each of one method's is better than each of the other's;
        ``p`` of `welch`.
    """
    rows = []
    ends = at_end(scores).sort_values(["steps", "batch_size"], kind="stable")
    for (steps, size, metric), part in ends.groupby(["steps", "batch_size", "metric"], sort=False):
        found = {method: shown["mean"].to_numpy() for method, shown in part.groupby("method", sort=False)}
        last = {method: shown["iteration"].unique().tolist() for method, shown in part.groupby("method", sort=False)}
        labels = dict(zip(part["method"], part["label"], strict=True))
        theirs = found.pop(reference, np.array([]))
        for method, ours in found.items():
            if min(len(ours), len(theirs)) < 2 or not np.isfinite([*ours, *theirs]).all():
                continue
            if len(last[method]) > 1 or len(last[reference]) > 1:
                continue
            separate = ours.max() < theirs.min() or theirs.max() < ours.min()
            counts = len(ours), len(theirs), *last[method], *last[reference]
            difference = ours.mean() - theirs.mean()
            rows.append((labels[method], size, steps, metric, *counts, difference, separate, welch(ours, theirs)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


FEW = 2
"""Comparisons at one batch size that get a sentence each; more are one sentence."""


def describe_ends(scores: pd.DataFrame, reference: str | None) -> list[str]:
    """What the ends of training say of the methods' order in the fewest steps, in sentences.

    Args:
        scores: rows of ``scores.csv``; of several metrics nothing is said.
        reference: a method; if None or not among the scores, nothing is said.
    """
    if reference not in set(scores["method"]) or scores["metric"].nunique() > 1:
        return []
    found = compare_ends(scores, str(reference))
    found = found[found["steps"] == found["steps"].min()]
    theirs = scores.loc[scores["method"] == reference, "label"].iloc[0]
    sign = -1 if scores["better"].iloc[0] == "higher" else 1
    digits = choose_digits(scores["mean"])
    found = found.assign(
        ordered=found["separate"].astype(bool) | (found["p"] < LEVEL),
        order=np.where(sign * found["difference"] < 0, "better", "worse"),
        by=[f"{abs(difference):.{digits}f}" for difference in found["difference"]],
    )
    sentences = []
    for _, rows in found.groupby("batch_size", sort=False):
        alike = all(rows[name].nunique() == 1 for name in ("seeds", "iteration", "reference_iteration"))
        if len(rows) > FEW and alike:
            sentences.append(_describe_many(list(rows.itertuples()), theirs))
        else:
            sentences += [_describe_one(row, theirs) for row in rows.itertuples()]
    return sentences


def _describe_one(row: Any, theirs: str) -> str:
    """A sentence for one comparison with a reference that is called ``theirs``."""
    mean = f"the mean of {row.label} is {row.by} {row.order} than that of {theirs}{_after(row)}"
    test = f"Welch's t test over {row.seeds} and {row.reference_seeds} seeds: p = {row.p:.2g}"
    if row.separate:
        verdict = f"beyond the spread over seeds: each of its seeds is {row.order} than each of the other's ({test})"
    elif row.ordered:
        verdict = f"more than the spread over seeds explains, although single seeds overlap ({test})"
    else:
        verdict = f"within the spread over seeds ({test}): no ordering can be read from it"
    return f"{_where(row)} {mean}, {verdict}."


def _describe_many(rows: Sequence[Any], theirs: str) -> str:
    """One for several comparisons over as many seeds, and what their verdicts mean."""
    first = rows[0]
    means = ", ".join(f"{row.label} {row.by} {row.order}{'*' if row.ordered else ''} (p = {row.p:.2g})" for row in rows)
    ordered = [row.ordered for row in rows]
    overlap = f", or p < {LEVEL}" if any(row.ordered and not row.separate for row in rows) else ""
    sentences = [
        f"{_where(first)} means beside that of {theirs}{_after(first)}: {means}.",
        f"*: each of its seeds is better, or each worse, than each of {theirs}'s{overlap}." if any(ordered) else "",
        "" if all(ordered) else f"No ordering can be read from the {'others' if any(ordered) else 'differences'}.",
        f"p: Welch's t test over {first.seeds} and {first.reference_seeds} seeds, of each comparison by itself.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _where(row: Any) -> str:
    return f"At batch size {row.batch_size}, in {'one step' if row.steps == 1 else plural(row.steps, 'step')},"


def _after(row: Any) -> str:
    if row.iteration == row.reference_iteration:
        return ""
    return f" (after {row.iteration:,} and {row.reference_iteration:,} iterations)"
