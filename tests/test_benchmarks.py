"""Scripts that measure still run: each says how it is used, and measures something small."""

import json
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.fixture
def start(monkeypatch, capsys):
    """Run a script in this process, which has imported what it needs; returns what it printed."""

    def run(path, *arguments):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    monkeypatch.chdir(ROOT)
    return run


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help(path, start, capsys):
    with pytest.raises(SystemExit) as left:
        start(path, "--help")
    assert left.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        ("step_time", ["--size", "embedded", "--only", "ECT", "--batch-size", "2"], "ECT"),
        ("step_time", ["--size", "embedded", "--only", "AYT", "--batch-size", "2"], "AYT"),
        ("step_time", ["--size", "paper", "--only", "transformation classifier", "--batch-size", "2"], "classifier"),
        ("frechet", ["--dimension", "32"], "5000 and 500 samples"),
    ],
)
def test_something_small(script, arguments, printed, start):
    more = ["--rounds", "2", "--steps", "1"] if script == "step_time" else ["--rounds", "1"]
    assert printed in start(ROOT / "benchmarks" / f"{script}.py", *arguments, *more)


def test_a_small_score(monkeypatch, tmp_path):
    # pytorch-fid's way takes longer than all other tests of benchmarks together.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["score.py", "--samples", "4", "--batch-size", "2", "--channels", "32"])
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "score.py"))
    options = benchmark["parse"]()
    benchmark["prepare"](options)
    assert benchmark["score_here"](options) > 0


def test_gpu_on_a_cpu(tmp_path):
    small = ["--device", "cpu", "--size", "embedded", "--batch-sizes", "2", "--precisions", "tf32", "--steps", "1"]
    small += [
        "--samples",
        "0",
        "--ways",
        "replayed",
        "--methods",
        "ect",
        "--others",
        "--no-jobs",
        "--output",
        str(tmp_path),
    ]

    def start(*arguments):
        # As a program of its own: it starts processes that import it.
        command = [sys.executable, ROOT / "benchmarks" / "gpu.py", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    start(*small)
    (written,) = tmp_path.glob("*-gpu.json")
    (row,) = json.loads(written.read_text())["rows"]
    assert row["what"] == "ect, batch 2, tf32, replayed"
    assert row["ms"] > 0 < row["kernels"]
    assert f"| {row['what']} | {row['ms']} |" in written.with_suffix(".md").read_text()
    printed = start(*small, "--baseline", str(written), "--minutes", "0")
    assert "left out, no time: ect, batch 2, tf32, replayed" in printed
