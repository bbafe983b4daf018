"""Measured durations of training steps: an estimate until the user's own logs exist."""

from __future__ import annotations

from typing import NamedTuple

from ayt.networks.base import Denoiser
from ayt.plan.runs import RunRecord

CARD = "one NVIDIA H100 80 GB"
WHEN = "2026-11-26 at commit 531c327 with torch 2.11"
"""Measured before iterations were replayed and compiled."""


class Step(NamedTuple):
    """What was measured: steps of EDM's network for CIFAR-10, on 3 x 32 x 32 pixels; the classifier is a VGG16."""

    method: str
    batch_size: int
    precision: str


MILLISECONDS = {
    Step("ect", 16, "tf32"): 170.0,
    Step("ect", 128, "tf32"): 295.0,
    Step("ayt", 16, "tf32"): 157.0,
    Step("ayt", 128, "tf32"): 298.0,
}
"""Milliseconds per iteration on `CARD`, channels last."""


def milliseconds(record: RunRecord) -> float | None:
    """Milliseconds per iteration of a run on `CARD`; None: it was not measured."""
    networks = [record.network, *(weights.network for weights in record.upstream.values())]
    if not isinstance(record.network, Denoiser) or record.dataset.shape != (3, 32, 32):
        return None
    if any(not network.by_default or network != type(network)() for network in networks):
        return None
    return MILLISECONDS.get(Step(record.training.name, record.batch_size, record.training.precision))
