"""The command line: help, exit codes, one line for a user's mistake, and every step by hand."""

import json

import pytest
from conftest import BIN, ROOT

from ayt import paths
from ayt.config import load
from ayt.plan import Plan

VERBS = [
    "check",
    "runs",
    "record",
    "assets",
    "prepare",
    "import-checkpoint",
    "pretrain",
    "train-classifier",
    "train",
    "reference",
    "score",
    "recognise",
    "gather",
    "sample",
    "figure",
    "table",
    "summary",
]


def test_help_lists_every_verb(ayt):
    done = ayt("--help")
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line.strip()}
    assert listed >= set(VERBS)
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example(ayt, verb):
    done = ayt(verb, "--help")
    assert done.returncode == 0
    assert f"Example:\n  ayt {verb}" in done.stdout


def test_help_does_not_wait_for_torch():
    import subprocess

    code = "import sys, ayt.cli; ayt.cli.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([BIN / "python", "-c", code], check=False).returncode == 0


def test_check_of_every_shipped_experiment(ayt):
    for file in sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / paths.ASSET_TABLE}):
        done = ayt("check", file)
        assert done.returncode == 0, done.stderr
        assert f"{file.stem}: valid" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "nowhere.yaml"], 1, "error: nowhere.yaml: no such file"),
        (["train", "nowhere/run.yaml", "--stop", "4"], 1, "error: nowhere/run.yaml: no such file"),
        (["train", "run.yaml", "--stop", "-4"], 2, "'-4' is not a whole number above 0"),
        (["train", "run.yaml"], 2, "the following arguments are required: --stop"),
        (["score", "run.yaml", "--features", "run.yaml"], 2, "'run.yaml' is not like inception or RUN.YAML@ITERATION"),
        (
            ["reference", "--dataset", "digit", "--features", "inception", "--output", "x.npz"],
            1,
            "error: --dataset: dataset.name = 'digit': unknown; did you mean digits?",
        ),
        (["prepare", "cifar10", "nowhere.tar.gz"], 1, "error: nowhere.tar.gz: no such file"),
        (["import-checkpoint", "nowhere.pkl"], 1, "error: nowhere.pkl: no such file"),
        (["score", "run.yaml", "--steps", "2"], 2, "'2': 2 steps need 1 noise levels between them"),
        (["paint"], 2, "invalid choice: 'paint'"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(ayt, tmp_path, arguments, code, message):
    done = ayt(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_every_step_by_hand(ayt, tiny, tmp_path):
    """The chain without Snakemake, on one run; wrong turns are refused on the way."""
    plan = Plan(load([tiny]))

    def call(*arguments, code=0):
        done = ayt(*arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    assert len(call("record", tiny).stdout.splitlines()) == len(plan.runs)
    run = next(run for run in plan.trained if run.name.startswith("ayt"))
    record = paths.run_record(run.folder)
    refused = call("train", record, "--stop", 4, "--device", "cpu", code=1)
    assert "no such file" in refused.stderr
    labels = paths.run_record(plan.features.classifier.run.folder)
    here = ["--device", "cpu", "--threads", 1]
    call("pretrain", paths.run_record(plan.pretrained.folder), "--stop", 8, *here)
    call("train-classifier", paths.run_record(plan.classifier("transformations").folder), "--stop", 8, *here)
    call("train-classifier", labels, "--stop", 8, *here)
    assert "is a run for ayt train" in call("pretrain", record, "--stop", 4, code=1).stderr
    assert (
        "--device cuda:77: not on this machine; choose from auto, cpu"
        in call("train", record, "--stop", 4, "--device", "cuda:77", code=1).stderr
    )
    call("train", record, "--stop", 4, "--snapshot-every", 2, *here)
    features = ["--features", plan.features.argument]
    call("reference", "--dataset", "digits", *features, "--output", plan.features.reference, *here)
    scoring = [*features, "--reference", plan.features.reference, "--metric", "frechet"]
    scoring += ["--samples", 32, "--repeats", 2, "--grid", 16]
    call("score", record, "--iteration", 2, "--iteration", 4, "--steps", "1", "--steps", "2:0.821", *scoring, *here)
    for evaluation in plan.evaluations:
        score = json.loads((tmp_path / paths.score(run.folder, evaluation.name, 4)).read_text())
        (values,) = score["metrics"].values()
        assert list(score["metrics"]) == ["FD (digits features)"]
        assert len(values["values"]) == 2
        assert values["min"] <= values["mean"] <= values["max"]
    wrong = call("score", record, "--iteration", 3, "--steps", "1", *scoring, *here, code=1)
    assert "0000003.safetensors: no such file" in wrong.stderr
    call("sample", record, "--iteration", 4, "--steps", "1", "--samples", 10, "--output", "grid.png", *here)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
