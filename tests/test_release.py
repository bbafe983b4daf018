"""A folder made by `ayt export`: what is in it, and that it loads and samples what the snapshot does."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import BIN, ROOT
from PIL import Image

from ayt.base import paths
from ayt.experiment import load
from ayt.base.files import write_text
from ayt.plan.plan import Plan
from ayt.plan.records import record_text

SCORE = {
    "evaluation": {"steps": 1, "repeats": 2, "samples": 5000},
    "metrics": {"FD (digits features)": {"mean": 12.345678, "std": 0.5}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a diffusion model of two iterations and its score, and its run."""
    folder = tmp_path_factory.mktemp("trained")
    run = Plan(load([ROOT / "tests" / "experiments" / "tiny.yaml"])).pretrained
    write_text(folder / paths.run_record(run.folder), record_text(run.spec))
    command = [BIN / "ayt", "pretrain", paths.run_record(run.folder), "--stop", "2", "--device", "cpu"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    write_text(folder / paths.score(run.folder, "steps1-abcdef12", 2), json.dumps(SCORE))
    return folder, paths.run_record(run.folder)


@pytest.fixture
def exported(trained, tmp_path, ayt):
    folder, record = trained
    done = ayt("export", record, "--iteration", 2, "--output", tmp_path / "release", cwd=folder)
    assert done.returncode == 0, done.stderr
    return tmp_path / "release"


def test_it_samples_what_the_snapshot_does(trained, exported, tmp_path, ayt):
    folder, record = trained
    how = ("--steps", "2:0.8", "--samples", 9, "--device", "cpu", "--output")
    assert ayt("sample", record, "--iteration", 2, *how, tmp_path / "a.png", cwd=folder).returncode == 0
    done = ayt("sample", "--model", exported, *how, tmp_path / "b.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_snapshots_make_an_animation(trained, tmp_path, ayt):
    folder, record = trained
    how = ("--steps", 1, "--samples", 4, "--scale", 2, "--device", "cpu", "--output", tmp_path / "training.gif")
    done = ayt("samples", record, *how, cwd=folder)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "training.gif") as animation:
        assert animation.n_frames == len(paths.snapshots(folder / record.parent))
        assert animation.width == 2 * (8 + 1 + 8)


def test_the_cards_example_runs_as_printed(exported, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 10
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "15.png")).shape == (8, 8)


def test_the_card_says_scores_and_provenance(trained, exported):
    card = (exported / "README.md").read_text()
    assert "| FD (digits features) | 1 | 12.35 | 0.5 | 2 x 5,000 |" in card
    assert "dataset: digits; batch size 16, seed 0" in card
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "model.safetensors", "run.yaml"]


def test_mistakes_are_one_line(trained, exported, tmp_path, ayt):
    folder, record = trained
    cases = [
        (("export", record, "--iteration", 2, "--output", exported), "is not empty; name a new folder"),
        (("export", record, "--iteration", 3, "--output", tmp_path / "x"), "0000003.safetensors: no such file"),
        (("sample", "--steps", 1, "--output", "x.png"), "name either a run's record, with --iteration if you like, or"),
        (("sample", record, "--steps", 1, "--output", "x.jpg"), "--output x.jpg: must end in .png, or in .gif"),
        (("sample", "--model", exported, "--steps", 1, "--output", "x.gif"), "one model makes no animation"),
        (
            ("sample", record, "--iteration", 1, "--iteration", 2, "--steps", 1, "--output", "x.png"),
            "several make an animation; name a .gif",
        ),
        (("sample", "--model", tmp_path, "--steps", 1, "--output", "x.png"), "run.yaml"),
    ]
    for arguments, message in cases:
        done = ayt(*arguments, cwd=folder)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert message in done.stderr
