"""What runs on the node: a shell command, and the signals that reach it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission
from submitit.helpers import TorchDistributedEnvironment

from snakemake_executor_plugin_submitit import reasons

POLL_SECONDS = 0.1
PEER_LOG = "SUBMITIT-PEER-LOG"
"""Placeholder in a peer's command for the name of its log, which is only known on the node."""
AGAIN_SECONDS = 5.0
"""Seconds after which a command that is still running is asked again to exit: it may not have been listening yet."""
SCONTROL_SECONDS = 60
LEAVE_SECONDS = 30.0
"""Seconds that processes get between SIGTERM and SIGKILL if Slurm does not say."""


class CommandFailed(Exception):
    """The command ended with a non-zero exit status."""


@dataclass
class Command:
    """A job: one shell command, in the requested number of replicas.

    Signals. Slurm's signals reach every process of the job if it tracks processes by their parents, but only this one
    if it tracks them by cgroup. So this process forwards SIGUSR2 (the time limit is near, or a preemption configured
    so) and SIGTERM (preempted, cancelled, requeued) to the command's process group, and the command starts with both
    ignored: shells and Snakemake then wait for the program that they run, and a program that can save its state sets
    its own handler. Until it exits it is asked again every few seconds, as it may still have been starting.

    What follows depends on how the command ends:

    - with 0: done, whatever signals were received.
    - after SIGUSR2: it exited in order to resume later. The job is requeued, which Slurm counts as the same job.
    - after SIGTERM: Slurm itself decides what happens to the job; so neither return nor raise, which would finish the
      job, but wait for SIGKILL.
    - else: `CommandFailed`.

    A command that does not exit when asked runs into its time limit, and the job ends as TIMEOUT.

    Attributes:
        command: run by bash in the folder where the job was submitted.
        log: where the command's output goes: ``{log}.slurm-JOB.log``, that of task n in ``{log}.slurm-JOB.n.log``;
            `PEER_LOG` in its command becomes ``{log}.slurm-JOB.n.command.log``.
        replicas: the number of tasks that run.
        peer_command: run by all tasks but the first; all tasks find their ranks in the variables that
            torch.distributed reads.
        requeue: whether the job is requeued if it exited after SIGUSR2.
    """

    command: str
    log: str
    replicas: int = 1
    peer_command: str = ""
    requeue: bool = True

    def __call__(self) -> None:
        """Run the command; called by submitit on the node."""
        environment = JobEnvironment()
        # A result left by an earlier start would make a resumed job look finished.
        if environment.cluster != "debug":
            environment.paths.result_pickle.unlink(missing_ok=True)
        command = self.command
        if self.replicas > 1:
            distributed = TorchDistributedEnvironment()
            distributed.master_addr = _address(distributed.master_addr)
            distributed.export(set_cuda_visible_devices=False)
            if environment.global_rank > 0:
                command = self.peer_command.replace(PEER_LOG, shlex.quote(f"{self._stem(environment)}.command.log"))
        with _note_requests() as (asked, submitit), self._output(environment) as output:
            status = _run(command, asked, output)
            words = reasons.exit_status(status) + "".join(f", after {name.name}" for name in asked)
            _log(output, words)
            if status == 0:
                return
            if signal.SIGTERM in asked:
                _wait_for_the_end()
            if signal.SIGUSR2 in asked and self.requeue:
                _requeue(submitit, output)
        raise CommandFailed(words)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit requeues: the same job."""
        return DelayedSubmission(self)

    def _stem(self, environment: JobEnvironment) -> str:
        """The prefix of the names of this task's logs."""
        rank = f".{environment.global_rank}" if environment.global_rank else ""
        return f"{self.log}.{environment.cluster}-{environment.job_id}{rank}"

    @contextmanager
    def _output(self, environment: JobEnvironment) -> Iterator[IO[bytes]]:
        path = Path(f"{self._stem(environment)}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appended to: when a job is requeued, its earlier output is still worth reading.
        with path.open("ab", buffering=0) as file:
            where = f"{environment.cluster} job {environment.job_id} on {environment.hostname}"
            _log(file, f"{where}, restarts: {os.environ.get('SLURM_RESTART_COUNT', '0')}")
            yield file


@contextmanager
def _note_requests() -> Iterator[tuple[list[signal.Signals], Any]]:
    """Yield the list of received signals that ask to exit, and submitit's handler of SIGUSR2."""
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received, None  # the cluster ``debug``: signals are Snakemake's
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))

    numbers = (signal.SIGUSR2, signal.SIGTERM)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received, before[signal.SIGUSR2]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command: str, asked: list[signal.Signals], output: IO[bytes]) -> int:
    """Run the command to its end, forwarding signals; returns the exit status."""
    # A file, as arguments are limited to 128 KiB; without a name, so that nobody else can read it.
    with tempfile.TemporaryFile() as script:
        script.write(command.encode())
        script.seek(0)
        child = subprocess.Popen(
            ["bash", f"/dev/fd/{script.fileno()}"],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            pass_fds=[script.fileno()],
            start_new_session=True,
            preexec_fn=_ignore_signals,  # noqa: PLW1509 -- this process has no threads
        )
    handed_on, again_at = 0, 0.0
    try:
        # Not wait(): a signal handler could then not see the end of the child.
        while (status := child.poll()) is None:
            for number in asked[handed_on:]:
                _log(output, f"{number.name}: handed on to the command")
                handed_on += 1
                again_at = 0.0
            if asked and time.monotonic() > again_at:
                _signal(child.pid, asked[handed_on - 1])
                again_at = time.monotonic() + AGAIN_SECONDS
            time.sleep(POLL_SECONDS)
        return status
    finally:
        # On Ctrl-C at submitit's local cluster the command is still running.
        _end(child)


def _address(node: str) -> str:
    """A node's address: its name if that can be resolved, or else the address that Slurm uses."""
    try:
        socket.getaddrinfo(node, None)
    except socket.gaierror:
        command = ["scontrol", "-o", "show", "node", node]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SCONTROL_SECONDS)
        except (subprocess.TimeoutExpired, OSError):
            return node
        found = re.search(r"\bNodeAddr=(\S+)", answer.stdout)
        return found[1] if found else node
    return node


def _ignore_signals() -> None:
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group."""
    deadline = time.monotonic() + LEAVE_SECONDS
    if _signal(child.pid, signal.SIGTERM):
        while _signal(child.pid, 0) and time.monotonic() < deadline:
            child.poll()
            time.sleep(POLL_SECONDS)
        _signal(child.pid, signal.SIGKILL)
    child.wait()


def _signal(group: int, number: int) -> bool:
    """Whether the group has running processes; zombies do not count."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _requeue(submitit: Any, output: IO[bytes]) -> NoReturn:
    """Let submitit requeue the job; if the controller does not answer, retry until the time is up."""
    while True:
        try:
            submitit(signal.SIGUSR2, None)
        except (subprocess.SubprocessError, OSError) as error:
            _log(output, f"requeue failed ({error}); trying again")
        # Only the first task gets here without an exception, if it is not the one that requeues: see submitit.
        time.sleep(5)


def _wait_for_the_end() -> NoReturn:
    while True:
        time.sleep(3600)


def _log(output: IO[bytes], text: str) -> None:
    line = f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n"
    output.write(line.encode())
    print(line, end="", file=sys.stderr, flush=True)
