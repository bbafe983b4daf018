"""Two experiments beside each other."""

import json

import pytest
import yaml

from ayt import cli
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.comparison import compare_scores, compare_settings


@pytest.fixture
def pair(tiny, tmp_path, monkeypatch):
    """Two files: the second has another learning rate for ECT, a method less and a figure more."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(tiny.read_text())
    for name, change in {
        "a": {"figures": {}},
        "b": {"figures": {"last": {"kind": "final"}}, "methods": {"ect": {"lr": 0.5}, "ayt": None}, "seeds": [0, 1]},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**content, "batch_sizes": [4], **change}))
    return load([tmp_path / "a.yaml"]), load([tmp_path / "b.yaml"])


def write_scores(experiment, values):
    """Scores of all runs at their ends: ``values`` by method and seed."""
    plan = Plan(experiment)
    for method, run in plan.methods_and_runs():
        for score in plan.scores_of(run.name):
            path = score.result(run.folder, run.iterations)
            path.parent.mkdir(parents=True, exist_ok=True)
            mean = values[method, run.record.seed] / score.sampling.steps
            path.write_text(json.dumps({"metrics": {"frechet": dict.fromkeys(("mean", "std", "min", "max"), mean)}}))


def test_settings_that_differ(pair):
    rows = {key: values for key, *values in compare_settings(*pair)}
    first, second = rows.pop("figures.last")
    assert (first, second.split()[1]) == ("-", "settings")
    assert rows == {
        "methods.ect.lr": [str(pair[0].methods["ect"].lr), "0.5"],
        "methods.ect.seeds": ["[0]", "[0, 1]"],
        "methods.ayt.seeds": ["[0]", "[0, 1]"],
    }
    assert list(compare_settings(pair[0], pair[0])) == []


def test_scores_of_what_both_have(pair, capsys):
    assert cli.main(["compare", "a.yaml", "b.yaml"]) == 0
    assert "there are no scores that both have" in capsys.readouterr().out
    write_scores(pair[1], {("ect", 0): 30.0, ("ect", 1): 50.0, ("ayt", 0): 20.0, ("ayt", 1): 20.0})
    write_scores(pair[0], {("ect", 0): 60.0, ("ayt", 0): 20.0})
    table = compare_scores(*map(Plan, pair)).set_index(["label", "steps"])
    ect = table.loc[("ECT", 1)]
    assert (ect["mean_first"], ect["mean_second"], ect["seeds_first"], ect["seeds_second"]) == (60, 40, 1, 2)
    assert table.loc[("AYT", 2), ["mean_first", "mean_second"]].tolist() == [10, 10]
    assert cli.main(["compare", "a.yaml", "b.yaml"]) == 0
    assert "60.00 at 8 (1 seed)" in (said := capsys.readouterr().out) and "40.00 ± 14.14 at 8 (2 seeds)" in said


def test_equal_scores_are_only_counted(pair, capsys):
    write_scores(pair[0], {("ect", 0): 60.0, ("ayt", 0): 20.0})
    assert cli.main(["compare", "a.yaml", "a.yaml"]) == 0
    said = capsys.readouterr().out
    assert said == "no setting differs\nfinal scores: 0 differ, 4 are equal\n"
