"""Figures and tables from what is there: runs half finished, failed, missing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ayt.reporting import drawing
from ayt.base import paths
from ayt.base import yamlio
from ayt.experiment import load
from ayt.experiment import resolved
from ayt.reporting.scores import gather_scores
from ayt.base.files import write_text
from ayt.plan.plan import Plan

LABEL = "FD (digits features)"


def write_score(plan, run, evaluation, iteration, value):
    summary = {"key": "frechet", "better": "lower", "values": [value], "mean": value, "std": None}
    record = {"metrics": {LABEL: {**summary, "min": value, "max": value}}}
    write_text(paths.score(run.folder, evaluation.name, iteration), json.dumps(record))


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """An experiment without figures of other things than scores, none of which is there."""
    monkeypatch.chdir(tmp_path)
    content = load([ROOT / "tests/experiments/tiny.yaml"]).model_dump(by_alias=True)
    content["figures"] = {
        "curves": {"kind": "curves"},
        "final": {"kind": "final"},
        "manifold": {"kind": "manifold"},
    }
    write_text(paths.resolved_experiment("tiny"), yamlio.dump(content))
    return Plan(resolved.read(paths.resolved_experiment("tiny")))


@pytest.fixture
def half(plan):
    """All scores but: one run of ECT ends early, one of AYT failed in its training, one score is not finite."""
    for _, run in plan.methods_and_runs():
        for snapshot in run.snapshots:
            for evaluation in plan.evaluations:
                late = snapshot.iteration > 4
                if late and (run.spec.loss.name, run.spec.batch_size) in (("ect", 4), ("ayt", 8)):
                    continue
                write_score(plan, run, evaluation, snapshot.iteration, 100.0 + snapshot.iteration)
    ayt8 = find(plan, "ayt", 8)
    note = {"iteration": 5, "reason": "the loss or its gradient is not finite at iteration 5"}
    write_text(paths.failure(ayt8.folder), json.dumps(note))
    write_score(plan, find(plan, "ect", 8), plan.evaluations[0], 8, None)
    return plan


def find(plan, loss, batch_size):
    return next(run for _, run in plan.methods_and_runs() if run.spec.name.startswith(f"{loss}-bs{batch_size}-"))


def test_failures_are_rows_and_what_is_missing_is_not(half):
    table = gather_scores(half, partial=True).set_index(["run", "iteration", "steps"])["mean"]
    failed = table[table.isna()].reset_index()
    names = {find(half, "ayt", 8).name: [6, 8], find(half, "ect", 8).name: [8]}
    assert {run: sorted(set(rows["iteration"])) for run, rows in failed.groupby("run")} == names
    assert set(table[find(half, "ect", 4).name].index.get_level_values("iteration")) == {2, 4}


def test_figures_and_tables_say_what_is_missing_and_what_failed(half):
    problems = drawing.draw_what_is_there(half)
    assert len(problems) == 2  # the manifold's data and the costs of trainings are not there
    place = paths.so_far("tiny")
    captions = [paths.table(place, "scores", "md").read_text(), paths.figure(place, "curves", "html").read_text()]
    for text in captions:
        assert "Not there yet: ECT, batch size 4, seed 0 (4 of 8 scores)." in text
        assert "AYT, batch size 8, seed 0 (the loss or its gradient is not finite at iteration 5)" in text
        assert "ECT, batch size 8, seed 0" in text
    assert "| AYT | 108.00 | failed |" in captions[0]
    for name in ("curves", "final", "manifold"):
        assert paths.figure(place, name, "png").stat().st_size > 5000
    reason = pd.read_csv(paths.figure(place, "manifold", "csv"))["missing"].iloc[0]
    assert reason.startswith("Not there yet: results/runs/digits/classifier_geo_deg")


def test_what_the_workflow_makes_is_not_touched(half):
    drawing.draw_what_is_there(half)
    assert sorted(path.name for path in paths.experiment_folder("tiny").iterdir()) == ["experiment.yaml", "so_far"]
    page = (paths.experiment_folder(paths.so_far("tiny")) / "index.html").read_text()
    for target in re.findall(r'href="([^"]+)"', page):
        assert (paths.experiment_folder(paths.so_far("tiny")) / target).exists()
    assert "figure manifold: results/runs/digits/classifier_geo_deg" in page


def test_where_everything_is_there_nothing_is_missing(plan):
    for _, run in plan.methods_and_runs():
        for snapshot in run.snapshots:
            for evaluation in plan.evaluations:
                write_score(plan, run, evaluation, snapshot.iteration, 100.0)
    content = plan.experiment.model_dump(by_alias=True)
    content |= {"figures": {"a": {"kind": "curves"}}, "tables": {"b": {"kind": "scores"}}}
    write_text(paths.resolved_experiment("tiny"), yamlio.dump(content))
    assert drawing.draw_what_is_there(Plan(resolved.read(paths.resolved_experiment("tiny")))) == []
    assert "Not there yet" not in paths.table(paths.so_far("tiny"), "b", "md").read_text()


def test_nothing_at_all_is_no_error(plan, ayt):
    done = ayt("draw", paths.resolved_experiment("tiny"))
    assert done.returncode == 0, done.stderr
    assert "not there yet: figure curves: no score of it is there yet" in done.stdout
    assert "not made yet" in paths.table(paths.so_far("tiny"), "scores", "md").read_text()


def test_runs_that_were_not_probed_yet_are_named(plan, monkeypatch):
    content = plan.experiment.model_dump(by_alias=True) | {"figures": {"a": {"kind": "oscillation"}}, "tables": {}}
    write_text(paths.resolved_experiment("tiny"), yamlio.dump(content))
    plan = Plan(resolved.read(paths.resolved_experiment("tiny")))
    first, _ = plan.analyses("a")
    first.path.parent.mkdir(parents=True)
    np.savez(first.path, nothing=np.zeros(1))
    drawn = []
    monkeypatch.setattr(drawing.oscillation, "oscillation", lambda *arguments: drawn.append(arguments))
    drawing.draw_figure(plan, "a", "tiny")
    ((runs, _, _, note),) = drawn
    assert [run[:2] for run in runs] == [("ECT", 4)]
    assert note == "Not there yet: AYT, batch size 4, seed 0."


def test_claims_are_computed(half):
    for iteration, score in ((2, 102.0), (4, 101.0), (6, 100.5), (8, 100.0)):
        write_score(half, find(half, "ect", 4), half.evaluations[0], iteration, score)
        write_score(half, find(half, "ayt", 4), half.evaluations[0], iteration, score - 1.5)
    said = drawing.claims(gather_scores(half, partial=True), "ect")
    # ECT ends at 100 after 8 iterations; AYT is there after 3, half-way between 100.5 and 99.5.
    assert "AYT, batch size 4: 2.7 (2.7–2.7), 1 of 1 pairs" in said
    assert "batch size 8" not in said  # where ECT's last score is not finite
    assert drawing.claims(gather_scores(half, partial=True), "l1") == ""
