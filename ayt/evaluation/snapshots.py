"""A run's snapshots for sampling, loaded one after another into the same network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ayt.base import paths
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.methods.formulas.objective import Sampled
from ayt.networks.modules.precond import EDMPrecond
from ayt.plan.evaluations import Precision
from ayt.plan.runs import RunRecord
from ayt.training.work import build_denoiser, load_snapshot, work_of


class Snapshots:
    """The denoiser of a run, and its snapshots.

    Args:
        run: the run.
        folder: of the run.
        device: the device to sample on.
        batches: how networks are run.
        average: of the run's; empty: the first.
        precision: precision of all networks used in sampling.

    Raises:
        UserError: the run is a classifier's; weights upstream that it is sampled with are missing or damaged.
    """

    def __init__(
        self,
        run: RunRecord,
        folder: Path,
        device: torch.device,
        batches: FixedBatches,
        average: str = "",
        precision: Precision = "tf32",
    ) -> None:
        self._run, self._folder, self._average = run, folder, average
        self._network = build_denoiser(run).to(device)
        work = work_of(run, folder, device, self._network)
        called, self._cast = call_denoiser(self._network, batches, precision)
        work = replace(work, called=called, call=lambda other: call_denoiser(other, batches, precision)[0])
        self._sampled = run.training.sampled_denoiser(work)
        self._loaded: int | None = None

    def load(self, iteration: int) -> Sampled:
        """Load a snapshot's weights, replacing the previous ones, and return the denoiser.

        Raises:
            UserError: the snapshot is missing, damaged, of another run, or does not fit.
        """
        if iteration != self._loaded:
            load_snapshot(self._network, paths.snapshot(self._folder, iteration, self._average), self._run.name)
            for name, weight in self._cast.items():
                weight.copy_(self._network.model.get_parameter(name))
            self._loaded = iteration
        return self._sampled


def call_denoiser(
    network: EDMPrecond, batches: FixedBatches, precision: Precision
) -> tuple[Callable[..., Tensor], Mapping[str, Tensor]]:
    """A denoiser as it is called in some precision, and its weights in bfloat16, which do not follow its own."""
    network.bf16 = precision == "bf16"
    return batches.denoiser(network)
