"""Trainings that are stopped by a rule, through a real Snakemake: what is made, and when they go on after all."""

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from workflows import Workflow

from ayt.base import paths
from ayt.base.stopped import read_stopped


def written(workflow, name, **methods):
    """An experiment of three segments with these methods, two seeds of each."""
    content = yaml.safe_load((ROOT / "tests" / "experiments" / "tiny.yaml").read_text())
    content |= {
        "classifiers": {"labels": content["classifiers"]["labels"]},
        "training": {**content["training"], "iterations": 6, "segment": 2},
        "batch_sizes": [8],
        "seeds": [0, 1],
        "methods": methods,
        "toys": {},
        "figures": {name: {"kind": name} for name in ("curves", "final", "samples")},
        "tables": {name: {"kind": name} for name in ("scores", "best", "cost")},
    }
    path = workflow.folder / name
    path.write_text(yaml.safe_dump({"name": "stops", **content}))
    return path


BAD = {"worse_than": 1e-6, "after": 4}
DIVERGING = {"loss": "ect", "label": "Diverging", "lr": 1e30, "seeds": [0], "stop": {"diverged": True}}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A workflow that is done: two runs stopped by their scores, one as its numbers failed."""
    workflow = Workflow(tmp_path_factory.mktemp("stopped"))
    done = workflow.run(written(workflow, "stops.yaml", ect={"stop": BAD}, diverging=DIVERGING))
    assert done.returncode == 0, done.stderr
    return workflow


def runs(workflow, label):
    """Folders of the runs of a method."""
    table = pd.read_csv(workflow.folder / "results/stops/scores.csv")
    names = set(table.loc[table["label"] == label, "run"])
    return [
        folder for folder in sorted((workflow.folder / "results/runs/digits").glob("ect-*")) if folder.name in names
    ]


def test_no_snapshot_is_trained_after_the_stop(stopped):
    for folder in runs(stopped, "ECT"):
        found = {i: read_stopped(paths.snapshot(folder, i)) for i in (2, 4, 6)}
        assert found[2] is found[4] is None
        assert found[6].iteration == 4
        assert found[6].reason.startswith("FD is ") and found[6].reason.endswith(", worse than 1e-06")


def test_scores_tables_and_captions_say_where_training_was_given_up(stopped):
    table = pd.read_csv(stopped.folder / "results/stops/scores.csv")
    assert sorted(table["iteration"].unique()) == [2, 4]
    text = (stopped.folder / "results/stops/tables/scores.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| ECT |")]
    assert row.count("†") == 2
    for page in ("tables/scores.md", "tables/best.md", "figures/curves.html", "figures/final.html"):
        said = (stopped.folder / "results/stops" / page).read_text()
        assert "ECT, batch size 8, seed 1 (stopped after iteration 4: FD is" in said, page
        assert "Diverging, batch size 8, seed 0 (stopped after iteration 1: the loss or its gradient is not" in said, (
            page
        )
    samples = pd.read_csv(stopped.folder / "results/stops/figures/samples.csv")
    assert samples["iteration"].tolist() == [4]
    assert "5 iterations" not in (stopped.folder / "results/stops/about.rst").read_text()
    assert "stopped after iteration 4" in (stopped.folder / "results/stops/about.rst").read_text()


def test_status_says_that_they_are_stopped_and_why(stopped, ayt, monkeypatch):
    monkeypatch.chdir(stopped.folder)
    shown = ayt("status", "stops").stdout
    assert shown.count("stopped after iteration 4: FD is") == 2
    assert shown.count("stopped after iteration 1: the loss or its gradient is not finite at iteration 2") == 1


def test_there_is_nothing_left_to_do(stopped):
    assert stopped.planned(stopped.folder / "stops.yaml") == []


def test_weights_that_are_not_there_are_told_in_one_line(stopped, ayt, monkeypatch):
    monkeypatch.chdir(stopped.folder)
    folder = runs(stopped, "ECT")[0]
    told = ayt("export", folder / "run.yaml", "--iteration", "6", "--output", "x").stderr
    assert "0000006.safetensors: there is none, as training stopped after iteration 4: FD is" in told
    assert len(told.splitlines()) == 1


def test_a_rule_that_is_stricter_or_new_trains_nothing(stopped):
    stricter = written(stopped, "strict.yaml", ect={"stop": {**BAD, "after": 2}}, diverging=DIVERGING)
    assert not [rule for rule in stopped.rules(stricter) if rule.startswith(("train", "score", "go"))]


@pytest.mark.parametrize("rule", [None, {"worse_than": 1e6}, {"plateau": 1}, {"diverged": True}])
def test_a_rule_that_is_gone_or_looser_has_training_go_on(stopped, rule):
    looser = written(stopped, "loose.yaml", ect={"stop": rule}, diverging=DIVERGING)
    planned = stopped.planned(looser)
    assert {name for name, _ in planned if name.startswith(("train", "score"))} == {
        "train_4_to_6_by_2",
        "score_4_to_6_by_2",
    }
    names = {folder.name for folder in runs(stopped, "ECT")}
    assert {run for name, run in planned if name.startswith("train")} == names


def test_other_scores_train_nothing_again(stopped):
    content = yaml.safe_load((stopped.folder / "stops.yaml").read_text())
    content["evaluation"]["seed"] = 1
    content["training"]["iterations"] = 4
    content["methods"] = {"ect": {"stop": {"worse_than": 1e6}}}
    others = stopped.folder / "others.yaml"
    others.write_text(yaml.safe_dump(content))
    planned = stopped.rules(others)
    assert {"score_0_to_2_by_2", "score_2_to_4_by_2"} <= planned
    assert not [rule for rule in planned if rule.startswith(("train", "go"))]


# The last of this file: they change what the others look at.


def test_all_made_again_is_stopped_again(stopped):
    before = [read_stopped(paths.snapshot(folder, 6)) for folder in runs(stopped, "ECT")]
    done = stopped.run(stopped.folder / "stops.yaml", "--forceall", "--until", "score_4_to_6_by_2")
    assert done.returncode == 0, done.stderr
    assert [read_stopped(paths.snapshot(folder, 6)) for folder in runs(stopped, "ECT")] == before


def test_what_goes_on_has_the_weights_of_a_run_that_was_never_stopped(stopped, tmp_path):
    folders = runs(stopped, "ECT")
    goes_on = written(stopped, "goes_on.yaml", ect={"stop": {"worse_than": 1e6}}, diverging=DIVERGING)
    done = stopped.run(goes_on)
    assert done.returncode == 0, done.stderr
    assert stopped.planned(goes_on) == []
    assert pd.read_csv(stopped.folder / "results/stops/scores.csv")["iteration"].max() == 6
    assert "† |" not in (stopped.folder / "results/stops/tables/scores.md").read_text()
    whole = Workflow(tmp_path)
    last = paths.snapshot(folders[0], 6).relative_to(stopped.folder)
    done = whole.run(written(whole, "whole.yaml", ect={}), last)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / last).read_bytes() == (stopped.folder / last).read_bytes()
    # As long as what was trained since is there, the rule cuts what is shown.
    done = stopped.run(stopped.folder / "stops.yaml")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(stopped.folder / "results/stops/scores.csv")["iteration"].max() == 4
