"""What `ayt doctor` says of machines that lack something."""

import os
import shutil

import pytest

from ayt import cli
from ayt.base import paths
from ayt.operations import doctor


def answering(folder, **commands):
    """A folder of commands that print something."""
    folder.mkdir(exist_ok=True)
    for name, said in commands.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_it_says_a_line_for_each_thing(capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} >= {"machine", "disk", "torch", "GPU", "Slurm", "git", "fonts"}
    assert {line.split()[0] for line in lines} <= {"ok", "note"}


def test_slurm_whole_in_part_and_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", answering(tmp_path / "none"))
    assert doctor._slurm().told == "none: --profile slurm does not work here, --profile local does"
    monkeypatch.setenv("PATH", answering(tmp_path / "some", sbatch="slurm 24.05", squeue="", scancel=""))
    assert doctor._slurm().told == "--profile slurm lacks sacct, scontrol"
    answering(tmp_path / "some", sacct="", scontrol="", sinfo="slurm 24.05.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'some'}:{os.defpath}")
    assert doctor._slurm() == ("Slurm", "ok", "slurm 24.05.1")


def test_a_full_disk_and_one_that_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "not there yet")
    assert doctor._disk().told.endswith("not there yet") or doctor._disk().state == "note"
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e30)
    assert doctor._disk().state == "note"
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert doctor._disk() == ("disk", "fails", f"{tmp_path}: cannot be written to; AYT_RESULTS names another folder")


def test_a_driver_that_torch_cannot_use(tmp_path, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch can use this machine's GPU")
    monkeypatch.setenv("PATH", f"{answering(tmp_path / 'bin', **{'nvidia-smi': '470.57'})}:{os.environ['PATH']}")
    _, gpu = doctor._torch()
    assert gpu.state == "note"
    assert "driver 470.57" in gpu.told and "jobs run on the CPU" in gpu.told


@pytest.mark.parametrize(
    ("architecture", "on", "not_on"),
    [
        ("sm_86", [(8, 6), (8, 9)], [(8, 0), (9, 0), (7, 5)]),
        ("sm_90a", [(9, 0)], [(10, 0)]),
        ("sm_100f", [(10, 0), (10, 3)], [(12, 0)]),
        ("compute_90", [(9, 0), (12, 0)], [(8, 6)]),
        ("gfx90a", [], [(9, 0)]),
    ],
)
def test_code_runs_on_gpus_that_it_was_compiled_for(architecture, on, not_on):
    assert [capability for capability in [*on, *not_on] if doctor.runs_on(architecture, *capability)] == on


def test_no_git(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda command: None)
    assert doctor._git().state == "note"
