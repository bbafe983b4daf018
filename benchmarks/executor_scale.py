"""The executor's cost as a function of the number of jobs: calls to Slurm's commands, memory, CPU time.

The jobs are empty and the Slurm is a fake of its commands that makes their outputs at once (see
``tests/fake_slurm.py``), so what is measured is Snakemake's main process with this executor in it; a dry run of the
same workflow says how much of that is Snakemake's.

    python benchmarks/executor_scale.py
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from cluster import SNAKEMAKE
from fake_slurm import install

SNAKEFILE = """
rule all:
    input: expand("out/{{i}}", i=range({jobs}))
rule one:
    output: "out/{{i}}"
    resources: runtime=10
    shell: "touch {{output}}"
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10_000], help="(default: %(default)s)")
    return parser.parse_args()


def measure(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds of the process itself, and the most memory it had, in MB."""
    begin = time.monotonic()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        seen, cpu, memory = psutil.Process(process.pid), 0.0, 0.0
        while process.poll() is None:
            try:
                times = seen.cpu_times()
                cpu, memory = times.user + times.system, max(memory, seen.memory_info().rss / 1e6)
            except psutil.Error:
                break
            time.sleep(0.1)
    if process.wait():
        sys.exit((folder / "log").read_text()[-3000:])
    return time.monotonic() - begin, cpu, memory


def main() -> None:
    options = parse()
    print(f"snakemake {version('snakemake')}, {os.cpu_count()} cores ({platform.machine()})\n")
    for jobs in options.jobs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
            (folder / "out").mkdir()
            fake, environment = install(folder / "bin")
            fake.turn(run="touch")
            common = [str(SNAKEMAKE), "--jobs", str(jobs), "--quiet", "all"]
            _, planned, plan = measure([*common, "--dry-run"], folder, environment)
            command = [*common, "--executor", "submitit", "--seconds-between-status-checks", "10"]
            seconds, cpu, memory = measure(command, folder, environment)
            calls = fake.count()
            files = sum(path.is_file() for path in (folder / ".snakemake" / "submitit").rglob("*"))
            shown = ", ".join(f"{command} {count}" for command, count in calls.items())
            print(
                f"{jobs:6d} jobs: {seconds:.0f} s; CPU {cpu:.0f} s, {1000 * cpu / jobs:.0f} ms a job; {memory:.0f} MB\n"
                f"             a dry run: CPU {planned:.0f} s, {plan:.0f} MB\n"
                f"             {sum(calls.values())} calls: {shown}; {files} files left",
                flush=True,
            )


if __name__ == "__main__":
    main()
