"""Fixtures that several tests share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
import hypothesis
import pytest

# A suite that was started in the background ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests run beside each other on few cores, and bits depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples each time, and no times: they depend on the machine.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture
def tiny():
    """The smallest experiment that has every kind of job."""
    return ROOT / "tests" / "experiments" / "tiny.yaml"


@pytest.fixture
def ayt():
    """Run the command line in a process of its own; returns the finished process, output and errors as text.

    One that gets an environment is a new interpreter; others start at once.
    """

    def run(*arguments, cwd=None, env=None):
        if env is None:
            return forked.run(*arguments, cwd=cwd)
        command = [str(BIN / "ayt"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd, env=env)

    return run
