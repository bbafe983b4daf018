"""What is said when an experiment is done: it fits a screen, and says what the scores say."""

import pytest
from conftest import ROOT
from test_drawing import write_score

from ayt.base import paths
from ayt.base.files import write_text
from ayt.base.stopped import Stopped
from ayt.cli import main
from ayt.experiment import load, resolved
from ayt.plan.plan import Plan
from ayt.reporting.closing import LINES, WIDTH, closing_lines
from ayt.reporting.scores import gather_scores, write_scores


def finished(file, value, **changes):
    """The plan of an experiment whose last scores are ``value`` of method, batch size and seed."""
    plan = Plan(load([ROOT / file], changes))
    resolved.write(paths.resolved_experiment(plan.experiment.name), plan.experiment)
    for name, run in plan.methods_and_runs():
        for snapshot in run.snapshots:
            for score in plan.scores_of(run.name):
                mean = value(name, run.record.batch_size, run.record.seed)
                write_score(score, run, snapshot.iteration, frechet=mean)
    write_scores(paths.scores_table(plan.experiment.name), gather_scores(plan))
    return plan


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_demos_last_words(capsys):
    def value(method, batch_size, seed):
        return 10 + seed + (20 if method == "ect" and batch_size == 8 else 0)

    plan = finished("config/embedded.yaml", value)
    write_text(paths.figure("embedded", "samples", "png"), "")
    assert main(["summary", "results/embedded/experiment.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == closing_lines(plan)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert text.isascii()
    said = " ".join(text.split())
    assert "16 runs of 6 methods on digits. FD (digits features) after 480 iterations, in one step;" in said
    assert "ECT 31.00 +/- 1.00 11.00 +/- 1.00 AYT 11.00 +/- 1.00 11.00 +/- 1.00" in said
    assert "the mean of AYT is 20.00 better than that of ECT, beyond the spread over seeds" in said
    assert "Look at results/embedded/figures/samples.png Scores results/embedded/scores.csv Next" in said
    assert "report.html" not in said  # there is none yet


def test_an_experiment_with_many_methods_and_batch_sizes_fits_too():
    sweep = {"hybrid": {"lambda": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "seeds": [0]}}
    plan = finished(
        "tests/experiments/tiny.yaml",
        lambda method, batch_size, seed: batch_size + seed if method != "ayt" or seed else float("nan"),
        methods=sweep,
        batch_sizes=[1, 2, 3, 4, 5, 6],
        seeds=[0, 1],
    )
    lines = closing_lines(plan)
    assert len(lines) <= LINES
    assert "and 1 method more" in lines
    (head,) = (line for line in lines if line.strip().startswith("batch"))
    assert head.split() == ["batch", "1", "batch", "2", "batch", "5", "batch", "6"]
    assert any("1 of 2 failed" in line for line in lines)
    assert any(line.startswith("Failed: AYT, batch size 1, seed 0") for line in lines)


def test_runs_that_were_stopped_have_an_asterisk_and_are_named():
    methods = {"ect": {"stop": {"diverged": True}}}
    plan = finished("config/embedded.yaml", lambda *run: 10 + sum(run[1:]), methods=methods)
    Stopped(320, "it diverged", diverged=True).write(plan.run("ect", 8, 0).last.path)
    write_scores(paths.scores_table("embedded"), gather_scores(plan))
    lines = closing_lines(plan)
    row = next(line for line in lines if line.startswith("ECT "))
    assert row.count("*") == 1 and row.split(" *")[0].endswith("19.00 +/- 1.00")
    assert "ECT, batch size 8, seed 0 (stopped" in " ".join(lines)
    assert " ".join(lines).isascii()
