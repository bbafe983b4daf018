"""The test of a difference between methods, against scipy and numbers worked out by hand."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind
from test_figures import table

from ayt.reporting.significance import compare_ends, describe_ends, welch


def test_welch_by_hand_and_against_scipy():
    # u = v = 1: t = -4 / sqrt(2) with 4 / (1 + 1) = 2 degrees of freedom, where p = 1 - |t| / sqrt(2 + t^2)
    assert welch([0, 2], [4, 6]) == pytest.approx(1 - math.sqrt(8 / 10))
    generator = np.random.default_rng(0)
    for n, m in ((2, 5), (3, 3), (8, 2)):
        a, b = generator.normal(0, 1, n), generator.normal(1, 3, m)
        assert welch(a, b) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)
    assert math.isnan(welch([1, 1], [2, 2]))


def with_ends(ours, theirs):
    """Scores of AYT and ECT at batch size 8 in one step that end so, one for each seed."""
    frame = table(seeds=range(len(theirs)))
    frame = frame[(frame["batch_size"] == 8) & (frame["steps"] == 1)]
    for method, ends in (("ayt", ours), ("ect", theirs)):
        for seed, end in enumerate(ends):
            frame.loc[(frame["method"] == method) & (frame["seed"] == seed) & (frame["iteration"] == 200), "mean"] = end
    return frame


def test_methods_are_separate_where_no_seed_of_one_is_among_those_of_the_other():
    apart, overlapping = with_ends([10, 20, 30], [31, 40, 50]), with_ends([10, 20, 32], [31, 40, 50])
    (found,) = compare_ends(apart, "ect").itertuples()
    assert (found.difference, found.separate, found.seeds) == (pytest.approx(-61 / 3), True, 3)
    assert found.p == welch([10, 20, 30], [31, 40, 50])
    (said,) = describe_ends(apart, "ect")
    assert said == (
        "At batch size 8, in one step, the mean of AYT is 20.33 better than that of ECT, beyond the spread over seeds:"
        " each of its seeds is better than each of the other's (Welch's t test over 3 and 3 seeds: p = 0.063)."
    )
    (said,) = describe_ends(overlapping, "ect")
    assert "is 19.67 better than that of ECT, within the spread over seeds (Welch's" in said
    assert said.endswith(": no ordering can be read from it.")
    assert not compare_ends(overlapping, "ect")["separate"].any()


# One-step scores of the demo's ECT and AYT at batch size 8, with eight seeds.
EIGHT = (
    [17.0, 17.39, 15.37, 19.09, 17.35, 17.81, 16.7, 18.1],
    [17.09, 18.69, 18.02, 20.95, 19.0, 18.46, 18.4, 19.45],
)


def test_an_ordering_is_read_from_many_seeds_though_single_ones_overlap():
    frame = with_ends(*EIGHT)
    (said,) = describe_ends(frame, "ect")
    assert said == (
        "At batch size 8, in one step, the mean of AYT is 1.41 better than that of ECT, more than the spread over seeds"
        f" explains, although single seeds overlap (Welch's t test over 8 and 8 seeds: p = {welch(*EIGHT):.2g})."
    )
    assert welch(*EIGHT) < 0.05
    others = [frame[frame["method"] == "ayt"].assign(method=label.lower(), label=label) for label in "BC"]
    (said,) = describe_ends(pd.concat([frame, *others], ignore_index=True), "ect")
    assert "C 1.41 better* (p" in said
    assert " *: each of its seeds is better, or each worse, than each of ECT's, or p < 0.05. p: Welch's" in said


def test_many_comparisons_are_one_sentence():
    frame, ends = with_ends([10, 20, 30], [31, 40, 50]), {"B": [32, 41, 51], "C": [60, 70, 80]}
    for label, values in ends.items():
        more = with_ends(values, [31, 40, 50])
        more = more[more["method"] == "ayt"].assign(method=label.lower(), label=label)
        frame = pd.concat([frame, more], ignore_index=True)
    (said,) = describe_ends(frame, "ect")
    p = [welch(values, [31, 40, 50]) for values in ([10, 20, 30], *ends.values())]
    assert said == (
        f"At batch size 8, in one step, means beside that of ECT: AYT 20.33 better* (p = {p[0]:.2g}),"
        f" B 1.00 worse (p = {p[1]:.2g}), C 29.67 worse* (p = {p[2]:.2g})."
        " *: each of its seeds is better, or each worse, than each of ECT's. No ordering can be read from the others."
        " p: Welch's t test over 3 and 3 seeds, of each comparison by itself."
    )
    few = frame[(frame["label"] != "C")]
    assert len(describe_ends(few, "ect")) == 2


def test_where_high_scores_are_good_the_lower_mean_is_the_worse():
    (said,) = describe_ends(with_ends([1, 2], [3, 4]).assign(better="higher"), "ect")
    assert "the mean of AYT is 2.00 worse than that of ECT" in said
    assert "each of its seeds is worse than each of the other's" in said


def test_nothing_is_said_of_one_seed_of_failures_of_several_metrics_or_without_the_reference():
    assert describe_ends(table(seeds=(0,)), "ect") == []
    assert describe_ends(with_ends([1, np.nan], [3, 4]), "ect") == []
    assert describe_ends(table(methods=("AYT",)), "ect") == []
    assert describe_ends(table(), None) == []
    two = table()
    two.loc[two["steps"] == 2, "metric"] = "KID"
    assert describe_ends(two, "ect") == []
    assert len(describe_ends(table(), "ect")) == 2  # batch sizes, in one step


def test_of_runs_under_way_it_is_said_after_how_many_iterations_or_nothing():
    frame = with_ends([10, 20, 30], [31, 40, 50])
    cut = (frame["method"] == "ayt") & (frame["iteration"] == 200)
    (said,) = describe_ends(frame[~cut], "ect")
    assert re.search(r"than that of ECT \(after 1\d\d and 200 iterations\), ", said)
    assert describe_ends(frame[~(cut & (frame["seed"] == 0))], "ect") == []
