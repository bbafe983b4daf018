"""The training loop: from one training state to the next, leaving snapshots and a log."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.base.images import Images
from ayt.base.processes import ALONE, Processes
from ayt.base.streaming import place_data
from ayt.networks.base import NEEDS_WHOLE_BATCHES
from ayt.plan.runs import RunRecord, Segment
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.recording import Trainer, hindrance
from ayt.training.state import Optimiser, TrainingState
from ayt.training.under_way import UnderWay, say

LEASE_SECONDS = 1.0
"""Seconds between checks whether another process has taken over the run."""


class Interrupted(Exception):
    """A signal asked training to stop; its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def train(
    record: RunRecord,
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
    replay: bool = True,
    data_on: str = "auto",
    stops_where_diverged: bool = False,
    processes: Processes = ALONE,
    commit: str | None = None,
) -> None:
    """Train one segment of a run.

    Resumes from the last resume state if it fits, otherwise starts from the state that the previous segment left.
    Leaves snapshots, the state at the end and a log where `ayt.base.paths` says. Weights depend only on ``record``: not
    on segments or interruptions, and on the device, ``microbatch``, ``channels_last``, ``compiled``, ``replay`` and
    the number of processes only through rounding and the order of summation.

    Args:
        record: what the run is.
        folder: of the run.
        segment: the iterations.
        data: the dataset.
        device: the device to train on.
        log_every: iterations between rows of the log.
        resume_seconds: seconds between resume states.
        sinks: further destinations of the log.
        take_over: stop another process that trains this run.
        microbatch: images that go through a denoiser at a time; None: the whole batch.
        channels_last: the images' memory format.
        compiled: whether the network goes through ``torch.compile``.
        replay: whether iterations are recorded and replayed, if possible.
        data_on: where the dataset is kept, as `place_data` has it.
        stops_where_diverged: whether a loss that is not finite stops training like a rule does, instead of an error.
        processes: the processes that train this run together, all called with the same arguments; they share each
            batch, and the first one writes.
        commit: commit of the running source, noted in states; resuming from another commit's state gives a warning.

    Raises:
        UserError: a file is missing, damaged or of another run; the disk is full; the loss is not finite, unless
            ``stops_where_diverged``; another process trains this run or has taken it over; the processes cannot share
            its batches.
        Interrupted: by SIGTERM, SIGUSR2 or SIGINT to any of the processes, once the resume state is written.
    """
    share = _share(record, processes)
    under_way = UnderWay(folder, segment, record.averages, take_over, processes, commit)
    parts = _parts(record, share, microbatch)
    network, called, objective, auxiliary = work.prepare(record, folder, device, channels_last, compiled, processes)
    state = TrainingState(network, Optimiser.of(record.training), record.name, work.find_origin(record), auxiliary)
    under_way.begin(state)
    passes = Passes(objective, parts, called, channels_last, processes)
    hindered = hindrance(record, device, processes, replay)
    if hindered and device.type == "cuda" and processes.first:
        say(state.run, f"iterations are done one by one: {hindered}")
    trainer = Trainer(state, passes, record, place_data(data, device, data_on), replays=not hindered)
    with _signals() as received, under_way.logs(state, sinks or []) as log:
        meter = _Meter(state.iteration, record.batch_size, device, processes.count)
        failed_at, not_finite_at = -1, torch.full((), -1, device=device)
        saved = checked = time.monotonic()
        first = state.iteration if compiled and processes.first else None
        while state.iteration < segment.stop:
            iteration = state.iteration
            loss, distance, norm = trainer.advance()
            if iteration == first:
                say(state.run, f"compiled; the first iteration took {time.monotonic() - saved:.0f} s")
            # Kept on the device, and read only when something is logged or saved, so that a GPU need not wait.
            bad = ~torch.isfinite(loss + norm) & (not_finite_at < 0)
            not_finite_at.masked_fill_(bad, state.iteration)

            now = time.monotonic()
            done = state.iteration
            at_snapshot = bool(segment.snapshots(iteration, done))
            logs_now = done % log_every == 0 or done == segment.stop
            leaves = processes.highest(received[0] if received else 0)
            saves_now = now - saved > resume_seconds or bool(leaves)
            if at_snapshot or logs_now or saves_now:
                failed_at = int(not_finite_at)
                if failed_at >= 0:
                    break
            if logs_now:
                log(meter.row(done, loss, distance, norm))
            if at_snapshot:
                under_way.save_snapshots(state)
            if saves_now:
                under_way.save(state)
                saved = now
            if leaves:
                processes.wait()  # the first to exit could take the others down
                raise Interrupted(leaves)
            if now - checked > LEASE_SECONDS:
                under_way.check()
                checked = now
    under_way.end(state, failed_at, stops_where_diverged)
    processes.wait()


def _share(record: RunRecord, processes: Processes) -> slice:
    """The images of each batch that this process handles."""
    if processes.count > 1 and not record.training.divisible:
        raise UserError(f"{record.name}: its batches cannot be shared; train it in one process")
    for role, network in record.auxiliary.items():
        if processes.count > 1 and network.has_batch_norm:
            raise UserError(f"{record.name}: its {role} {NEEDS_WHOLE_BATCHES}")
    return processes.share(record.batch_size)


def _parts(record: RunRecord, share: slice, microbatch: int | None) -> list[slice]:
    """The images ``share`` of a batch, cut into parts of ``microbatch`` images; the last may be smaller."""
    size, training = share.stop - share.start, record.training
    if microbatch and microbatch < size and not training.accumulates:
        problem = f"{training.name} looks at the {size} images of a batch at once; leave it out"
        raise UserError(f"{record.name}: --microbatch {microbatch} (execution.microbatch): {problem}")
    width = microbatch if microbatch and training.divisible else size
    return [slice(start, min(start + width, share.stop)) for start in range(share.start, share.stop, width)]


class _Meter:
    """Builds the rows of the log."""

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


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: of tensors on a GPU, of everything on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask to stop, for the duration of the block."""
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
