"""One training iteration, entirely as operations on the device: nothing waits for the host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ayt.base.processes import ALONE, Processes
from ayt.base.randomness import Draws
from ayt.methods.formulas.objective import Objective
from ayt.training.radam import StepSizes
from ayt.training.state import TrainingState


@dataclass(frozen=True)
class Passes:
    """How a batch goes through the network.

    Attributes:
        objective: the run's objective.
        parts: this process's images of the batch, in parts that go through the network at a time.
        called: the network as the objective calls it; None: the network itself.
        channels_last: the images' memory format.
        processes: those that share the batch.
    """

    objective: Objective
    parts: list[slice]
    called: nn.Module | None = None
    channels_last: bool = True
    processes: Processes = ALONE


def iterate(
    state: TrainingState, passes: Passes, images: Tensor, labels: Tensor, draws: Draws, sizes: StepSizes
) -> tuple[Tensor, Tensor, Tensor]:
    """Train one iteration, except its count; returns loss, distance and gradient norm, on the device.

    The norm is that of the network's gradient; networks trained alongside it are updated too.

    Args:
        state: of the training.
        passes: how the batch goes through the network.
        images: (B, C, H, W) in [-1, 1], the whole batch.
        labels: (B,).
        draws: the iteration's random numbers.
        sizes: the optimiser's step sizes.
    """
    if passes.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    state.zero_grad()
    outputs = []
    for part in passes.parts:
        # Gradients are summed over the processes once, with the last part.
        with nullcontext() if part is passes.parts[-1] else _skip_summing(passes.called):
            output = passes.objective(images[part], labels[part], replace(draws, part=part))
            torch.autograd.backward(output.loss)
        outputs.append(torch.stack(output).detach())
    loss, distance = passes.processes.sum(torch.stack(outputs).sum(0))
    norm = _gradient_norm(state.parameters)
    if state.auxiliary:
        passes.processes.sum_gradients(state.auxiliary.parameters())
        norm = norm + 0 * _gradient_norm(state.auxiliary.parameters())  # not finite if theirs is not
    state.apply(sizes)
    return loss, distance, norm


def _gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    return torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])


def _skip_summing(called: nn.Module | None) -> AbstractContextManager[None]:
    """A block in which gradients are not summed over the processes."""
    return called.no_sync() if isinstance(called, DistributedDataParallel) else nullcontext()
