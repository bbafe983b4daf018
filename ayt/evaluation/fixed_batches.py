"""Networks that repeatedly process batches of one size: a GPU compiles them, or records them once and replays them.

Weights may change in between, in place: all snapshots of a run share one compilation and one recording.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from ayt.networks.modules.precond import EDMPrecond
from ayt.training.recording import WARM_UP


@dataclass(frozen=True)
class FixedBatches:
    """How networks are run.

    Attributes:
        size: images per batch; smaller batches are padded, and the results of the padding are dropped.
        compiled: whether networks go through ``torch.compile``.
        recorded: whether a batch is recorded as a CUDA graph and replayed; on a CPU it is computed afresh each time.
    """

    size: int
    compiled: bool = False
    recorded: bool = False

    def function(self, compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same function of tensors (B, ...), B <= size, without gradients; it must not wait for the host."""
        return FixedFunction(compute, self) if self.compiled or self.recorded else compute

    def denoiser(self, network: EDMPrecond) -> tuple[Callable[..., Tensor], Mapping[str, Tensor]]:
        """A denoiser as it is called without dropout, and its `cast_weights`: to be overwritten when weights change."""
        weights = network.cast_weights()
        more = {"weights": weights} if weights else {}
        if not (self.compiled or self.recorded):
            return partial(network, **more), weights
        run = self.function(lambda x, sigma, told=None: network(x, sigma, class_labels=told, **more))

        def denoise(
            x: Tensor, sigma: Tensor, class_labels: Tensor | None = None, masks: Sequence[Tensor] = ()
        ) -> Tensor:
            assert not masks
            return run(x, sigma) if class_labels is None else run(x, sigma, class_labels)

        return denoise, weights

    @cached_property
    def memory(self) -> tuple[Any, torch.cuda.Stream]:
        """Of all recordings, and the stream that records: they are replayed in turn, and results copied at once."""
        return torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]


class FixedFunction:
    """A function whose arguments are in fixed memory locations.

    Args:
        compute: tensors (size, ...) to a tensor (size, ...).
        batches: how it is run.
    """

    def __init__(self, compute: Callable[..., Tensor], batches: FixedBatches) -> None:
        self._compute = torch.compile(compute, dynamic=False) if batches.compiled else compute
        self._batches = batches
        self._recorded = batches.recorded
        self._places: list[Tensor] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._output: Tensor | None = None

    @torch.no_grad()
    def __call__(self, *given: Tensor) -> Tensor:
        """The results for tensors (B, ...), B <= size; each has its own memory."""
        count, size = len(given[0]), self._batches.size
        self._places = self._places or [_place(rows, size) for rows in given]
        for place, rows in zip(self._places, given, strict=True):
            place[:count].copy_(rows)
            place[count:].copy_(rows[:1])  # an image as good as any
        output = self._run()
        return output[:count].clone() if self._recorded else output[:count]

    def _run(self) -> Tensor:
        if not (self._recorded and self._places[0].is_cuda):
            return self._compute(*self._places)
        if self._graph is None or self._output is None:
            try:
                self._graph, self._output = self._record()
            except RuntimeError as error:
                reason = str(error).strip().partition("\n")[0]
                print(f"batches are not replayed, and so slower: {reason}", file=sys.stderr, flush=True)
                self._recorded = False
                return self._compute(*self._places)
        self._graph.replay()
        return self._output

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        pool, stream = self._batches.memory
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._compute(*self._places)
        current.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Only this thread's work: metrics are computed concurrently.
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            output = self._compute(*self._places)
        return graph, output


def _place(rows: Tensor, size: int) -> Tensor:
    """Memory for a whole batch like (B, ...); channels-last for images."""
    layout = torch.channels_last if rows.ndim == 4 else torch.contiguous_format
    return torch.empty((size, *rows.shape[1:]), dtype=rows.dtype, device=rows.device, memory_format=layout)
