"""A real Slurm for tests, and Snakemake on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import forked

SNAKEMAKE = Path(sys.executable).parent / "snakemake"
SCRIPT = Path(__file__).parent / "slurm-local"


class Slurm:
    """The cluster that `slurm-local` starts, in a folder of its own."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": f"{folder}/etc/slurm.conf", "SLURM_LOCAL_DIR": str(folder)}
        self.environment |= {f"SLURM_LOCAL_{key}": str(value) for key, value in settings.items()}
        # Jobs are many and their networks tiny: one thread each.
        self.environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{SNAKEMAKE.parent}:{os.environ['PATH']}:/usr/sbin"}

    def control(self, what):
        done = subprocess.run([SCRIPT, what], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def accounts(self, fields="JobID,JobName,State,NodeList"):
        """sacct's rows of jobs, as lists of texts."""
        rows = self.ask("sacct", "-X", "-n", "-P", "--duplicates", "-S", "2020-01-01", "-o", fields).splitlines()
        return [row.split("|") for row in rows]

    def pid(self, daemon):
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def queue(self):
        return self.ask("squeue", "-h", "-r", "-o", "%i %T %j").splitlines()


@contextmanager
def started(**settings):
    """Start a cluster of three nodes, and stop it in the end."""
    assert not os.geteuid() and shutil.which("apt-get"), "a real Slurm can be started by root on Debian only"
    # Not pytest's folder: paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Slurm(folder, PORT=27800, NODES=3, **settings)
    cluster.control("start")
    try:
        yield cluster
    finally:
        cluster.control("stop")
        shutil.rmtree(folder)


class Main:
    """A Snakemake that runs in the background, in a folder with a Snakefile."""

    def __init__(self, folder, environment, *arguments, executor="submitit"):
        self.folder = folder
        command = ["--executor", executor, "--jobs", 200, "--seconds-between-status-checks", 2]
        command += ["--rerun-incomplete", "--keep-going", "--latency-wait", 20, *arguments]
        self.log = folder / "snakemake.out"
        # In a session of its own, as in another terminal; its jobs start as users' do.
        with self.log.open("a") as log:
            self.process = forked.Started(*command, program="snakemake", cwd=folder, env=environment, output=log)

    @property
    def output(self):
        return self.log.read_text()

    def wait(self, seconds=240):
        return self.process.wait(seconds)

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def submitted(self):
        """Ids of the jobs that it says it has submitted, by name."""
        return dict(re.findall(r"^(\S+): slurm job (\S+)$", self.output, re.MULTILINE))


def until(condition, what, seconds=90):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return answer
