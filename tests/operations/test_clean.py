"""What `ayt clean` takes, and what it leaves to other experiments."""

import fcntl
from pathlib import Path

import pytest
import yaml

from ayt import cli
from ayt.base import paths
from ayt.base.errors import UserError
from ayt.experiment import load, resolved
from ayt.operations.clean import find_owned, remove, size_of
from ayt.plan.plan import Plan


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def all_files(plan):
    """Every file that an experiment's jobs would leave."""
    name = plan.experiment.name
    made = [paths.scores_table(name), *(paths.figure(name, figure, "png") for figure in plan.experiment.figures)]
    for run in plan.runs.values():
        for segment in run.segments:
            made += [paths.snapshot(run.folder, iteration) for iteration in segment.iterations]
            made += [paths.state(run.folder, segment.stop), paths.training_log(run.folder, segment.stop)]
            made.append(paths.job_log("train", "digits", run.name, f"{segment.stop:07d}"))
    made += [*plan.scores(), *(grid.result(run.folder, run.iterations) for run, grid in plan.grids())]
    made += [plan.reference.path, *(analysis.path for analysis in plan.analyses.values())]
    made += [path for path, _ in plan.records()]
    for anchor in plan.anchors.values():
        made += [anchor.path, paths.job_log("anchor", "digits", anchor.name)]
    return [*made, paths.resolved_experiment(name)]


@pytest.fixture
def made(tiny, tmp_path, monkeypatch):
    """Two experiments that share ECT's runs, all of whose files are there; returns their plans, ``mine`` first."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(tiny.read_text())
    plans = []
    for name, change in {
        "mine": {
            "training": {**content["training"], "iterations": 12},
            "anchors": {"own": {"steps": 3}, "shared": {"steps": 2}},
        },
        "other": {
            "methods": {"ect": None},
            "batch_sizes": [4],
            "figures": {"curves": {"kind": "curves"}},
            "tables": {},
            "anchors": {"shared": {"steps": 2}},
        },
    }.items():
        write(tmp_path / "config" / f"{name}.yaml", yaml.safe_dump({**content, **change}))
        plan = Plan(load([tmp_path / "config" / f"{name}.yaml"]))
        for file in all_files(plan):
            write(file)
        resolved.write(paths.resolved_experiment(name), plan.experiment)
        plans.append(plan)
    write(paths.ASSETS / "downloads" / "archive")
    return plans


def owned(plan):
    return find_owned([plan.experiment], Path("config"))


def test_it_takes_what_no_other_asks_for(made):
    mine, other = made
    kept = {*all_files(other), paths.ASSETS / "downloads" / "archive"}
    remove(owned(mine))
    assert {path for path in paths.RESULTS.rglob("*") if path.is_file()} == kept
    assert owned(mine) == []
    Path("config/mine.yaml").unlink()  # while it is there it might be run again
    remove(owned(other))
    assert [path for path in paths.RESULTS.rglob("*") if path.is_file()] == [paths.ASSETS / "downloads" / "archive"]


def test_of_a_shared_run_it_takes_the_longer_training(made):
    mine, _ = made
    (run,) = [run for run in mine.trained if run.record.batch_size == 4 and run.name.startswith("ect")]
    inside = {path for path, _ in owned(mine) if run.folder in path.parents}
    named = {path.relative_to(run.folder).parts[0] for path in inside}
    assert named == {"snapshots", "states", "logs", "scores", "grids"}
    assert {int(path.stem) for path in inside if path.is_file()} == {10, 12}


def test_one_that_was_run_from_elsewhere_keeps_its_runs(made, tmp_path):
    (tmp_path / "config" / "other.yaml").unlink()
    (run,) = made[1].trained
    assert run.folder not in {path for path, _ in owned(made[0])}
    paths.resolved_experiment("other").unlink()
    assert run.folder in {path for path, _ in owned(made[0])}


def test_it_only_lists_unless_it_is_told(made, capsys):
    before = sorted(paths.RESULTS.rglob("*"))
    assert cli.main(["clean", "config/mine.yaml"]) == 0
    listed = capsys.readouterr().out
    assert "results/mine\n" in listed and "--remove removes it" in listed
    assert sorted(paths.RESULTS.rglob("*")) == before
    assert cli.main(["clean", "config/mine.yaml", "config/other.yaml", "--remove"]) == 0
    assert [path for path in paths.RUNS.rglob("*") if path.is_file()] == []


def test_nothing_is_removed_while_a_workflow_runs_or_where_others_are_unknown(made, capsys):
    before = {path for path in paths.RESULTS.rglob("*") if not path.name.startswith(".workflow")}
    with (paths.RESULTS / ".workflow.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert cli.main(["clean", "config/mine.yaml", "--remove"]) == 1
    assert "another workflow works here" in capsys.readouterr().err
    assert cli.main(["clean", "config/mine.yaml", "--remove", "--others", "elsewhere"]) == 1
    assert "elsewhere: is not a folder" in capsys.readouterr().err
    assert {path for path in paths.RESULTS.rglob("*") if not path.name.startswith(".workflow")} == before


def test_a_run_under_way_or_a_broken_file_stops_it(made, tmp_path):
    run = next(run for run in made[0].trained if run.name.startswith("ayt"))
    lock = paths.resume_folder(run.folder) / "holder.lock"
    write(lock)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"{run.name}: is being trained; stop that first"):
            owned(made[0])
    write(tmp_path / "config" / "broken.yaml", "methods: [ectt]")
    with pytest.raises(UserError, match=r"config/broken.yaml: what it shares cannot be determined"):
        owned(made[0])


def test_sizes_are_those_of_files_once_and_links_lead_nowhere(tmp_path):
    write(tmp_path / "a" / "file", "12345")
    (tmp_path / "a" / "again").hardlink_to(tmp_path / "a" / "file")
    write(tmp_path / "large", "x" * 10_000)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "large")
    assert size_of(tmp_path / "a") == 5 + len(str(tmp_path / "large"))
