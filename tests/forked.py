"""The command line in processes of their own that start at once: forked from one that has imported everything."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ayt import cli

CONTEXT = multiprocessing.get_context("forkserver")
# Optimisers import the last one when they are made, which takes seconds.
CONTEXT.set_forkserver_preload(["ayt.cli", "ayt.training.loop", "ayt.evaluation.score", "torch._dynamo"])


def _main(arguments, folder, cwd, environment):
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(cli.main(arguments))


class Started:
    """A process that runs ``ayt``, much as `subprocess.Popen` has it."""

    def __init__(self, *arguments, cwd=None, env=None):
        self._folder = tempfile.TemporaryDirectory()
        self.args = ["ayt", *map(str, arguments)]
        where = self.args[1:], Path(self._folder.name), str(cwd or Path.cwd()), dict(env or os.environ)
        self._process = CONTEXT.Process(target=_main, args=where, daemon=True)
        self._process.start()
        self.pid, self.kill = self._process.pid, self._process.kill

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def communicate(self, timeout=None):
        """Wait for its end; returns what it said."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return tuple((Path(self._folder.name) / name).read_text() for name in ("output", "errors"))


def run(*arguments, timeout=120, **options):
    """The finished process."""
    started = Started(*arguments, **options)
    said = started.communicate(timeout)
    return subprocess.CompletedProcess(started.args, started.returncode, *said)


def wait_until(condition, seconds=90):
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come that far"
        time.sleep(0.005)
