"""The training loop: from one training state to the next, leaving snapshots and a log."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from ayt.training import work as models
from ayt.base import paths
from ayt.base import weights
from ayt.datasets.images import Images
from ayt.base.errors import UserError
from ayt.base.files import link, write_text
from ayt.base.processes import ALONE, Processes
from ayt.base.progress import ProgressLine
from ayt.base.randomness import Draws
from ayt.plan.records import ClassifierSpec, ConsistencySpec, PretrainSpec
from ayt.training import objectives as tasks
from ayt.training.lease import Lease
from ayt.training.log import CsvLog, Sink, open_sinks
from ayt.training.state import TrainingState
from ayt.training.objectives import Task

LEASE_SECONDS = 1.0
"""How often a training looks whether its run was taken over."""


@dataclass(frozen=True)
class Segment:
    """Iterations ``start`` to ``stop`` of a run, with a snapshot at each multiple of ``every`` in between."""

    start: int
    stop: int
    every: int

    def snapshots(self, after: int, until: int) -> list[int]:
        """The iterations of its snapshots in (after, until]."""
        return [i for i in range(self.start + self.every, self.stop + 1, self.every) if after < i <= until]


class Interrupted(Exception):
    """A signal asked the training to leave; its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def train(
    spec: PretrainSpec | ClassifierSpec | ConsistencySpec,
    folder: Path,
    segment: Segment,
    data: Images,
    device: torch.device,
    *,
    log_every: int = 100,
    resume_seconds: float = 120.0,
    sinks: list[str] | None = None,
    take_over: bool = False,
    microbatch: int | None = None,
    channels_last: bool = True,
    compiled: bool = False,
    processes: Processes = ALONE,
    commit: str | None = None,
) -> None:
    """Train one segment of a run.

    Begins at the last resume state if there is a fitting one, else at the state that the segment before left.
    Leaves snapshots, the state at the end and a log where `ayt.base.paths` says. Weights depend only on ``spec``: not
    on segments or interruptions, and on the device, ``microbatch``, ``channels_last``, ``compiled`` and the number of
    processes only through the order of summation.

    Args:
        spec: what the run is.
        folder: of the run.
        segment: which iterations.
        data: the dataset.
        device: where to train.
        log_every: iterations between rows of the log.
        resume_seconds: seconds between resume states.
        sinks: where the log also goes.
        take_over: stop another process that trains this run.
        microbatch: images that go through a denoiser at a time; None: the batch.
        channels_last: how images lie in memory.
        compiled: whether the network goes through ``torch.compile``.
        processes: those that train this run together, all called with the same arguments; they share each batch, and
            the first one writes.
        commit: of the source that runs, noted in states; a state of another commit is warned of.

    Raises:
        UserError: a file is missing, damaged or of another run; the disk is full; the loss is not finite; another
            process trains this run, or has taken it over; the processes cannot share its batches.
        Interrupted: by SIGTERM, SIGUSR2 or SIGINT to any of the processes, once the resume state is written.
    """
    share = _share(spec, processes)
    under_way = _UnderWay(folder, segment, take_over, processes, commit)
    task = tasks.build(spec, folder, device, channels_last, compiled, processes)
    parts = _parts(share, microbatch if task.divisible else None)
    state = TrainingState(task.network, spec.optimiser, spec.name, models.origin(spec))
    under_way.begin(state)
    data = data.to(device)
    with _signals() as received, under_way.logs(state, sinks or []) as log:
        meter = _Meter(state.iteration, spec.batch_size, device, processes.count)
        not_finite_at = torch.full((), -1, device=device)
        saved = checked = time.monotonic()
        while state.iteration < segment.stop:
            iteration = state.iteration
            loss, distance, norm = advance(state, task, spec, data, parts, channels_last, processes)
            # Kept on the device: looked at when something is logged or saved, so that a GPU need not wait.
            bad = ~torch.isfinite(loss + norm) & (not_finite_at < 0)
            not_finite_at = torch.where(bad, state.iteration, not_finite_at)

            now = time.monotonic()
            done = state.iteration
            at_snapshot = done in segment.snapshots(iteration, done)
            logs_now = done % log_every == 0 or done == segment.stop
            leaves = processes.highest(received[0] if received else 0)
            saves_now = now - saved > resume_seconds or bool(leaves)
            if at_snapshot or logs_now or saves_now:
                under_way.require_finite(not_finite_at, state.run)
            if logs_now:
                log(meter.row(done, loss, distance, norm))
            if at_snapshot:
                under_way.save_snapshot(state)
            if saves_now:
                under_way.save(state)
                saved = now
            if leaves:
                processes.wait()  # the first to leave may take the others along
                raise Interrupted(leaves)
            if now - checked > LEASE_SECONDS:
                under_way.check()
                checked = now
    under_way.publish(state)
    processes.wait()


def advance(
    state: TrainingState,
    task: Task,
    spec: PretrainSpec | ClassifierSpec | ConsistencySpec,
    data: Images,
    parts: list[slice],
    channels_last: bool = True,
    processes: Processes = ALONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Train the next iteration; returns its loss, its distance and the norm of its gradient, scalars on the device.

    Args:
        state: of the training; moves on by one iteration.
        task: of the run, whose network ``state`` holds.
        spec: of the run.
        data: the dataset, on the device.
        parts: the images of the batch that this process sees, in the parts that go through the network at a time.
        channels_last: how images lie in memory.
        processes: those that share the batch.
    """
    images, labels = data.batch(spec.batch_size, spec.seed, state.iteration)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    state.optimiser.zero_grad(set_to_none=True)
    draws = Draws(spec.seed, state.iteration, spec.batch_size, images.device)
    loss, distance = processes.sum(_backward(task, images, labels, draws, parts))
    norm = torch.nn.utils.get_total_norm(_gradients(state))
    state.step()
    return loss, distance, norm


def _share(spec: PretrainSpec | ClassifierSpec | ConsistencySpec, processes: Processes) -> slice:
    """Which images of each batch this process sees."""
    if processes.count > 1 and isinstance(spec, ClassifierSpec):
        raise UserError(f"{spec.name}: a classifier's batches cannot be shared; train it in one process")
    return processes.share(spec.batch_size)


def _backward(task: Task, images: Tensor, labels: Tensor, draws: Draws, parts: list[slice]) -> Tensor:
    """Add up the gradients of a batch's parts; returns their loss and distance, (2,) without gradient."""
    outputs = []
    for part in parts:
        with nullcontext() if part is parts[-1] else task.unshared():
            output = task.loss(images[part], labels[part], replace(draws, part=part))
            torch.autograd.backward(output.loss)
        outputs.append(torch.stack(output).detach())
    return torch.stack(outputs).sum(0)


def _parts(share: slice, at_a_time: int | None) -> list[slice]:
    """The images ``share`` of a batch, cut into parts of ``at_a_time`` images; the last may be smaller."""
    width = at_a_time or share.stop - share.start
    return [slice(start, min(start + width, share.stop)) for start in range(share.start, share.stop, width)]


class _UnderWay:
    """What a segment keeps in the run's resume folder until it is whole.

    Declared outputs appear only at the end, as hard links: a workflow removes them before it starts a job again,
    and the resume state would be worth nothing without the snapshots before it.
    """

    def __init__(
        self, folder: Path, segment: Segment, take_over: bool, processes: Processes, commit: str | None
    ) -> None:
        self.folder = folder
        self.segment = segment
        self.processes = processes
        self.resume = paths.resume_folder(folder)
        # The right to write; only the first process has it.
        self.lease = Lease(self.resume, take_over) if processes.first else None
        self.state_file = self.resume / "state.safetensors"
        self.log = self.resume / "log.csv"
        self._snapshots = self.resume / "snapshots"
        self._commit = commit

    def begin(self, state: TrainingState) -> None:
        """Load the furthest usable state, in every process; what does not belong to this segment is removed."""
        found = self.processes.from_first(self._furthest(state.run) if self.lease else None)
        wrote = state.load(found) if found else None
        if found and found != self.state_file and state.iteration != self.segment.start:
            raise UserError(f"{found}: is at iteration {state.iteration}, not {self.segment.start}")
        highest = self.processes.highest
        if highest(state.iteration) != -highest(-state.iteration):
            raise UserError(f"{found}: processes read it at different iterations; the file system shows an old file")
        if not self.lease:
            return
        if found == self.state_file:
            _say(f"{state.run}: resuming at iteration {state.iteration}")
        if wrote and self._commit and wrote != self._commit:
            _say(f"warning: the state was written by commit {wrote}, this is {self._commit}")
        wanted = {self._snapshot(i) for i in self.segment.snapshots(self.segment.start, state.iteration)}
        with self.lease.commit():
            paths.failure(self.folder).unlink(missing_ok=True)
            if found != self.state_file:
                self.log.unlink(missing_ok=True)
            for file in self._snapshots.glob("*.safetensors"):
                if file not in wanted:
                    file.unlink()

    @contextmanager
    def logs(self, state: TrainingState, sinks: list[str]) -> Iterator[Callable[[dict[str, float]], None]]:
        """What takes the rows of the log, and shows progress."""
        if not self.lease:
            yield lambda row: None
            return
        with ExitStack() as stack:
            line = stack.enter_context(ProgressLine(state.run, self.segment.stop, state.iteration))
            logs: list[Sink] = [CsvLog(self.log, state.iteration), *open_sinks(sinks, self.folder, state.iteration)]
            for log in logs:
                stack.callback(log.close)

            def write(row: dict[str, float]) -> None:
                for log in logs:
                    log.write(row)
                shown = f"distance {row['distance']:.4g}, {row['images_per_second']:.0f} images/s"
                line.update(int(row["iteration"]), shown)

            yield write

    def require_finite(self, not_finite_at: Tensor, run: str) -> None:
        """Raise UserError, and leave a note of it, if the training has failed at an iteration above -1."""
        iteration = int(not_finite_at)
        if iteration < 0:
            return
        reason = f"the loss or its gradient is not finite at iteration {iteration}"
        if self.lease:
            with self.lease.commit():
                note = json.dumps({"iteration": iteration, "reason": reason})
                write_text(paths.failure(self.folder), note + "\n")
        raise UserError(f"{run}: {reason}; the last good state is kept")

    def check(self) -> None:
        """Raise `LeaseLostError` if another process has taken the run over."""
        if self.lease:
            self.lease.check()

    def save_snapshot(self, state: TrainingState) -> None:
        if self.lease:
            with self.lease.commit():
                state.save_snapshot(self._snapshot(state.iteration))

    def save(self, state: TrainingState) -> None:
        if self.lease:
            with self.lease.commit():
                state.save(self.state_file, self._commit)

    def publish(self, state: TrainingState) -> None:
        """Put the segment's results in their places."""
        if not self.lease:
            return
        self.save(state)
        with self.lease.commit():
            for iteration in self.segment.snapshots(self.segment.start, self.segment.stop):
                link(self._snapshot(iteration), paths.snapshot(self.folder, iteration))
            link(self.log, paths.training_log(self.folder, self.segment.stop))
            link(self.state_file, paths.state(self.folder, self.segment.stop))

    def _furthest(self, run: str) -> Path | None:
        """The file of the resume state if it is usable, else of the state that the segment begins with."""
        if self._resumable(run):
            return self.state_file
        return paths.state(self.folder, self.segment.start) if self.segment.start else None

    def _snapshot(self, iteration: int) -> Path:
        return self._snapshots / paths.snapshot(self.folder, iteration).name

    def _resumable(self, run: str) -> bool:
        """Whether the resume state lies in this segment and the snapshots before it are there."""
        if not self.state_file.exists():
            return False
        _, metadata = weights.read(self.state_file, "state", run)
        iteration = int(metadata["iteration"])
        if not self.segment.start < iteration <= self.segment.stop:
            return False
        before = self.segment.snapshots(self.segment.start, iteration)
        return all(self._snapshot(i).exists() for i in before) and self.log.exists()


class _Meter:
    """Makes the rows of the log."""

    def __init__(self, iteration: int, batch_size: int, device: torch.device, processes: int) -> None:
        self._iteration, self._batch_size, self._time = iteration, batch_size, time.perf_counter()
        self._device, self._processes = device, processes

    def row(self, iteration: int, loss: Tensor, distance: Tensor, norm: Tensor) -> dict[str, float]:
        values = torch.stack([loss, distance, norm]).tolist()  # waits for a GPU, once
        now = time.perf_counter()
        rate = (iteration - self._iteration) * self._batch_size / (now - self._time)
        self._iteration, self._time = iteration, now
        images = iteration * self._batch_size
        names = ("loss", "distance", "gradient_norm")
        return {
            "iteration": iteration,
            "images": images,
            **dict(zip(names, values, strict=True)),
            "images_per_second": rate,
            "gpus": self._processes if self._device.type == "cuda" else 0,
            "peak_memory_mb": peak_memory(self._device) / 1e6,
        }


def _gradients(state: TrainingState) -> list[Tensor]:
    return [parameter.grad for parameter in state.parameters if parameter.grad is not None]


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has had at most: of tensors on a GPU, on a CPU of everything."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask to leave, for as long as the block lasts."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
