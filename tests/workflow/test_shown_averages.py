"""One training that keeps several averages, through the whole workflow: each is scored, and what shows which."""

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from workflows import Workflow

from ayt.base.errors import UserError
from ayt.results import Results

EMA = [0.9, {"power": 0.1}, 0.0001]


def write(path, **change):
    """The tiny experiment with one run of ECT and one of AYT, of which ECT keeps three averages."""
    content = yaml.safe_load((ROOT / "tests" / "experiments" / "tiny.yaml").read_text())
    content["training"] |= {"iterations": 4, "lr": 1e-2}
    content |= {"batch_sizes": [4], "methods": {"ect": {"ema": EMA}, "ayt": None}, "toys": {}}
    content["figures"] = {"all": {"kind": "curves", "ema": "all"}, "first": {"kind": "final"}}
    content["tables"] = {
        "averages": {"kind": "averages"},
        "best": {"kind": "best", "ema": [0.0001, {"power": 0.1}]},
        "scores": {"ema": {"power": 0.1}},
        "speed": {"kind": "speed", "ema": "all"},
    }
    path.write_text(yaml.safe_dump({**content, **change}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("averages"))
    done = workflow.run(write(workflow.folder / "tiny.yaml"))
    assert done.returncode == 0, done.stderr
    return workflow


def test_each_average_is_scored_and_found(finished):
    results = Results(finished.folder / "results" / "tiny")
    ect = results.scores[results.scores["method"] == "ect"]
    assert list(ect["ema"].unique()) == ["0.9", "power0.1", "0.0001"]
    assert ect["run"].nunique() == 1
    for _, same in ect.groupby(["iteration", "steps"]):
        assert len(same) == same["mean"].nunique() == 3
    assert set(results.scores.loc[results.scores["method"] == "ayt", "ema"]) == {"0.9"}
    assert len(results.snapshots) == 2 * 3 + 2
    found = {ema: results.snapshot("ect", ema=ema) for ema in (None, "0.9", "power0.1", "0.0001")}
    assert found[None].path == found["0.9"].path
    weights = {ema: next(snapshot.load().parameters()).sum().item() for ema, snapshot in found.items()}
    assert len(set(weights.values())) == 3
    with pytest.raises(UserError, match=r"ema = '0.5': no such snapshot"):
        results.snapshot("ect", ema="0.5")


def test_nothing_is_left_to_do_and_one_more_average_is_another_training(finished):
    assert finished.planned(finished.folder / "tiny.yaml") == []
    more = write(finished.folder / "more.yaml", name="tiny", methods={"ect": {"ema": [*EMA, 0.5]}, "ayt": None})
    trained = [(rule, run) for rule, run in finished.planned(more) if rule.startswith(("train", "score"))]
    assert {run for _, run in trained if not run.startswith("ect")} == set()
    assert [rule for rule, _ in trained].count("train_0_to_4_by_2_power0_1_0_0001_0_5") == 1
    assert sum(rule.startswith("score_0_to_4_by_2") for rule, _ in trained) == 4


def test_another_choice_only_draws(finished):
    figures = {"all": {"kind": "curves", "ema": 0.9}, "first": {"kind": "final"}}
    assert finished.rules(write(finished.folder / "drawn.yaml", name="tiny", figures=figures)) == {
        "figure",
        "about",
        "all",
    }


def shown(finished, what, column="label"):
    table = pd.read_csv(finished.folder / "results" / "tiny" / f"{what}.csv")
    return list(table[column].unique())


def test_figures_and_tables_show_those_that_they_name(finished):
    three = ["ECT (EMA 0.9)", "ECT (EMA power 0.1)", "ECT (EMA 0.0001)"]
    assert shown(finished, "figures/all") == [*three, "AYT"]
    assert shown(finished, "figures/first") == ["ECT", "AYT"]
    assert shown(finished, "tables/scores") == ["ECT (EMA power 0.1)"]
    assert shown(finished, "tables/best") == three[1:]
    assert shown(finished, "tables/speed") == [*three[1:], "AYT"]
    table = pd.read_csv(finished.folder / "results/tiny/tables/averages.csv", dtype={"ema": str})
    assert len(table) == 4 * 2
    assert set(table["label"]) == {"ECT", "AYT"}
    text = (finished.folder / "results/tiny/tables/averages.md").read_text()
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| EMA")] == [
        "| EMA 0.9",
        "| EMA power 0.1",
        "| EMA 0.0001",
    ]
    about = " ".join((finished.folder / "results/tiny/about.rst").read_text().split())
    assert "are scored (ECT: EMA 0.9, EMA power 0.1, EMA 0.0001); where none is named, the first is shown." in about


def test_a_named_average_is_exported_and_sampled(finished, tmp_path, ayt):
    (record,) = finished.folder.glob("results/runs/digits/ect-*/run.yaml")
    done = ayt("export", record, "--iteration", 4, "--ema", "power0.1", "--output", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "model" / "README.md").read_text()
    assert "weights: averaged (EMA power0.1), float32" in card
    scores = Results(finished.folder / "results" / "tiny").scores
    chosen = scores[(scores["method"] == "ect") & (scores["iteration"] == 4) & (scores["steps"] == 1)]
    shown = {ema: f"| {mean:.4g} |" in card for ema, mean in zip(chosen["ema"], chosen["mean"], strict=True)}
    assert shown == {"0.9": False, "power0.1": True, "0.0001": False}
    how = ("--steps", 1, "--samples", 4, "--device", "cpu", "--output")
    for name, of in {"a": ("--model", tmp_path / "model"), "b": (record, "--ema", "power0.1"), "c": (record,)}.items():
        assert ayt("sample", *of, *how, tmp_path / f"{name}.png").returncode == 0
    first, second, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second != other
    done = ayt("sample", record, "--ema", "0.7", *how, tmp_path / "d.png")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "keeps no average '0.7'; did you mean 0.9? choose from 0.9, power0.1, 0.0001" in done.stderr
