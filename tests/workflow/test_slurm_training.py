"""Trainings on a real Slurm: whatever happens to their jobs, the weights are those of an undisturbed run."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import Main, started, until
from conftest import BIN, ROOT

from ayt.base import paths
from ayt.experiment import load
from ayt.plan.plan import Plan

pytestmark = pytest.mark.slurm
TINY = ROOT / "tests" / "experiments" / "tiny.yaml"
STOP = 2000

# By linuxproc every process of a job gets Slurm's signals; by cgroup only the task that submitit runs.
TRACKING = {"linuxproc": 0, "cgroup": 1}


@pytest.fixture(scope="module", params=TRACKING)
def slurm(request):
    if request.param == "cgroup" and not os.access("/sys/fs/cgroup/freezer", os.W_OK):
        pytest.skip("needs cgroups version 1 (freezer, memory), which this machine does not have")
    with started(CGROUP=TRACKING[request.param]) as cluster:
        yield cluster


CASES = {
    "calm": "nodelist='node2'",
    "limit": "nodelist='node2', runtime=1",
    "requeue": "nodelist='node2'",
    "grace": "nodelist='node3', partition='preempt'",
    "no_grace": "nodelist='node3', partition='preempt0'",
    # Too many CPUs for the other nodes while those above run there.
    "node": "exclude='node2'",
}


@pytest.fixture(scope="module")
def disturbed(slurm, tmp_path_factory):
    """One run, trained in six folders by one Snakemake; all but one of its jobs are disturbed."""
    folder = tmp_path_factory.mktemp("disturbed")
    run = Plan(load([TINY])).pretrained
    subprocess.run([BIN / "ayt", "record", TINY], cwd=folder, check=True, capture_output=True)
    rules = [f"rule all:\n    input: {[f'{case}/snapshots/{STOP:07d}.safetensors' for case in CASES]}"]
    for case, resources in CASES.items():
        (folder / case).mkdir()
        shutil.copy(folder / paths.run_record(run.folder), folder / case)
        rules.append(
            f"rule {case}:\n"
            f"    input: '{case}/run.yaml'\n"
            f"    output: '{case}/snapshots/{STOP:07d}.safetensors'\n"
            f"    log: 'logs/{case}.log'\n"
            f"    resources: {resources}\n"
            f"    threads: {7 if case == 'node' else 1}\n"
            f"    shell: 'ayt train {{input}} --stop {STOP} --resume-seconds 2 --device cpu --threads 1'\n"
            "           ' --take-over > {log} 2>&1'"
        )
    (folder / "Snakefile").write_text("\n".join(rules))
    environment = {**slurm.environment, "PATH": f"{BIN}:{slurm.environment['PATH']}"}
    arguments = ["--submitit-signal-seconds", 30, "--default-resources", "mem_mb=2000", "runtime=10"]
    main = Main(folder, environment, *arguments)

    saved = [paths.resume_folder(folder / case) / "state.safetensors" for case in CASES]
    until(lambda: all(map(Path.exists, saved)), "every training to have saved something", 300)
    jobs = main.submitted()
    slurm.ask("scontrol", "requeue", jobs["requeue"])
    slurm.ask("sbatch", "-p", "gpu", "-w", "node3", "--exclusive", "-t", "5", "-o", "/dev/null", "--wrap", "sleep 2")
    node = slurm.ask("squeue", "-h", "-j", jobs["node"], "-o", "%N").strip()
    assert node == "node1"
    os.kill(slurm.pid("slurmd-node1"), signal.SIGKILL)
    until(lambda: "down" in slurm.ask("sinfo", "-h", "-n", "node1", "-o", "%T"), "the node to be seen dead", 300)
    slurm.control("start")
    assert main.wait(1200) == 0, main.output
    return main, jobs


def states(slurm, job):
    return {row[2].split(" ")[0] for row in slurm.accounts() if row[0] == job}


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("limit", "REQUEUED"),
        ("requeue", "REQUEUED"),
        ("grace", "PREEMPTED"),
        ("no_grace", "PREEMPTED"),
        ("node", "NODE_FAIL"),
    ],
)
def test_disturbed_jobs_go_on_and_end_with_the_same_bytes(slurm, disturbed, case, state):
    main, jobs = disturbed
    snapshot = f"snapshots/{STOP:07d}.safetensors"
    assert (main.folder / case / snapshot).read_bytes() == (main.folder / "calm" / snapshot).read_bytes()
    # The disturbance was one, Slurm counts it as the same job, and the training went on where it was.
    assert {state, "COMPLETED"} <= states(slurm, jobs[case])
    assert "resuming at iteration" in (main.folder / "logs" / f"{case}.log").read_text()
    own = (main.folder / "logs" / f"{case}.slurm-{jobs[case]}.log").read_text()
    assert "restarts: 0" in own and "restarts: 1" in own


def test_no_disturbance_spent_a_retry(slurm, disturbed):
    main, jobs = disturbed
    assert sorted(jobs) == sorted(CASES)
    assert main.output.count(": slurm job ") == len(CASES)
    assert "Error in rule" not in main.output
    assert states(slurm, jobs["calm"]) == {"COMPLETED"}
