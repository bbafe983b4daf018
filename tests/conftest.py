"""Fixtures that several tests share."""

import os
import signal
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

# Fixtures of tests that name it as a plugin, after they have imported it.
pytest.register_assert_rewrite("downloads")

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


# Where several run beside each other, files that take longest are to start first; the order within a file stays.
LONGEST = (
    *("plugin/test_plugin_runs", "workflow/test_workflow", "datasets/test_cifar", "plugin/test_plugin_suite"),
    *("workflow/", "plugin/", "training/", "analysis/", "methods/", "reporting/"),
)


def pytest_xdist_auto_num_workers(config):
    """One more than there are cores, four at most: tests of the workflow and of its plugin mostly wait."""
    return min((os.cpu_count() or 1) + 1, 4)


def pytest_collection_modifyitems(items):
    places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: next((places[name] for name in places if item.nodeid.startswith(name)), len(places)))


@pytest.fixture
def tiny():
    """The smallest experiment that has every kind of job."""
    return ROOT / "tests" / "experiments" / "tiny.yaml"


@pytest.fixture
def ayt():
    """Run the command line in a process of its own; returns the finished process, output and errors as text."""
    return forked.run
