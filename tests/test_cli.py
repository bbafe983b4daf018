"""The command line: help, exit codes, one line for a user's mistake, and every step by hand."""

import json

import pytest
import torch
import yaml
from conftest import BIN, ROOT
from published import write_edm_pickle

from ayt.base import paths
from ayt.base import weights
from ayt.experiment import load
from ayt.features.groups import label_names, names_for
from ayt.networks.modules.vgg import VGG
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.plan.plan import Plan

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
    "export",
    "sample",
    "tangents",
    "oscillation",
    "manifold",
    "toy",
    "figure",
    "table",
    "draw",
    "about",
    "summary",
    "status",
    "plan",
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
    wrong = call("score", record, "--iteration", 4, "--steps", "1", *scoring, "--metric", "kid", *here, code=1)
    assert "--metric kid: needs more than 5 features" in wrong.stderr
    wrong = call("score", record, "--iteration", 4, "--steps", "1", *scoring, "--metric", "lpips", *here, code=1)
    assert "--metric lpips: needs --denoise T and --steps 1" in wrong.stderr
    wrong = call("score", record, "--iteration", 3, "--steps", "1", *scoring, *here, code=1)
    assert "0000003.safetensors: no such file" in wrong.stderr
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
    assert "comes from other weights than those that are called theirs now" in again.stderr


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
