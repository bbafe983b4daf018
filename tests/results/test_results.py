"""Results read from Python: scores, and snapshots by name."""

import pandas as pd
import pytest
import torch
from conftest import ROOT

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.scores import COLUMNS, write_scores
from ayt.results import Results
from ayt.training.work import build_network


@pytest.fixture
def folder(tmp_path):
    """The results of ECT and AYT at two batch sizes and of a second seed of ECT, with the weights of one run's end."""
    overrides = {"methods": {"ect": {"seeds": [0, 1]}}, "batch_sizes": [4, 8]}
    plan = Plan(load([ROOT / "tests" / "experiments" / "tiny.yaml"], overrides))
    rows = []
    for method, run in plan.methods_and_runs():
        at = {"dataset": "digits", "run": run.name, "method": method, "label": run.label}
        at |= {"batch_size": run.record.batch_size, "seed": run.record.seed, "ema": run.record.average_names[0]}
        for iteration in (2, 8):
            for steps in (1, 2):
                rows.append({**dict.fromkeys(COLUMNS, 1), **at, "iteration": iteration, "steps": steps})
        write_text(tmp_path / paths.run_record(run.folder), run.record.text)
        if method == "ayt" and run.record.batch_size == 8:
            tensors = build_network(run.record).state_dict()
            weights.write(tmp_path / paths.snapshot(run.folder, 8), "snapshot", run.name, 8, tensors)
    write_scores(tmp_path / "results" / "tiny" / "scores.csv", pd.DataFrame(rows, columns=COLUMNS))
    return tmp_path / "results" / "tiny"


def test_scores_are_those_of_the_file(folder):
    scores = Results(folder).scores
    assert list(scores.columns) == COLUMNS
    assert len(scores) == 2 * len(Results(folder).snapshots)


def test_a_snapshot_is_found_by_what_it_is_of_and_loaded(folder):
    found = Results(folder).snapshot("ayt", batch_size=8)
    assert (found.iteration, found.record.batch_size, found.record.training.name) == (8, 8, "ayt")
    noisy = torch.randn(2, *found.record.dataset.shape)
    assert found.load()(noisy, torch.ones(2)).shape == noisy.shape
    assert Results(folder).snapshot("ayt", batch_size=8, iteration=2).path.stem == "0000002"


def test_tables_of_versions_that_kept_one_average_are_read(folder):
    table = pd.read_csv(folder / "scores.csv", dtype=str, keep_default_na=False)
    table.drop(columns="ema").to_csv(folder / "scores.csv", index=False)
    assert list(Results(folder).scores.columns) == COLUMNS
    assert Results(folder).snapshot("ayt", batch_size=8).path.exists()


def test_they_are_found_from_any_place(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert Results(".").snapshot("ayt", batch_size=8).path.exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "aty"}, "method = 'aty': no such snapshot; did you mean ayt\\? choose from ayt, ect"),
        ({"method": "ayt"}, "batch_size of 'ayt' must be given; choose from 4, 8"),
        ({"method": "ect", "batch_size": 4}, "seed of 'ect' must be given; choose from 0, 1"),
        ({"method": "ayt", "batch_size": 16}, "batch_size = 16: no such snapshot; choose from 4, 8"),
        ({"method": "ayt", "batch_size": 8, "iteration": 3}, "iteration = 3: no such snapshot; choose from 2, 8"),
    ],
)
def test_what_is_not_there_is_one_line(folder, asked, message):
    with pytest.raises(UserError, match=message):
        Results(folder).snapshot(**asked)


def test_a_folder_without_results_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"scores.csv: no such file; it is written once all scores are there"):
        Results(tmp_path)
    with pytest.raises(UserError, match=r"nowhere: no such folder$"):
        Results(tmp_path / "nowhere")
