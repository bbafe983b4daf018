"""The command line, and Snakemake's, in processes of their own that start at once: see `forkserver`."""

import atexit
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import forkclient

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


@cache
def server():
    """Where this process's server listens: started when it is first asked for, it ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")  # short, as paths of sockets must be
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, HERE / "forkserver.py", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    atexit.register(lambda: (process.stdin.close(), process.wait(), folder.cleanup()))
    return address


@cache
def programs():
    """A folder with programs that start at once, for PATH and beside an interpreter."""
    folder = Path(server()).parent / "bin"
    folder.mkdir()
    client = [sys.executable, "-IS", HERE / "forkclient.py", server(), "ayt"]
    for name, command in (("ayt", client), ("python", [sys.executable])):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


class Started:
    """A process that runs ``ayt``, or another program, much as `subprocess.Popen` has it.

    ``output``: an open file that gets what it says.
    """

    def __init__(self, *arguments, program="ayt", cwd=None, env=None, executable=sys.executable, output=None):
        self.args, self.returncode = [program, *map(str, arguments)], None
        self._said = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 -- theirs as long as it runs
        with Path(os.devnull).open() as nothing:
            streams = [nothing.fileno(), *((output or file).fileno() for file in self._said)]
            where = str(cwd or Path.cwd()), dict(env or os.environ)
            self._connection, self.pid = forkclient.ask(
                server(), program, self.args[1:], *where, streams, str(executable)
            )

    def poll(self):
        """Its exit status, None while it runs."""
        return self._wait(0)

    def _wait(self, seconds):
        if self.returncode is None:
            self._connection.settimeout(seconds)
            try:
                self.returncode = forkclient.number(self._connection)
            except (BlockingIOError, TimeoutError):
                return None
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Kill it, if it still runs."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """Wait for its end; returns what it said."""
        self.wait(timeout)
        return self.said()

    def finish(self, timeout=None):
        """Wait for its end; returns what `subprocess.run` does."""
        said = self.communicate(timeout)
        return subprocess.CompletedProcess(self.args, self.returncode, *said)

    def wait(self, timeout=None):
        """Wait for its end; returns its exit status."""
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def said(self):
        """Its output and its errors so far."""
        return tuple(os.pread(file.fileno(), 1 << 24, 0).decode() for file in self._said)


def run(*arguments, timeout=120, **options):
    """The finished process."""
    return Started(*arguments, **options).finish(timeout)


def started_snakemake(arguments, environment=None):
    """A Snakemake whose jobs' programs are forked as well."""
    return Started(*arguments, program="snakemake", executable=programs() / "python", env=environment)


def snakemake(arguments, environment=None):
    """The same, finished."""
    return started_snakemake(arguments, environment).finish(1200)


def wait_until(condition, seconds=90):
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come that far"
        time.sleep(0.005)
