"""Speed-ups over a reference, from curves small enough to check by hand."""

import numpy as np
import pandas as pd
import pytest
from test_figures import table

from ayt.base.errors import UserError
from ayt.reporting.speed_up import iterations_reaching, iterations_to_reach, speed_ups
from ayt.reporting.tables.reach import tabulate_reaching
from ayt.reporting.tables.speed import tabulate_speed_ups


def scores(curves):
    """Rows of ``scores.csv`` from {(method, seed): {iteration: score}}."""
    blank = table(seeds=(0,)).iloc[0]
    return pd.DataFrame(
        [
            {
                **blank,
                "run": f"{method}-{seed}",
                "method": method,
                "label": method.upper(),
                "seed": seed,
                "iteration": iteration,
                "mean": mean,
            }
            for (method, seed), curve in curves.items()
            for iteration, mean in curve.items()
        ]
    )


@pytest.mark.parametrize(
    ("curve", "target", "expected"),
    [
        ({100: 10, 200: 6, 300: 4}, 5, (250, False)),
        ({100: 10, 200: 6, 300: 4}, 6, (200, False)),
        ({100: 10, 200: 6}, 12, (100, True)),
        ({100: 10, 200: np.nan, 300: 4}, 5, (300, True)),
    ],
)
def test_when_a_curve_reaches_a_score(curve, target, expected):
    assert iterations_to_reach(list(curve), list(curve.values()), target) == expected


def test_a_score_that_is_not_reached_has_no_iteration():
    assert np.isnan(iterations_to_reach([100, 200], [10, 6], 5)[0])


def test_pairs_of_runs_are_compared():
    """ECT ends at 10 after 400; AYT has 10 after 100, and after 200; a third run never."""
    found = speed_ups(
        scores(
            {
                ("ect", 0): {100: 40, 400: 10},
                ("ayt", 0): {50: 20, 100: 10, 400: 5},
                ("ayt", 1): {100: 20, 200: 10, 400: 5},
                ("ayt", 2): {100: 30, 400: 20},
            }
        ),
        "ect",
    )
    (row,) = found.itertuples()
    assert (row.label, row.pairs, row.reached, row.at_least) == ("AYT", 3, 2, 0)
    assert (row.median, row.low, row.high) == (2, 0, 4)


def test_a_reference_that_was_better_before_its_end_is_timed_when_it_was():
    found = speed_ups(scores({("ect", 0): {100: 10, 200: 4, 300: 10}, ("ayt", 0): {50: 10, 300: 9}}), "ect")
    assert found.iloc[0]["median"] == 2
    assert (found.iloc[0]["at_least"], found.iloc[0]["at_most"]) == (1, 1)


def test_where_high_is_better():
    rows = scores({("ect", 0): {100: 0.1, 400: 0.5}, ("ayt", 0): {50: 0.1, 100: 0.5}}).assign(better="higher")
    assert speed_ups(rows, "ect").iloc[0]["median"] == 4


def test_a_failed_reference_is_no_aim_and_that_is_said(tmp_path):
    rows = scores({("ect", 0): {100: 4, 200: np.nan}, ("ayt", 0): {100: 4}})
    (row,) = speed_ups(rows, "ect").itertuples()
    assert (row.pairs, row.reached) == (0, 0)
    tabulate_speed_ups(rows, tmp_path / "speed", "", "ect")
    assert "| AYT | reference failed |" in (tmp_path / "speed.md").read_text()


def test_a_reference_that_begins_with_its_last_score_bounds_the_speed_up_from_above():
    found = speed_ups(scores({("ect", 0): {100: 5, 200: 6}, ("ayt", 0): {50: 9, 60: 6}}), "ect")
    assert (found.iloc[0]["at_least"], found.iloc[0]["at_most"]) == (0, 1)


def test_the_table_says_what_the_csv_says(tmp_path):
    rows = scores({("ect", 0): {100: 40, 400: 10}, ("ayt", 0): {50: 20, 100: 10}})
    tabulate_speed_ups(rows, tmp_path / "speed", "Title", "ect")
    assert "| AYT | 4.0× (4.0–4.0), 1 of 1 |" in (tmp_path / "speed.md").read_text()
    assert r"4.0$\times$ (4.0--4.0), 1 of 1" in (tmp_path / "speed.tex").read_text()
    assert pd.read_csv(tmp_path / "speed.csv")["median"].tolist() == [4]


def test_without_a_reference_nothing_is_compared(tmp_path):
    with pytest.raises(UserError, match="no method shares a batch size with 'ect'"):
        tabulate_speed_ups(scores({("ayt", 0): {100: 40}}), tmp_path / "speed", "", "ect")


def test_iterations_to_given_scores(tmp_path):
    rows = scores({("ect", 0): {100: 40, 400: 10}, ("ect", 1): {100: 30, 400: 20}, ("ayt", 0): {50: 8, 100: 5}})
    found = iterations_reaching(rows, [25, 10]).set_index(["label", "target"])
    assert found.loc[("ECT", 25), ["runs", "reached", "median", "low", "high"]].tolist() == [2, 2, 250, 250, 250]
    assert found.loc[("ECT", 10), ["runs", "reached", "median"]].tolist() == [2, 1, 400]
    assert found.loc[("AYT", 10), "at_first"] == 1
    tabulate_reaching(rows, tmp_path / "reach", "Title", [25, 10, 1])
    markdown = (tmp_path / "reach.md").read_text()
    assert "| ECT, batch 8 | 250 (250–250), 2 of 2 | 400, 1 of 2 | 0 of 2 |" in markdown
    assert "| AYT, batch 8 | ≤ 50, 1 of 1 | ≤ 50, 1 of 1 | 0 of 1 |" in markdown


def test_scores_to_reach_may_be_high():
    rows = scores({("ect", 0): {100: 0.1, 300: 0.5}}).assign(better="higher")
    assert iterations_reaching(rows, [0.3])["median"].tolist() == [200]
