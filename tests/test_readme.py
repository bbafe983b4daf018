"""The README: short, and what it says of the paper's experiments is what their files say."""

import re

import pytest
from conftest import ROOT

from ayt.experiment import load
from ayt.operations.estimate import estimate
from ayt.plan.plan import Plan

TEXT = (ROOT / "README.md").read_text()
ROWS = re.findall(
    r"\| \[\w+\]\((config/\w+\.yaml)\) \| `(\w+)/(\w+)\.\w+` \| (\d+)(?: \+ (\d+) classifiers)? \| ([^|]+) \|", TEXT
)


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 130


def test_it_names_each_experiment_of_the_paper():
    papers = ("batch_size_ablation", "loss_comparison", "transformation_ablation", "classifier_ablation")
    assert {f"config/{name}.yaml" for name in (*papers, "method_comparison")} <= {file for file, *_ in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_results_and_numbers_of_runs_are_those_of_the_experiment(row):
    file, folder, name, runs, classifiers, _ = row
    plan = Plan(load([ROOT / file]))
    assert name in getattr(plan.experiment, folder)
    assert int(runs) == len(plan.trained)
    assert int(classifiers or 1) == sum(run.record.training.stage == "classifier" for run in plan.runs.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_hours_are_those_of_the_plan(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, *_, said = row
    hours = [cost.hours_on_card for cost in estimate(Plan(load([ROOT / file]))).runs if cost.hours_on_card]
    total = sum(hours)
    assert said.split()[0] == (f"{total:.0f}" if total >= 10 else f"{total:.1f}" if hours else "not")
    counted = {"one": 1, "two": 2, "three": 3, "four": 4}
    assert len(hours) == next((counted[word] for word in said.split() if word in counted), int(row[3]) * bool(hours))
