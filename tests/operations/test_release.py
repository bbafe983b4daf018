"""A folder made by `ayt export`: what is in it, and that it loads and samples what the snapshot does."""

import json
import re
import subprocess
import sys

import forked
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ayt.assets.table import find_table
from ayt.base import paths
from ayt.base.files import write_text
from ayt.base.source import source_commit
from ayt.experiment import load
from ayt.operations import release
from ayt.plan.plan import Plan

PLAN = Plan(load([ROOT / "tests" / "experiments" / "tiny.yaml"]))
SUMMARY = {"mean": 12.345678, "std": 0.5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a diffusion model of two iterations and its score, and its run."""
    folder = tmp_path_factory.mktemp("trained")
    run = PLAN.pretrained
    write_text(folder / paths.run_record(run.folder), run.record.text)
    done = forked.run("train", paths.run_record(run.folder), "--stop", 2, "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    score = PLAN.scores_of(run.name)[0]
    metrics = {"frechet": SUMMARY, "kid": SUMMARY}
    found = {"dataset": "digits", "record": score.content(), "metrics": metrics}
    write_text(folder / score.result(run.folder, 2), json.dumps(found))
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
    done = ayt("sample", record, *how, cwd=folder)
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
    assert "| FD (digits features) | 1 | 12.35 | 0.5 | 2 x 32 |" in card
    assert "| KID (digits features) | 1 | 12.35 | 0.5 | 2 x 32 |" in card
    assert f"trained by commit {source_commit()}" in card
    assert str(exported.parent) not in card  # whoever reads it has it elsewhere
    assert "dataset: digits; batch size 16, seed 0" in card
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "model.safetensors", "run.yaml"]


def test_mistakes_are_one_line(trained, exported, tmp_path, ayt):
    folder, record = trained
    cases = [
        (("export", record, "--iteration", 2, "--output", exported), "is not an empty folder; name a new one"),
        (("export", record, "--iteration", 2, "--output", "/dev/null"), "/dev/null: is not an empty folder"),
        (("export", record, "--iteration", 3, "--output", tmp_path / "x"), "0000003.safetensors: no such file"),
        (
            ("sample", "--steps", 1, "--output", "x.png"),
            "name either a run's record, with --iteration and --ema if you like",
        ),
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


@pytest.mark.parametrize("steps", ["2:nan", "2:inf", "2:0.001", "2:90", "3:0.5,0.8", "2:0.5,0.4", "0", "x"])
def test_impossible_noise_levels_are_wrong_usage(trained, ayt, steps):
    folder, record = trained
    done = ayt("sample", record, "--steps", steps, "--output", "x.png", cwd=folder)
    assert done.returncode == 2
    assert f"--steps: '{steps}'" in done.stderr


def test_licences_are_those_of_the_table_that_everything_else_reads(tmp_path, monkeypatch):
    """Where the package was installed without the repository, the working folder has the table."""
    monkeypatch.chdir(tmp_path)
    assert find_table(paths.ASSET_TABLE) == ROOT / paths.ASSET_TABLE
    monkeypatch.setattr("ayt.assets.table.ROOT", tmp_path / "installed")
    monkeypatch.setattr(release, "find_origin", lambda run: {"teacher": "0" * 64})
    (unknown,) = release._origin(PLAN.pretrained.record, paths.ASSET_TABLE)
    assert "licence: see where it comes from" in unknown
    entry = "{file: f, url: 'https://example.org/f', licence: CC BY 4.0, used_for: tests}"
    write_text(paths.ASSET_TABLE, f"teacher: {entry}\n")
    (known,) = release._origin(PLAN.pretrained.record, paths.ASSET_TABLE)
    assert "licence: CC BY 4.0" in known
