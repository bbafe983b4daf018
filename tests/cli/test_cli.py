"""The command line: help, exit codes, one line for a user's mistake, and every step by hand."""

import argparse
import json

import forked
import pytest
import torch
import yaml
from conftest import BIN, ROOT
from published import write_edm_pickle

from ayt import cli
from ayt.base import paths, weights
from ayt.base.arrays import read_arrays
from ayt.cli.sampling import parse_mids
from ayt.experiment import load
from ayt.features.groups import label_names, names_for
from ayt.metrics.base import sample_metrics
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.vgg import VGG
from ayt.plan.plan import Plan

VERBS = [
    *("check", "runs", "record", "assets", "prepare", "import-checkpoint", "train", "reference", "score", "grid"),
    *("gather", "export", "sample", "analyse", "figure", "table", "draw", "about", "summary", "status", "plan"),
    *("init", "anchor", "keys", "plot-log", "compare", "clean", "doctor", "completion"),
]


def subparsers():
    """The parser of each verb."""
    (verbs,) = [action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return verbs.choices


def test_help_lists_every_verb(ayt):
    done = ayt("--help")
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line.strip()}
    assert listed >= set(VERBS)
    assert "Exit codes" in done.stdout


def test_help_of_every_verb_has_an_example():
    assert set(subparsers()) == set(VERBS)
    for name, verb in subparsers().items():
        assert f"Example:\n  ayt {name}" in verb.format_help()
        assert all(action.help for action in verb._actions if action.option_strings or action.nargs is None), name


def test_help_does_not_wait_for_torch():
    import subprocess

    code = "import sys, ayt.cli; ayt.cli.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([BIN / "python", "-c", code], check=False).returncode == 0


def test_what_is_computed_on_a_cpu_does_not_wait_for_what_compiles():
    import subprocess

    code = (
        "import sys, torch; from argparse import Namespace; from ayt.cli.common import choose_device\n"
        "choose_device(Namespace(device='cpu', threads=1))\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "assert torch.is_deterministic_algorithms_warn_only_enabled()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([BIN / "python", "-c", code], check=False).returncode == 0


def test_bash_completes_verbs_options_and_files(tmp_path):
    import subprocess

    (tmp_path / "record.yaml").touch()
    script = subprocess.run([BIN / "ayt", "completion", "bash"], capture_output=True, text=True, check=True).stdout

    def completed(*words):
        asked = " ".join(f"'{word}'" for word in ("ayt", *words))
        code = f"{script}\nCOMP_WORDS=({asked}); COMP_CWORD={len(words)}; _shtab_ayt ayt; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.stdout.split()

    assert set(completed("plot")) == {"plot-log"}
    assert {"--stop", "--start", "--snapshot-every"} <= set(completed("train", "--s"))
    assert completed("train", "rec") == ["record.yaml"]
    assert set(completed("train", "--sink", "")) == {"tensorboard", "wandb"}


def test_check_of_every_shipped_experiment(capsys):
    for file in sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / paths.ASSET_TABLE}):
        assert cli.main(["check", str(file)]) == 0
        assert f"{file.stem}: valid" in capsys.readouterr().out


def test_what_an_experiment_asks_for_is_counted(capsys):
    file = str(ROOT / "config" / "one_hour.yaml")
    assert cli.main(["check", file]) == cli.main(["runs", file]) == 0
    said = capsys.readouterr().out
    assert "2 runs of 2 methods, 16,000 iterations in all\n  1 training run before them" in said
    assert "8,000 iterations in 1 segment\n" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "nowhere.yaml"], 1, "error: nowhere.yaml: no such file"),
        (["train", "nowhere/run.yaml", "--stop", "4"], 1, "error: nowhere/run.yaml: no such file"),
        (["train", "run.yaml", "--stop", "-4"], 2, "'-4' is not a whole number above 0"),
        (["train", "run.yaml"], 2, "the following arguments are required: --stop"),
        (["score", "record.yaml", "--iteration", "4"], 1, "error: record.yaml: no such file"),
        (["analyse", "record.yaml"], 1, "error: record.yaml: no such file"),
        (["prepare", "digits", "x"], 1, "error: 'digits': no dataset that is made from an archive"),
        (["prepare", "cifar10", "nowhere.tar.gz"], 1, "error: nowhere.tar.gz: no such file"),
        (["import-checkpoint", "nowhere.pkl"], 1, "error: nowhere.pkl: no such file"),
        (["sample", "run.yaml", "--steps", "2"], 2, "'2': 2 steps need 1 noise level between them, as in 2:0.821"),
        (["paint"], 2, "invalid choice: 'paint'"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    if code == 2:
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        assert left.value.code == 2
    else:
        assert cli.main(arguments) == code
    assert message in capsys.readouterr().err


def test_every_step_by_hand(tiny, tmp_path):
    """The chain without Snakemake, on one run; wrong turns are refused on the way."""
    plan = Plan(load([tiny]))

    def call(*arguments, code=0):
        done = forked.run(*arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    assert len(call("record", tiny).stdout.splitlines()) == len(list(plan.records()))
    run = next(run for run in plan.trained if run.name.startswith("ayt"))
    record = paths.run_record(run.folder)
    here = ["--device", "cpu", "--threads", 1]
    assert "no such file" in call("train", record, "--stop", 4, *here, code=1).stderr
    for other in plan.runs.values():
        if other.record.training.stage != "train":
            call("train", paths.run_record(other.folder), "--stop", 8, *here)
    wrong = call("train", record, "--stop", 4, "--device", "cuda:77", code=1).stderr
    assert "--device cuda:77: not on this machine; choose from auto, cpu" in wrong
    call("train", record, "--stop", 4, "--snapshot-every", 2, *here)
    call("reference", plan.reference.record, *here)
    scores = [score.record(run.folder) for score in plan.scores_of(run.name)]
    call("score", *scores, "--iteration", 2, "--iteration", 4, *here)
    for score in plan.scores_of(run.name):
        found = json.loads((tmp_path / score.result(run.folder, 4)).read_text())["metrics"]
        assert set(found) == {metric.name for metric in sample_metrics()}
        assert len(found["frechet"]["values"]) == 2
        assert found["frechet"]["min"] <= found["frechet"]["mean"] <= found["frechet"]["max"]
    assert "0000003.safetensors: no such file" in call("score", *scores, "--iteration", 3, *here, code=1).stderr
    other = next(other for other in plan.trained if other != run)
    mixed = [scores[0], plan.scores_of(other.name)[0].record(other.folder)]
    assert f"is of run {other.name}, not of {run.name}" in call("score", *mixed, "--iteration", 4, code=1).stderr
    grid = plan.grid_of(run.name, 1)
    call("grid", grid.record(run.folder), "--iteration", 4, *here)
    assert len(read_arrays(tmp_path / grid.result(run.folder, 4))["images"]) == 16
    call("sample", record, "--iteration", 4, "--steps", "1", "--samples", 10, "--output", "grid.png", *here)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in EDM's format that fits the tiny experiment's network."""
    network = EDMPrecond(DDPMpp(8, 1, 16, (1,), 1, (), augment_labels=9))
    write_edm_pickle(tmp_path / "edm.pkl", network)
    return network


def test_checkpoints_are_imported_and_used(ayt, tiny, tmp_path, checkpoint):
    """A denoiser to start from and a classifier to look through, both published by others."""
    content = yaml.safe_load(tiny.read_text())
    content["start"] = {"checkpoint": "mine"}
    content["methods"] = {"ayt": {"classifier": "published"}}
    content.update(figures={}, tables={})
    content["classifiers"] |= {
        "published": {"checkpoint": "theirs", "group": "geo_deg", "widths": [8, 8], "convs": [1, 1]}
    }
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(yaml.safe_dump(content))
    classifier = VGG(8, 1, len(label_names(names_for("geo_deg", 1))), (8, 8), (1, 1))
    torch.save({"model": classifier.state_dict(), "step": 400_000}, tmp_path / "theirs.pt")
    done = ayt("import-checkpoint", "edm.pkl", "--name", "mine", "--for", experiment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropped on purpose, for augmentation labels: model.map_augment.weight" in done.stderr
    done = ayt("import-checkpoint", "theirs.pt", "--for", experiment, "--classifier", "published", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = Plan(load([experiment]))
    assert plan.pretrained is None
    assert ayt("record", experiment, cwd=tmp_path).returncode == 0
    run = plan.trained[0]
    trained = ayt("train", paths.run_record(run.folder), "--stop", 2, "--device", "cpu", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    tensors, _ = weights.read(tmp_path / paths.snapshot(run.folder, 2), "snapshot", run.name)
    start = checkpoint.state_dict()
    moved = {name: (tensors[name] - start[name]).abs().max().item() for name in tensors}
    assert 0 < max(moved.values()) < 1e-2
    # Other weights under the same name are not taken for those that the run began with.
    torch.save({"model": {name: 2 * value for name, value in classifier.state_dict().items()}}, tmp_path / "theirs.pt")
    assert ayt("import-checkpoint", "theirs.pt", cwd=tmp_path).returncode == 0
    again = ayt("train", paths.run_record(run.folder), "--start", 2, "--stop", 4, "--device", "cpu", cwd=tmp_path)
    assert again.returncode == 1
    assert "comes from different weights than those now called theirs" in again.stderr


def test_a_checkpoint_that_does_not_fit_is_listed(ayt, tiny, tmp_path, checkpoint):
    other = tmp_path / "other.yaml"
    other.write_text(tiny.read_text().replace("channel_mult: [1]", "channel_mult: [1, 1]"))
    done = ayt("import-checkpoint", "edm.pkl", "--for", other, cwd=tmp_path)
    assert done.returncode == 1
    assert "edm.pkl: does not fit the network of" in done.stderr
    assert "missing: model.dec.4x4_block0.affine.bias, " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / paths.ASSETS).exists()
    unknown = ayt("import-checkpoint", "edm.pkl", "--for", tiny, "--classifier", "label", cwd=tmp_path)
    assert "--classifier label: not in" in unknown.stderr and "did you mean labels?" in unknown.stderr


@pytest.mark.parametrize("steps", ["2:nan", "2:inf", "2:90", "2:0.001", "3:0.5,0.5", "2", "1:0.5", "0", "x", "2:a"])
def test_steps_have_finite_levels_that_fall(steps):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_mids(steps)
    assert parse_mids("3:2,0.5") == (2.0, 0.5)
