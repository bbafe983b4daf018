"""Iterations that a GPU records once as a CUDA graph and replays: at small batches the host could not keep up.

What changes between iterations reaches a replay through fixed memory locations: the chosen images and the optimiser's
step sizes in tensors, everything else through `Recorded`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ayt.base.images import Images
from ayt.base.processes import Processes
from ayt.base.randomness import Draws
from ayt.base.recorded import NotRecordableError, Recorded
from ayt.base.streaming import StreamedImages
from ayt.plan.runs import RunRecord
from ayt.training.iteration import Passes, iterate
from ayt.training.radam import StepSizes, tractable
from ayt.training.state import TrainingState
from ayt.training.under_way import say

WARM_UP = 3
"""Warm-up iterations before a recording: in them libraries select kernels and compile, which cannot be recorded."""

Outputs = tuple[Tensor, Tensor, Tensor]


def hindrance(record: RunRecord, device: torch.device, processes: Processes, wanted: bool = True) -> str | None:
    """Why a run's iterations should not or cannot be recorded; None: they are."""
    if not wanted:
        return "as --replay=never (execution.replay) says"
    if device.type != "cuda":
        return "CUDA alone records"
    if processes.count > 1:
        return "gradients are summed over several processes"
    if not record.training.recordable:
        return f"{record.training.name} asks the host in each iteration"
    if not hasattr(torch.cuda.CUDAGraph, "register_generator_state"):
        return f"torch {torch.__version__} cannot record generators"
    return None


class Trainer:
    """Trains iteration after iteration, replaying them if possible.

    Args:
        state: the training state; advances by one iteration at a time.
        passes: how a batch goes through the network.
        record: of the run.
        data: the dataset, on the device or streamed to it.
        replays: whether iterations may be recorded and replayed. If that turns out impossible, they are launched one by
            one, and standard error says why.
    """

    def __init__(
        self,
        state: TrainingState,
        passes: Passes,
        record: RunRecord,
        data: Images | StreamedImages,
        replays: bool = False,
    ) -> None:
        self.state, self.passes, self.record, self.data = state, passes, record, data
        self._recording = Recording(self) if replays else None

    @property
    def replays(self) -> bool:
        """Whether iterations are recorded and replayed, as far as known."""
        return self._recording is not None

    def advance(self) -> Outputs:
        """Train the next iteration; returns loss, distance and gradient norm, scalars on the device.

        They may be overwritten by the next call.
        """
        found = self._replay() if self._recording else None
        if found is None:
            images, labels = self.data.batch(self.record.batch_size, self.record.seed, self.state.iteration)
            sizes = self.state.step_sizes()
            found = iterate(self.state, self.passes, images, labels, self.draws(self.state.iteration), sizes)
        self.state.iteration += 1
        return found

    def draws(self, iteration: int) -> Draws:
        """The random numbers of an iteration."""
        return Draws(self.record.seed, iteration, self.record.batch_size, self.data.device)

    def _replay(self) -> Outputs | None:
        """The next iteration's outputs; None: it was not replayed, and no later one will be."""
        assert self._recording
        try:
            return self._recording.advance()
        except NotRecordableError as error:
            say(self.state.run, f"iterations are done one by one: {error}")
            self._recording = None
            self.state.zero_grad()
            return None


class Recording:
    """One iteration with inputs in fixed memory locations. On a CPU it is computed afresh each time from these."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._device = trainer.data.device
        self._inputs = trainer.data.inputs(trainer.record.batch_size)
        step, *shares = (torch.zeros((), device=self._device) for _ in trainer.state.step_sizes().numbers)
        self._sizes = StepSizes(step, tuple(shares), tractable=False)
        on_gpu = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: Outputs | None = None
        self._warm_ups = WARM_UP
        self._iteration = Recorded(self._device, trainer.state.iteration)

    def advance(self) -> Outputs:
        """Execute or replay the next training iteration, except its count."""
        state, record = self._trainer.state, self._trainer.record
        if not self._iteration.move(state.iteration):
            self._begin_anew()
        self._trainer.data.fill(self._inputs, record.batch_size, record.seed, state.iteration)
        for tensor, value in zip(self._sizes.numbers, state.step_sizes().numbers, strict=True):
            cast(Tensor, tensor).fill_(value)
        if self._stream is None:
            return self._iterate()
        if self._warm_ups:
            self._warm_ups -= 1
            return self._iterate_beside()
        if self._graph is None or self._outputs is None:
            self._graph, self._outputs = self._record()
        self._graph.replay()
        return self._outputs

    def _begin_anew(self) -> None:
        """Discard the recording; the next iteration shows anew what depends on the number."""
        if self._stream:
            torch.cuda.synchronize(self._device)  # it may still be running
        self._graph, self._outputs, self._warm_ups = None, None, 1
        self._iteration = Recorded(self._device, self._trainer.state.iteration)

    def _iterate(self) -> Outputs:
        trainer = self._trainer
        images, labels = trainer.data.read(self._inputs)
        draws = trainer.draws(cast(int, self._iteration))
        sizes = self._sizes._replace(tractable=self._iteration.constant(tractable))
        return iterate(trainer.state, trainer.passes, images, labels, draws, sizes)

    def _iterate_beside(self) -> Outputs:
        """Execute an iteration on the recording stream, which owns what it allocates."""
        assert self._stream
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = self._iterate()
        current.wait_stream(self._stream)
        return outputs

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Outputs]:
        """Record the iteration without executing it: if anything fails, the weights are unchanged."""
        self._trainer.state.zero_grad()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # the recording has its own memory pool
        graph = torch.cuda.CUDAGraph()
        for generator in self._iteration.generators:
            graph.register_generator_state(generator)
        # Only this thread's work: others may use the device meanwhile.
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = self._iterate()
        except RuntimeError as error:
            raise NotRecordableError(str(error).strip().partition("\n")[0]) from error
        return graph, outputs
