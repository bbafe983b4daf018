"""The state of a training: weights, their average and the optimiser's moments."""

from __future__ import annotations

import copy
import platform
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ayt.base import weights
from ayt.base.errors import UserError
from ayt.methods.training import Training
from ayt.training.radam import Moments, StepSizes, step_sizes


class Optimiser(NamedTuple):
    """RAdam without weight decay, and what surrounds it.

    Attributes:
        lr: learning rate.
        warmup: iterations over which it rises linearly from 0.
        decay: iterations after which it has fallen to 0; None: it does not fall.
        ema: decay of the average of the weights for each iteration; 0: none is kept.
    """

    lr: float
    warmup: int
    decay: int | None
    ema: float

    @classmethod
    def of(cls, training: Training) -> Optimiser:
        """That of a training run's settings."""
        return cls(training.lr, training.warmup, training.decay_iterations, training.ema)


def learning_rate(iteration: int, optimiser: Optimiser) -> float:
    """Linear warm-up, then constant or a linear fall to 0 after ``decay`` iterations."""
    rate = optimiser.lr * min(1.0, (iteration + 1) / max(optimiser.warmup, 1))
    return rate if optimiser.decay is None else rate * max(0.0, 1 - iteration / optimiser.decay)


def device_name(device: torch.device) -> str:
    """What a device is called, for example ``NVIDIA H100 80GB HBM3`` or ``CPU (AMD EPYC 7B13)``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU ({models[0] if models else platform.machine()})"


class TrainingState:
    """One training, ready for its next iteration.

    Args:
        network: trained in place.
        settings: of the optimiser.
        run: name of the run.
        origin: SHA-256 of the published files that it is made from, by name.

    Attributes:
        iteration: iterations done.
        commits: of the source that trained since the last segment's end, the present one last.
        average: the network with the moving average of the weights; the network itself where ``ema`` is 0.
    """

    def __init__(self, network: nn.Module, settings: Optimiser, run: str, origin: dict[str, str] | None = None) -> None:
        self.network = network
        self.settings = settings
        self.run = run
        self.origin = origin or {}
        self.iteration = 0
        self.commits: list[str] = []
        self.average = copy.deepcopy(network).requires_grad_(False) if settings.ema else network
        self.parameters: list[Tensor] = list(network.parameters())
        self._averages: list[Tensor] = list(self.average.parameters())
        self.moments = Moments(self.parameters)

    def step(self) -> None:
        """Apply the gradients, then update the average; counts as one iteration."""
        self.apply(self.step_sizes())
        self.iteration += 1

    def step_sizes(self) -> StepSizes:
        """The optimiser's of the next iteration."""
        return step_sizes(self.iteration, learning_rate(self.iteration, self.settings))

    @torch.no_grad()  # else the averages would keep a graph of all updates alive
    def apply(self, sizes: StepSizes) -> None:
        """Apply the gradients, then update the average; `step` without its count."""
        self.moments.step(sizes)
        if self.settings.ema:
            torch._foreach_lerp_(self._averages, self.parameters, 1 - self.settings.ema)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def save_snapshot(self, path: Path) -> None:
        """Write the averaged weights, with the network's buffers as they are."""
        if self.settings.ema:
            for ours, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
                ours.copy_(theirs)
        about = {"commits": self.commits, "origin": self.origin}
        weights.write(path, "snapshot", self.run, self.iteration, self.average.state_dict(), **about)

    def save(self, path: Path) -> None:
        """Write everything that the next iteration depends on, and who trained."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.settings.ema:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.named_parameters()}
        for key, moments in self._moments.items():
            tensors |= {f"optimiser.{key}.{name}": moment for name, moment in moments.items()}
        about = {"commits": self.commits, "origin": self.origin, "device": device_name(self.parameters[0].device)}
        weights.write(path, "state", self.run, self.iteration, tensors, **about)

    def load(self, path: Path) -> list[str]:
        """Read what `save` wrote, and return the commits that it records.

        Raises:
            UserError: the file is missing, damaged, of another run, does not fit the network, or comes from other
                published weights of the same name.
        """
        tensors, metadata = weights.read(path, "state", self.run)
        if others := [name for name, sha256 in self.origin.items() if metadata.get("origin", {}).get(name) != sha256]:
            raise UserError(
                f"{path}: comes from other weights than those that are called {', '.join(others)} now; delete the"
                " run's folder to train it from these, or import the old ones again"
            )
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        weights.load_into(self.network, parts["network"], path)
        if self.settings.ema:
            buffers = dict(self.network.named_buffers())
            weights.load_into(self.average, {**parts["average"], **buffers}, path)
        for key, moments in self._moments.items():
            for name, moment in moments.items():
                value = parts["optimiser"].get(f"{key}.{name}")
                if value is None:
                    raise UserError(f"{path}: has no {key} of the optimiser for {name}")
                moment.copy_(value)
        self.iteration = int(metadata["iteration"])
        return [str(commit) for commit in metadata.get("commits", [])]

    @property
    def _moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's moments by what files call them, and by parameter."""
        names = [name for name, _ in self.network.named_parameters()]
        both = {"exp_avg": self.moments.first, "exp_avg_sq": self.moments.second}
        return {key: dict(zip(names, moments, strict=True)) for key, moments in both.items()}
