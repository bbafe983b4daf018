"""Figures and tables from what is there: runs half finished, failed, missing."""

import json
import re
import sys
from io import BytesIO, TextIOWrapper

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ayt.base import paths, yamlio
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.cli import main
from ayt.experiment import load, resolved
from ayt.plan.plan import Plan
from ayt.reporting import drawing
from ayt.reporting.figures.curves import Curves, describe_speed_ups
from ayt.reporting.figures.samples import Samples
from ayt.reporting.scores import COLUMNS, gather_scores, read_scores, write_scores
from ayt.reporting.tables.scores import Scores


def write_score(score, run, iteration, **means):
    """A score file with these metrics; ``frechet=5``."""
    metrics = {
        name: {"values": [mean], "mean": mean, "std": None, "min": mean, "max": mean} for name, mean in means.items()
    }
    content = {"run": run.name, "iteration": iteration, "metrics": metrics}
    write_text(score.result(run.folder, iteration), json.dumps(content))


def write_scores_of(plan, **means):
    """The score files of all snapshots."""
    for run in plan.trained:
        for snapshot in run.snapshots:
            for score in plan.scores_of(run.name):
                write_score(score, run, snapshot.iteration, **means)


def changed(plan, **keys):
    """The plan of the experiment with other keys."""
    write_text(paths.resolved_experiment("tiny"), yamlio.dump({**plan.experiment.content(), **keys}))
    return Plan(resolved.read(paths.resolved_experiment("tiny")))


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """An experiment with one figure of something else than scores; nothing is there."""
    monkeypatch.chdir(tmp_path)
    figures = {kind: {"kind": kind} for kind in ("curves", "final", "manifold")}
    return changed(Plan(load([ROOT / "tests/experiments/tiny.yaml"])), figures=figures)


@pytest.fixture
def half(plan):
    """All scores but: one run of ECT ends early, one of AYT failed in its training, one score is not finite."""
    for run in plan.trained:
        for snapshot in run.snapshots:
            for score in plan.scores_of(run.name):
                late = snapshot.iteration > 4
                if late and (run.record.training.name, run.record.batch_size) in (("ect", 4), ("ayt", 8)):
                    continue
                write_score(score, run, snapshot.iteration, frechet=100.0 + snapshot.iteration, kid=1.0)
    note = {"iteration": 5, "reason": "the loss or its gradient is not finite at iteration 5"}
    write_text(paths.failure(find(plan, "ayt", 8).folder), json.dumps(note))
    ect8 = find(plan, "ect", 8)
    write_score(plan.scores_of(ect8.name)[0], ect8, 8, frechet=None, kid=1.0)
    return plan


def find(plan, method, batch_size):
    return next(
        run for run in plan.trained if (run.record.training.name, run.record.batch_size) == (method, batch_size)
    )


def test_failures_are_rows_and_what_is_missing_is_not(half):
    table = gather_scores(half, partial=True).set_index(["run", "iteration", "steps"])["mean"]
    failed = table[table.isna()].reset_index()
    names = {find(half, "ayt", 8).name: [6, 8], find(half, "ect", 8).name: [8]}
    assert {run: sorted(set(rows["iteration"])) for run, rows in failed.groupby("run")} == names
    assert set(table[find(half, "ect", 4).name].index.get_level_values("iteration")) == {2, 4}


def test_only_what_is_shown_is_gathered(half):
    table = gather_scores(half, partial=True)
    assert set(table["key"]) == {"frechet"}
    assert set(table["metric"]) == {"FD (digits features)"}
    asked = {**half.experiment.content()["evaluation"], "metrics": ["kid", "denoised_frechet"], "denoise": [0.2, 0.4]}
    plan = changed(half, evaluation=asked)
    run = plan.trained[0]
    assert set(gather_scores(plan, partial=True).dropna(subset="mean")["metric"]) == {"KID (digits features)"}
    for score, value in zip(plan.denoising_scores_of(run.name), (7.0, 8.0), strict=True):
        write_score(score, run, 2, denoised_frechet=value)
    rows = gather_scores(plan, partial=True)
    denoised = rows[rows["key"] == "denoised_frechet"].dropna(subset="mean")
    titles = ["dFD (t = 0.2, digits features)", "dFD (t = 0.4, digits features)"]
    assert denoised[["metric", "steps", "mean"]].values.tolist() == [[titles[0], 1, 7.0], [titles[1], 1, 8.0]]
    write_scores(paths.scores_table("tiny"), rows)
    shown, note = Scores(metric="denoised_frechet").read_rows(plan, "tiny")
    assert shown["run"].value_counts()[run.name] == 2
    assert "Not there yet: ECT, batch size 4, seed 0 (2 of 8 scores)" in note


def test_a_score_without_a_metric_that_is_shown_is_named(plan):
    write_scores_of(plan, kid=1.0)
    with pytest.raises(UserError, match=r"0000002\.json: has no frechet; delete it to have it made again"):
        gather_scores(plan)
    write_text(plan.scores()[0], "half")
    with pytest.raises(UserError, match="not a score"):
        gather_scores(plan)


def test_missing_scores_are_named(plan):
    with pytest.raises(UserError, match="no such score; train and score the run first"):
        gather_scores(plan)


@pytest.mark.parametrize("text", ["None", "NA", "", "1", "1e5", "007", 'a, "b"', " nan "])
def test_text_of_scores_is_read_back_as_text(plan, text):
    write_scores_of(plan, frechet=0.1 + 0.2)
    table = gather_scores(plan).assign(method=text, label=text)
    write_scores(paths.scores_table("tiny"), table)
    pd.testing.assert_frame_equal(read_scores(paths.scores_table("tiny")), table, check_dtype=False, rtol=0, atol=0)


def test_methods_may_be_called_as_numbers_or_nothing(plan):
    methods = {
        "1": {"loss": "ect", "label": "None"},
        "2": {"loss": "ayt", "label": "2"},
        "null": {"loss": "ect", "c": 0.1, "label": "NA"},
    }
    training = {"training": {"iterations": 8, "segment": 4, "snapshot_every": 2}, "batch_sizes": [4]}
    plan = changed(plan, methods=methods, **training)
    write_scores_of(plan, frechet=5.0)
    assert [problem for problem in drawing.draw_what_is_there(plan) if "scores" in problem] == []
    place = paths.partial_name("tiny")
    markdown = paths.table(place, "scores", "md").read_text()
    assert all(f"| {label} | " in markdown for label in ("None", "2", "NA"))
    labels = pd.read_csv(paths.figure(place, "curves", "csv"), keep_default_na=False, dtype=str)["label"]
    assert set(labels) == {"None", "2", "NA"}


def test_scores_of_another_version_are_named(plan):
    path = paths.scores_table("tiny")
    for text, problem in (("a,b\n1,2\n", "another version"), ("", "damaged"), (",".join(COLUMNS) + "\nx", "damaged")):
        write_text(path, text)
        with pytest.raises(UserError, match=problem):
            read_scores(path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        read_scores(path)


def test_figures_and_tables_say_what_is_missing_and_what_failed(half):
    problems = drawing.draw_what_is_there(half)
    assert len(problems) == 2  # the manifold's data and the costs of trainings are not there
    place = paths.partial_name("tiny")
    captions = [paths.table(place, "scores", "md").read_text(), paths.figure(place, "curves", "html").read_text()]
    for text in captions:
        assert "Not there yet: ECT, batch size 4, seed 0 (4 of 8 scores)." in text
        assert "AYT, batch size 8, seed 0 (the loss or its gradient is not finite at iteration 5)" in text
        assert "ECT, batch size 8, seed 0" in text
    assert "| AYT | 108.00 | failed |" in captions[0]
    for name in ("curves", "final", "manifold"):
        assert paths.figure(place, name, "png").stat().st_size > 5000
    reason = pd.read_csv(paths.figure(place, "manifold", "csv"))["missing"].iloc[0]
    assert reason.startswith("Not there yet: results/analyses/manifold-")


def test_what_the_workflow_makes_is_not_touched(half):
    drawing.draw_what_is_there(half)
    assert sorted(path.name for path in paths.experiment_folder("tiny").iterdir()) == ["experiment.yaml", "so_far"]
    page = (paths.experiment_folder(paths.partial_name("tiny")) / "index.html").read_text()
    for target in re.findall(r'href="([^"]+)"', page):
        assert (paths.experiment_folder(paths.partial_name("tiny")) / target).exists()
    assert "figure manifold: results/analyses/manifold-" in page


def test_where_everything_is_there_nothing_is_missing(plan):
    write_scores_of(plan, frechet=100.0)
    plan = changed(plan, figures={"a": {"kind": "curves"}}, tables={"b": {"kind": "scores"}})
    assert drawing.draw_what_is_there(plan) == []
    assert "Not there yet" not in paths.table(paths.partial_name("tiny"), "b", "md").read_text()


def test_one_that_fails_by_a_fault_of_ours_costs_no_other(half, monkeypatch):
    monkeypatch.setattr(Curves, "make", lambda *_: {}["none"])
    problems = drawing.draw_what_is_there(half)
    assert problems[0] == "figure curves: KeyError: 'none'; `ayt figure` of it alone shows where"
    place = paths.partial_name("tiny")
    assert "by a fault of the program: KeyError" in paths.figure(place, "curves", "csv").read_text()
    assert all(paths.figure(place, name, "png").stat().st_size > 5000 for name in ("curves", "final"))
    assert "figure curves: KeyError" in (paths.experiment_folder(place) / "index.html").read_text()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_terminals_without_unicode_are_told_all_the_same(half, monkeypatch, encoding):
    methods = {name: method.model_dump(by_alias=True) for name, method in half.experiment.methods.items()}
    methods = {name: {"loss": name, **method, "label": f"{name} Δ中"} for name, method in methods.items()}
    plan = changed(half, methods=methods)
    write_scores_of(plan, frechet=100.0)
    write_scores(paths.scores_table("tiny"), gather_scores(plan))
    terminal = TextIOWrapper(BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["summary", str(paths.resolved_experiment("tiny"))]) == 0
    terminal.flush()
    assert rb"ect \u0394\u4e2d" in terminal.buffer.getvalue()


def test_nothing_at_all_is_no_error(plan, ayt):
    done = ayt("draw", paths.resolved_experiment("tiny"))
    assert done.returncode == 0, done.stderr
    assert "not there yet: figure curves: no score of it is there yet" in done.stdout
    assert "not made yet" in paths.table(paths.partial_name("tiny"), "scores", "md").read_text()


def test_samples_of_runs_that_are_not_done_are_named(plan, tmp_path):
    figure = Samples(columns=2)
    with pytest.raises(UserError, match="no such file, nor those of the other runs"):
        figure.make(plan, "tiny", tmp_path / "a")
    first, *others = figure.inputs(plan)
    assert len(others) == 3
    first.parent.mkdir(parents=True)
    np.savez(first, images=np.zeros((4, 1, 8, 8), np.uint8))
    figure.make(plan, "tiny", tmp_path / "a")
    assert pd.read_csv(tmp_path / "a.csv")["run"].tolist() == [plan.trained[0].name]
    page = (tmp_path / "a.html").read_text()
    assert "sampling steps: 1 (noise levels 80 → 0.002)" in page
    assert "Not there yet: ECT, batch size 8; AYT, batch size 4; AYT, batch size 8." in page


def test_samples_are_those_of_the_seed(plan):
    plan = changed(plan, methods={"ect": {"iterations": 8, "batch_sizes": [4], "seeds": [3, 5]}})
    assert [run.record.seed for run, _ in Samples().grids(plan)] == [3]
    assert [run.record.seed for run, _ in Samples(seed=5).grids(plan)] == [5]


def test_claims_are_computed(half):
    for iteration, score in ((2, 102.0), (4, 101.0), (6, 100.5), (8, 100.0)):
        for method, mean in (("ect", score), ("ayt", score - 1.5)):
            run = find(half, method, 4)
            write_score(half.scores_of(run.name)[0], run, iteration, frechet=mean)
    said = describe_speed_ups(gather_scores(half, partial=True), "ect")
    # ECT ends at 100 after 8 iterations; AYT is there after 3, half-way between 100.5 and 99.5.
    assert "AYT, batch size 4: 2.7 (2.7–2.7), 1 of 1 pairs" in said
    assert "batch size 8" not in said  # where ECT's last score is not finite
    assert describe_speed_ups(gather_scores(half, partial=True), "l1") == ""


@pytest.mark.parametrize(
    ("methods", "usual"),
    [(["ayt", "ect"], "ect"), (["ayt"], None), (["huber", "ect"], "ect"), (["huber"], "huber")],
)
def test_the_usual_reference_is_a_method_of_its_kind(plan, methods, usual):
    losses = {"ect": {"loss": "ect"}, "ayt": {"loss": "ayt"}, "huber": {"loss": "ect", "c": 0.1, "label": "Huber"}}
    common = {"iterations": 8, "batch_sizes": [4]}
    chosen = {"ect": losses["ect"], "ayt": losses["ayt"], "huber": losses["huber"]}
    plan = changed(plan, methods={name: {**options, **common} for name, options in chosen.items()}, tables={})
    assert Scores(methods=methods).usual_reference(plan.experiment) == usual


def test_a_table_of_speed_needs_a_reference(plan):
    common = {"iterations": 8, "batch_sizes": [4]}
    only_ayt = {"methods": {"ayt": common, "l1": common}}
    with pytest.raises(UserError, match=r"tables\.a\.reference: is missing; choose from ayt, l1"):
        changed(plan, **only_ayt, tables={"a": {"kind": "speed"}})
    with pytest.raises(UserError, match=r"tables\.a\.reference = 'ect': no such method; choose from ayt, l1"):
        changed(plan, **only_ayt, tables={"a": {"kind": "speed", "reference": "ect"}})
    changed(plan, **only_ayt, tables={"a": {"kind": "speed", "reference": "l1"}})
