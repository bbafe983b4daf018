"""Costs read off training logs small enough to check by hand."""

import pandas as pd
import pytest
from conftest import ROOT

from ayt.base import paths
from ayt.base.files import write_text
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.costs import read_costs
from ayt.reporting.tables.cost import tabulate_costs
from ayt.training.log import COLUMNS


@pytest.fixture
def plan(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    return Plan(load([tiny], {"batch_sizes": [4]}))


def write_logs(run, rates, gpus=0, memory=500.0, columns=COLUMNS):
    """A row in the middle of each segment and one at its end, at these speeds in images per second, in turn."""
    speeds = iter(rates)
    for segment in run.segments:
        rows = [
            {"iteration": i, "images": i * run.record.batch_size, "images_per_second": next(speeds)}
            for i in ((segment.start + segment.stop) // 2, segment.stop)
        ]
        table = pd.DataFrame(rows).assign(loss=1, distance=1, gradient_norm=1, gpus=gpus, peak_memory_mb=memory)
        write_text(paths.training_log(run.folder, segment.stop), table[list(columns)].to_csv(index=False))


def write_all(plan, **options):
    for run in plan.runs.values():
        write_logs(run, [8.0] * 2 * len(run.segments), **options)


def test_a_run_costs_its_own_training_and_those_before_it(plan):
    write_all(plan)
    ect = next(run for _, run in plan.methods_and_runs() if run.record.training.name == "ect")
    write_logs(ect, [8.0, 4.0, 2.0, 8.0], memory=700.0)  # 8 images each: 1 + 2 + 4 + 1 s
    table = read_costs(plan).set_index("label")
    assert table.loc["ECT", "hours"] * 3600 == pytest.approx(8)
    assert table.loc["ECT", "start_hours"] * 3600 == pytest.approx(8 * 16 / 8)
    assert pd.isna(table.loc["ECT", "classifier_hours"])
    assert table.loc["ECT", "total_hours"] * 3600 == pytest.approx(8 + 16)
    assert table.loc["AYT", "classifier_hours"] * 3600 == pytest.approx(8 * 16 / 8)
    assert table.loc["AYT", "total_hours"] * 3600 == pytest.approx(4 + 16 + 16)
    assert table["images"].tolist() == [32, 32]
    assert table.loc["ECT", "peak_memory_mb"] == 700


def test_a_classifier_that_mid_training_looks_through_too_is_counted_once(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    middle = {"distance": "features", "iterations": 16, "batch_size": 4, "points": 2}
    plan = Plan(load([tiny], {"batch_sizes": [4], "start": {"mid_train": middle}}))
    write_all(plan)
    table = read_costs(plan).set_index("label")
    run, upstream = (plan.mid_trained, plan.pretrained), plan.classifier("transformations")
    before = sum(part.iterations * part.record.batch_size / 8 for part in run)
    looks_through = upstream.iterations * upstream.record.batch_size / 8
    assert table.loc["AYT", "classifier_hours"] * 3600 == pytest.approx(looks_through)
    assert table.loc["AYT", "start_hours"] * 3600 == pytest.approx(before)
    assert table.loc["ECT", "start_hours"] * 3600 == pytest.approx(before + looks_through)


def test_hours_of_several_gpus_add_up(plan, tmp_path):
    write_all(plan, gpus=4)
    table = read_costs(plan).set_index("label")
    assert table.loc["ECT", "hours"] * 3600 == pytest.approx(4 * 4)
    tabulate_costs(read_costs(plan), tmp_path / "cost", "")
    markdown = (tmp_path / "cost.md").read_text()
    assert "| ECT | 4 | 1 | 32 | 16 s | – | 1.1 min | 1.3 min | 0.50 GB |" in markdown
    assert "on its GPUs" in markdown


def test_logs_of_the_first_version_have_hours_too(plan):
    write_all(plan, columns=COLUMNS[:6])
    table = read_costs(plan).set_index("label")
    assert table.loc["ECT", "hours"] * 3600 == pytest.approx(4)
    assert table["peak_memory_mb"].isna().all()


def test_runs_that_are_not_done_are_left_out(plan):
    write_all(plan)
    ect = next(run for _, run in plan.methods_and_runs() if run.record.training.name == "ect")
    paths.training_log(ect.folder, ect.iterations).unlink()
    assert read_costs(plan)["label"].tolist() == ["AYT"]
    assert read_costs(Plan(load([ROOT / "config" / "embedded.yaml"]))).empty
