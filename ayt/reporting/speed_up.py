"""How long runs take to reach a score, and how much faster than a reference method others reach its final scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

SPEED_UP_COLUMNS = (
    "label",
    "batch_size",
    "steps",
    "metric",
    "pairs",
    "reached",
    "at_least",
    "at_most",
    "median",
    "low",
    "high",
)


def iterations_to_reach(iterations: Sequence[float], scores: Sequence[float], target: float) -> tuple[float, bool]:
    """The first iteration at which a curve is at or below ``target``, with linear interpolation between points.

    Args:
        iterations: of the points, increasing.
        scores: of the points; lower is better.
        target: the score to reach.

    Returns:
        The iteration, NaN if it never gets there; and whether its first point is there already, so that the iteration
        is an upper bound.
    """
    for place, (iteration, score) in enumerate(zip(iterations, scores, strict=True)):
        if score > target or np.isnan(score):
            continue
        if place == 0:
            return float(iteration), True
        before, worse = iterations[place - 1], scores[place - 1]
        if np.isnan(worse):
            return float(iteration), True
        return before + (iteration - before) * (worse - target) / (worse - score), False
    return float("nan"), False


def speed_ups(scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare every run of every method with every run of the reference at the same batch size and number of steps.

    A pair's target is the score that the reference's run ends with; its speed-up is the iterations after which the
    reference's run first had that score, divided by those of the other run.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        reference: the method, as the column ``method`` calls it.

    Returns:
        A row for each method, batch size and number of steps with runs of both: ``pairs`` of runs; in how many the
        target was ``reached``; in how many of those at the first scored snapshot or before, so that the speed-up is
        ``at_least`` what was counted; in how many the reference's run had it there already, so that it is ``at_most``
        that; ``median``, ``low`` and ``high`` of the speed-ups, those of pairs in which the target was not reached as 0
        (so that a median of 0 says: not reached in most). Runs of the reference whose last score is NaN are left out;
        where none is left, there are 0 pairs.
    """
    sign = -1 if scores["better"].iloc[0] == "higher" else 1
    rows = []
    for (size, steps, metric), part in scores.groupby(["batch_size", "steps", "metric"], sort=False):
        runs = {
            (method, label, run): (points["iteration"].tolist(), (sign * points["mean"]).tolist())
            for (method, label, run), points in part.sort_values("iteration").groupby(
                ["method", "label", "run"], sort=False
            )
        }
        theirs = [curve for (method, _, _), curve in runs.items() if method == reference]
        for label in dict.fromkeys(label for method, label, _ in runs if method != reference):
            ours = [curve for (_, other, _), curve in runs.items() if other == label]
            found, fast_bounds, slow_bounds = [], 0, 0
            for (slow, slow_scores), (fast, fast_scores) in itertools.product(theirs, ours):
                target = slow_scores[-1]
                if np.isnan(target):
                    continue  # a failed reference has no score to reach
                needed, slow_bound = iterations_to_reach(slow, slow_scores, target)
                reached, fast_bound = iterations_to_reach(fast, fast_scores, target)
                found.append(0.0 if np.isnan(reached) else needed / reached)
                fast_bounds += fast_bound
                slow_bounds += slow_bound and not np.isnan(reached)
            if theirs:
                counts = (len(found), sum(value > 0 for value in found), fast_bounds, slow_bounds)
                spread = (float(np.median(found)), min(found), max(found)) if found else (np.nan,) * 3
                rows.append((label, size, steps, metric, *counts, *spread))
    return pd.DataFrame(rows, columns=list(SPEED_UP_COLUMNS))


def format_bound(at_least: int, at_most: int) -> str:
    """The sign before a speed-up of which this many pairs are bounds."""
    return {(True, False): "≥ ", (False, True): "≤ ", (True, True): "≈ "}.get((at_least > 0, at_most > 0), "")


def iterations_reaching(scores: pd.DataFrame, targets: Sequence[float]) -> pd.DataFrame:
    """The iterations after which runs reach given scores.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        targets: values of the metric.

    Returns:
        A row for each method, batch size, number of steps and target: ``runs``; how many ``reached`` it; how many of
        those ``at_first``, in the first scored snapshot or before; ``median``, ``low`` and ``high`` of the iterations
        of those that did, NaN if none did.
    """
    sign = -1 if scores["better"].iloc[0] == "higher" else 1
    rows = []
    for (label, size, steps), part in scores.groupby(["label", "batch_size", "steps"], sort=False):
        curves = [run.sort_values("iteration") for _, run in part.groupby("run", sort=False)]
        for target in targets:
            answers = [
                iterations_to_reach(curve["iteration"].tolist(), (sign * curve["mean"]).tolist(), sign * target)
                for curve in curves
            ]
            reached = [(iteration, first) for iteration, first in answers if not np.isnan(iteration)]
            iterations = [iteration for iteration, _ in reached]
            rows.append(
                {
                    "label": label,
                    "batch_size": size,
                    "steps": steps,
                    "target": target,
                    "runs": len(curves),
                    "reached": len(reached),
                    "at_first": sum(first for _, first in reached),
                    "median": float(np.median(iterations)) if reached else np.nan,
                    "low": min(iterations, default=np.nan),
                    "high": max(iterations, default=np.nan),
                }
            )
    return pd.DataFrame(rows)
