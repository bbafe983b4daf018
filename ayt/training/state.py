"""The state of a training run: weights, their averages and the optimiser's moments."""

from __future__ import annotations

import copy
import platform
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ayt.base import weights
from ayt.base.errors import UserError
from ayt.methods.training import Average, PowerAverage, Training
from ayt.training.radam import Moments, StepSizes, step_sizes


class MovingAverage(NamedTuple):
    """How a moving average of the weights is updated.

    Attributes:
        decay: constant decay per iteration; 0 for a power-function average.
        gamma: exponent of a power-function average; 0: its decay is constant.
    """

    decay: float = 0.0
    gamma: float = 0.0

    @classmethod
    def of(cls, average: Average) -> MovingAverage:
        """From a setting."""
        return cls(gamma=power_exponent(average.power)) if isinstance(average, PowerAverage) else cls(average)

    def share(self, iteration: int) -> float:
        """The share 1 - beta of the new weights after an iteration, counted from 0.

        beta is constant, or (1 - 1 / k)^(gamma + 1) with k = iteration + 1 for a power-function average.
        """
        if self.gamma:
            beta: float = (1 - 1 / (iteration + 1)) ** (self.gamma + 1)
            return 1 - beta
        return 1 - self.decay


class Optimiser(NamedTuple):
    """RAdam without weight decay, its learning-rate schedule and the averages.

    Attributes:
        lr: learning rate.
        warmup: iterations over which it rises linearly from 0.
        decay: iterations after which it has fallen to 0; None: it does not fall.
        averages: of the weights; if empty, snapshots hold the weights themselves.
        root_decay: iterations after which the learning rate falls as 1 / sqrt(iteration); None: it does not.
    """

    lr: float
    warmup: int
    decay: int | None
    averages: tuple[MovingAverage, ...] = ()
    root_decay: int | None = None

    @classmethod
    def of(cls, training: Training) -> Optimiser:
        """From a training run's settings."""
        averages = tuple(MovingAverage.of(average) for average in training.averages if average)
        root_decay = training.root_decay_iterations
        return cls(training.lr, training.warmup, training.decay_iterations, averages, root_decay)


def power_exponent(width: float) -> float:
    """The exponent gamma of a power-function average of a relative width below 0.28 (EDM2, equation 123).

    It solves width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), which decreases for gamma >= 0.
    """
    low, high = 0.0, 1 / width**2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        wider = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > width**2
        low, high = (middle, high) if wider else (low, middle)
    return low


def learning_rate(iteration: int, optimiser: Optimiser) -> float:
    """Linear warm-up, then constant, linear decay to 0 over ``decay`` iterations, or decay as 1 / sqrt(iteration)."""
    rate = optimiser.lr * min(1.0, (iteration + 1) / max(optimiser.warmup, 1))
    if optimiser.root_decay is not None:
        rate /= max(iteration / optimiser.root_decay, 1.0) ** 0.5
    return rate if optimiser.decay is None else rate * max(0.0, 1 - iteration / optimiser.decay)


def device_name(device: torch.device) -> str:
    """A device's name, for example ``NVIDIA H100 80GB HBM3`` or ``CPU (AMD EPYC 7B13)``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU ({models[0] if models else platform.machine()})"


class TrainingState:
    """A training run, ready for its next iteration.

    Args:
        network: trained in place.
        settings: the optimiser's settings.
        run: name of the run.
        origin: SHA-256 of the published files that it starts from, by name.
        auxiliary: networks by role, trained alongside it with the same steps; they are not averaged and not part of
            snapshots.

    Attributes:
        iteration: iterations done.
        commits: commits of the source that trained since the last segment's end, the current one last.
        averages: the network with each moving average of the weights.
        average: the first of them; the network itself if there is none.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Optimiser,
        run: str,
        origin: dict[str, str] | None = None,
        auxiliary: nn.ModuleDict | None = None,
    ) -> None:
        self.network = network
        self.auxiliary = auxiliary or nn.ModuleDict()
        self.settings = settings
        self.run = run
        self.origin = origin or {}
        self.iteration = 0
        self.commits: list[str] = []
        self.averages = [copy.deepcopy(network).requires_grad_(False) for _ in settings.averages]
        self.average = self.averages[0] if self.averages else network
        self.parameters: list[Tensor] = list(network.parameters())
        self.trained: list[Tensor] = [*self.parameters, *self.auxiliary.parameters()]
        self.moments = Moments(self.trained)

    def step(self) -> None:
        """Apply the gradients, then update the averages; counts as one iteration."""
        self.apply(self.step_sizes())
        self.iteration += 1

    def step_sizes(self) -> StepSizes:
        """The optimiser's step sizes for the next iteration."""
        shares = tuple(average.share(self.iteration) for average in self.settings.averages)
        return step_sizes(self.iteration, learning_rate(self.iteration, self.settings), shares)

    @torch.no_grad()  # otherwise the averages would keep the graph of all updates alive
    def apply(self, sizes: StepSizes) -> None:
        """Apply the gradients, then update the averages; like `step`, but without counting."""
        self.moments.step(sizes)
        for settings, average, share in zip(self.settings.averages, self.averages, sizes.shares, strict=True):
            averages: list[Tensor] = list(average.parameters())
            if settings.decay:
                torch._foreach_lerp_(averages, self.parameters, 1 - settings.decay)
                continue
            moves = torch._foreach_sub(self.parameters, averages)
            torch._foreach_mul_(moves, share)
            torch._foreach_add_(averages, moves)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in self.trained:
            parameter.grad = None

    def save_snapshots(self, files: Mapping[str, Path]) -> None:
        """Write the averaged weights, with the network's buffers as they are.

        Args:
            files: paths by the averages' names, in the order of the settings; the first name is empty.
        """
        for (name, path), average in zip(files.items(), self.averages or [self.network], strict=True):
            if self.averages:
                for ours, theirs in zip(average.buffers(), self.network.buffers(), strict=True):
                    ours.copy_(theirs)
            about = {"commits": self.commits, "origin": self.origin, **({"average": name} if name else {})}
            weights.write(path, "snapshot", self.run, self.iteration, average.state_dict(), **about)

    def save(self, path: Path) -> None:
        """Write everything that the next iteration depends on, and the commits that trained it."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for part, average in self._averages.items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in average.named_parameters()}
        tensors |= {f"auxiliary.{name}": tensor for name, tensor in self.auxiliary.state_dict().items()}
        for key, moments in self._moments.items():
            tensors |= {f"optimiser.{key}.{name}": moment for name, moment in moments.items()}
        about = {"commits": self.commits, "origin": self.origin, "device": device_name(self.parameters[0].device)}
        weights.write(path, "state", self.run, self.iteration, tensors, **about)

    def load(self, path: Path) -> list[str]:
        """Read what `save` wrote, and return the commits that it records.

        Raises:
            UserError: the file is missing, damaged, of another run, does not fit the network, or comes from different
                published weights of the same name.
        """
        tensors, metadata = weights.read(path, "state", self.run)
        if others := [name for name, sha256 in self.origin.items() if metadata.get("origin", {}).get(name) != sha256]:
            raise UserError(
                f"{path}: comes from different weights than those now called {', '.join(others)}; delete the"
                " run's folder to train it from these, or import the old ones again"
            )
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        weights.load_into(self.network, parts["network"], path)
        buffers = dict(self.network.named_buffers())
        for part, average in self._averages.items():
            weights.load_into(average, {**parts[part], **buffers}, path)
        weights.load_into(self.auxiliary, parts["auxiliary"], path)
        for key, moments in self._moments.items():
            for name, moment in moments.items():
                value = parts["optimiser"].get(f"{key}.{name}")
                if value is None:
                    raise UserError(f"{path}: has no {key} of the optimiser for {name}")
                moment.copy_(value)
        self.iteration = int(metadata["iteration"])
        return [str(commit) for commit in metadata.get("commits", [])]

    @property
    def _averages(self) -> dict[str, nn.Module]:
        """The averages by their names in state files: ``average``, ``average1``, ``average2``."""
        return {f"average{number or ''}": average for number, average in enumerate(self.averages)}

    @property
    def _moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's moments by their names in files, and by parameter."""
        names = [name for name, _ in self.network.named_parameters()]
        names += [f"auxiliary.{name}" for name, _ in self.auxiliary.named_parameters()]
        both = {"exp_avg": self.moments.first, "exp_avg_sq": self.moments.second}
        return {key: dict(zip(names, moments, strict=True)) for key, moments in both.items()}
