"""The table of best snapshots: what is chosen by, and what is reported."""

import json

import pandas as pd
import pytest

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.scores import gather_scores, write_scores
from ayt.reporting.tables.best import choose_snapshots, judge

BY_ITERATION = {2: [5.0, 9.0, 11.0], 4: [7.0, 4.0, 6.0], 6: [8.0, 3.0, 3.0], 8: [9.0, 7.0, 9.0]}
"""The fourth iteration has the lowest number of all but one; the second is what the first sampling run prefers."""


def test_the_choice_does_not_see_what_it_is_judged_by():
    snapshots = [judge(iteration, values) for iteration, values in BY_ITERATION.items()]
    assert {which: (judged.iteration, judged.others) for which, judged in choose_snapshots(snapshots, "lower")} == {
        "chosen": (2, 10.0),
        "last": (8, 8.0),
    }
    assert next(choose_snapshots(snapshots, "higher"))[1].iteration == 8


def test_what_is_not_finite_is_not_chosen_and_not_averaged():
    snapshots = [judge(2, [None, 1.0]), judge(4, [3.0, None]), judge(6, [4.0, 1.0])]
    assert [(which, judged.iteration, judged.others) for which, judged in choose_snapshots(snapshots, "lower")] == [
        ("chosen", 4, None),
        ("last", 6, 1.0),
    ]
    assert [which for which, _ in choose_snapshots(snapshots[:1], "lower")] == ["last"]


def test_the_table_from_score_files(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = {"best": {"kind": "best"}}
    evaluation = {"repeats": 3, "steps": [1]}
    plan = Plan(load([tiny], {"tables": tables, "evaluation": evaluation, "batch_sizes": [4]}))
    for shift, run in enumerate(plan.trained):
        (score,) = plan.scores_of(run.name)
        for iteration, values in BY_ITERATION.items():
            shifted = [value + 100 * shift for value in values]
            metric = {"values": shifted, "mean": sum(shifted) / 3, "std": 1.0, "min": min(shifted), "max": max(shifted)}
            content = {"dataset": "digits", "record": score.content(), "metrics": {"frechet": metric}}
            write_text(score.result(run.folder, iteration), json.dumps(content))
    write_scores(paths.scores_table("tiny"), gather_scores(plan))
    plan.experiment.tables["best"].make(plan, "tiny", tmp_path / "best")
    text = (tmp_path / "best.md").read_text()
    assert "| ECT, batch 4, chosen | 10.00 (at 2) |" in text
    assert "| ECT, batch 4, last | 8.00 (at 8) |" in text
    assert "| AYT, batch 4, chosen | 110.00 (at 2) |" in text
    assert len(pd.read_csv(tmp_path / "best.csv")) == 4


def test_one_sampling_run_is_too_few(tiny):
    with pytest.raises(UserError, match=r"tables.best.kind = 'best': .*; set evaluation.repeats to 2 or more"):
        load([tiny], {"tables": {"best": {"kind": "best"}}, "evaluation": {"repeats": 1}})
