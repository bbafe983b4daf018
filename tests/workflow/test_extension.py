"""Kinds of one's own, from a file that an experiment names: through the whole workflow, and by hand."""

import json
import os
import re
import shutil

import forked
import pytest
import torch
import yaml
from conftest import ROOT

from ayt.base import paths
from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.images import to_uint8
from ayt.base.kinds import EXTENSIONS, load_extensions
from ayt.evaluation.sampling import draw_samples
from ayt.metrics.base import sample_metrics
from ayt.plan.evaluations import read_grid
from ayt.plan.runs import read_run
from ayt.training.work import load_denoiser, work_of

EXTENSION = ROOT / "tests" / "extension.py"
EXPERIMENT = {
    "extensions": ["extension.py"],
    "dataset": {"name": "shapes", "images": 90},
    "network": {"channels": 16, "channel_mult": [1], "blocks": 1, "attention": [], "conditional": True},
    "start": {"pretrain": {"iterations": 4, "batch_size": 16}},
    "classifiers": {"labels": {"task": "labels", "widths": [8], "convs": [1], "iterations": 4, "batch_size": 16}},
    "training": {"iterations": 4, "ema": 0.5, "lr": 1e-3},
    "batch_sizes": [8],
    "methods": {"distillation": {"c": 0.03}},
    "evaluation": {"steps": [1], "samples": 32, "repeats": 1, "grid": 30, "metrics": ["frechet", "mean_shift"]},
    "figures": {"by_class": {"kind": "by_class", "columns": 5}},
    "tables": {"scores": {"metric": "mean_shift"}},
    "execution": {"device": "cpu"},
}


def snakemake(folder, *more):
    where = ["--snakefile", ROOT / "workflow" / "Snakefile", "--directory", folder, "--profile", ROOT / "local"]
    done = forked.snakemake([*more, *where, "--configfile", folder / "mine.yaml"])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished experiment of kinds that the package knows nothing of."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(EXTENSION, folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    snakemake(folder)
    return folder


@pytest.fixture
def run(finished, monkeypatch):
    """The record of its consistency run."""
    monkeypatch.chdir(finished)
    load_extensions([str(finished / "extension.py")])
    (found,) = finished.glob("results/runs/shapes/distillation-*/run.yaml")
    return read_run(found)


def test_everything_is_made_and_nothing_is_left_to_do(finished):
    page = finished / "report.html"
    snakemake(finished, "--report", page)
    assert "by_class.png" in page.read_text()
    for suffix in ("png", "pdf", "csv", "html"):
        assert (finished / f"results/mine/figures/by_class.{suffix}").stat().st_size
    assert "Mean shift (shapes features)" in (finished / "results/mine/tables/scores.md").read_text()
    assert "Nothing to be done" in snakemake(finished, "--dry-run")


def test_the_package_knows_none_of_them():
    names = re.findall(r'name: ClassVar\[str\] = ("\w+")', EXTENSION.read_text())
    assert len(names) == 4
    text = "".join(path.read_text() for path in (ROOT / "ayt").rglob("*.py"))
    assert not [name for name in names if name in text]


def test_scores_hold_the_metric_beside_the_usual_ones(finished, run):
    (file,) = finished.glob(f"{run.folder}/scores/*/*.json")
    standard = {metric.name for metric in sample_metrics()}
    assert set(json.loads(file.read_text())["metrics"]) == {*standard, "mean_shift"}
    rows = (finished / "results/mine/scores.csv").read_text().splitlines()
    assert sum(",mean_shift," in row for row in rows) == sum(",frechet," in row for row in rows) == 1


def test_samples_are_of_each_class_in_turn(finished, run):
    (file,) = finished.glob(f"{run.folder}/grids/*/record.yaml")
    grid, cpu = read_grid(file), torch.device("cpu")
    network = load_denoiser(run, paths.snapshot(run.folder, 4))
    sampled = run.training.sampled_denoiser(work_of(run, run.folder, cpu, network))
    told, untold = (
        draw_samples(sampled, grid.sampling, 0, range(30), run.dataset.shape, classes, cpu) for classes in (3, 0)
    )
    kept = torch.from_numpy(read_arrays(grid.result(run.folder, 4), "images")["images"])
    assert run.classes == 3
    assert (kept.int() - to_uint8(told).int()).abs().max() <= 1
    assert not torch.allclose(told, untold)


def test_training_by_hand_needs_the_extension_in_the_environment(finished, run, tmp_path, ayt):
    shutil.copytree(finished / "results", tmp_path / "results")
    record = tmp_path / run.folder / "run.yaml"
    for left in set(record.parent.iterdir()) - {record}:
        shutil.rmtree(left)
    command = ("train", run.folder / "run.yaml", "--stop", "4", "--device", "cpu", "--threads", "1")
    alone = ayt(*command, cwd=tmp_path, env=os.environ)
    assert alone.returncode == 1
    (line,) = alone.stderr.splitlines()
    assert "loss = 'distillation': unknown method" in line
    assert f"if an extension defines it, {EXTENSIONS} must name its file" in line
    done = ayt(*command, cwd=tmp_path, env={**os.environ, EXTENSIONS: str(finished / "extension.py")})
    assert done.returncode == 0, done.stderr
    snapshot = paths.snapshot(run.folder, 4)
    assert (tmp_path / snapshot).read_bytes() == (finished / snapshot).read_bytes()


TWICE = """
from ayt.metrics.base import METRICS, SampleMetric
class Mine(SampleMetric):
    name = "NAME"
    label = "Mine"
    def compute(self, samples, real):
        return 0.0
METRICS.register(Mine)
"""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "extension .*gone.py: no Python file .*gone.py"),
        ("mine.txt", "", "extension .*mine.txt: no Python file .*mine.txt"),
        ("unclosed.py", "x = (", r"extension .*unclosed.py: cannot be loaded: SyntaxError: .*line 1"),
        ("raises.py", "raise ValueError('first\\nsecond')", "raises.py: cannot be loaded: ValueError: first second"),
        ("nameless.py", TWICE.replace('    name = "NAME"\n', ""), "nameless.py: metric Mine has no name"),
        ("idle.py", TWICE.replace("compute", "computes"), "idle.py: metric Mine does not define compute"),
        (
            "shipped.py",
            TWICE.replace("NAME", "kid"),
            "shipped.py: metric Mine: the name 'kid' is taken by .*kid.py",
        ),
        (
            "twice.py",
            TWICE.replace("NAME", "a_metric_of_two")
            + TWICE.replace("NAME", "a_metric_of_two").replace("Mine", "Other"),
            "twice.py: metric Other: the name 'a_metric_of_two' is taken by .*twice.py",
        ),
    ],
)
def test_an_extension_that_fails_is_one_line(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_extensions([str(path)])
    assert "\n" not in str(caught.value)


def test_two_extensions_of_one_file_name_are_two(tmp_path):
    text = TWICE.replace("NAME", "a_metric_of_two_files")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(text)
    load_extensions([str(tmp_path / "a" / "mine.py")] * 2)
    with pytest.raises(UserError, match=r"b/mine.py: metric Mine: the name .* is taken by .*a/mine.py"):
        load_extensions([str(tmp_path / "b" / "mine.py")])


def test_an_experiment_says_so_before_anything_else(tmp_path, ayt):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**EXPERIMENT, "extensions": ["gone.py"]}))
    done = ayt("check", file, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: extension gone.py: no Python file {tmp_path}/gone.py\n")
