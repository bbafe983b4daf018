"""The overhead of a job on a cluster: this executor and the official one, in turn on one Slurm.

So many jobs that do nothing go through each; counted are the seconds from start to end and every call of a command of
Slurm. The Slurm is a real one, started on this machine as for the tests (root on Debian).

    pip install snakemake-executor-plugin-slurm
    python benchmarks/slurm_jobs.py
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from cluster import SNAKEMAKE, started

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "srun", "sacctmgr")
SNAKEFILE = """
rule all:
    input: expand("out/{{i}}", i=range({jobs}))
rule one:
    output: "out/{{i}}"
    resources: runtime=5, mem_mb=600
    shell: "touch {{output}}"
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each, in turn (default: %(default)s)")
    return parser.parse_args()


def count_commands(folder: Path) -> Path:
    """A folder for PATH whose commands record their calls."""
    folder.mkdir()
    for command in COMMANDS:
        if real := shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin"):
            (folder / command).write_text(f'#!/bin/sh\necho {command} >> {folder}/calls\nexec {real} "$@"\n')
            (folder / command).chmod(0o755)
    return folder


def measure(executor: str, jobs: int, environment: dict[str, str]) -> tuple[float, dict[str, int]]:
    """Seconds that the jobs took, and the number of calls of each command, by Snakemake and by the jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
        commands = count_commands(folder / "commands")
        command = [str(SNAKEMAKE), "--executor", executor, "--jobs", str(jobs)]
        command += ["--default-resources", "slurm_partition=gpu", "--seconds-between-status-checks", "10"]
        command += ["--latency-wait", "30"]
        begin = time.monotonic()
        done = subprocess.run(
            command,
            cwd=folder,
            env={**environment, "PATH": f"{commands}:{environment['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begin
        if done.returncode or len(list((folder / "out").iterdir())) != jobs:
            sys.exit(f"{executor} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        calls = (commands / "calls").read_text().split()
    return seconds, {name: calls.count(name) for name in COMMANDS if name in calls}


@contextmanager
def keep_configuration(configuration: str) -> Iterator[None]:
    """The official executor's jobs lose the variable that says where Slurm's configuration is."""
    usual = Path("/etc/slurm/slurm.conf")
    usual.parent.mkdir(exist_ok=True)
    usual.symlink_to(configuration)
    try:
        yield
    finally:
        usual.unlink()


def main() -> None:
    options = parse()
    names = {"submitit": "ours", "slurm": f"official {version('snakemake-executor-plugin-slurm')}"}
    print(f"snakemake {version('snakemake')}, {options.jobs} jobs, 3 nodes of 8 CPUs on {os.cpu_count()} cores")
    print(f"({platform.machine()})\n")
    seconds: dict[str, list[float]] = {executor: [] for executor in names}
    with started() as cluster, keep_configuration(cluster.environment["SLURM_CONF"]):
        for _ in range(options.rounds):
            for executor, name in names.items():
                took, calls = measure(executor, options.jobs, cluster.environment)
                seconds[executor].append(took)
                shown = ", ".join(f"{command} {count}" for command, count in calls.items())
                total = sum(calls.values())
                print(f"{name:15} {took:6.1f} s  {took / options.jobs:.2f} s a job  {total} calls: {shown}", flush=True)
    ours, theirs = (sum(values) for values in seconds.values())
    print(f"\nours took {ours / theirs:.2f} of the official one's time")


if __name__ == "__main__":
    main()
