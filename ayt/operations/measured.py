"""Measured durations of training steps and of scoring: an estimate until the user's own logs exist."""

from __future__ import annotations

from typing import NamedTuple

from ayt.networks.base import Denoiser
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.runs import RunRecord

CARD = "one NVIDIA H100 80 GB"
WHEN = "2026-11-27 at commit 376981c with torch 2.11"
"""benchmarks/2026-11-27-gpu.md has the measurements, and what was not measured."""


class Step(NamedTuple):
    """What was measured: steps of EDM's network for CIFAR-10, on 3 x 32 x 32 pixels; the classifier is a VGG16."""

    method: str
    batch_size: int
    precision: str


MILLISECONDS = {
    Step("ect", 16, "tf32"): 36.2,  # not compiled, as it was not measured compiled: an upper bound
    Step("ect", 128, "tf32"): 129.8,
    Step("ect", 128, "bf16"): 68.1,
    Step("ayt", 16, "tf32"): 23.0,
    Step("ayt", 16, "bf16"): 14.2,
    Step("ayt", 128, "tf32"): 131.3,
    Step("ayt", 128, "bf16"): 69.9,
}
"""Milliseconds per iteration on `CARD`, with one average of the weights: replayed and, as in segments that are long
enough, compiled. The time of compiling is not in them."""

IMAGES_PER_SECOND = {"tf32": 3330.0, "bf16": 4101.0}
"""Images that the same network samples in one step and Inception looks at, on `CARD`, by precision of the sampling:
replayed and, as in jobs of enough images, compiled. Metrics, which are computed beside, are not in them."""


def milliseconds(record: RunRecord) -> float | None:
    """Milliseconds per iteration of a run on `CARD`; None: it was not measured."""
    upstream = [weights.network for weights in record.upstream.values()]
    if not _was_measured(record) or any(not network.by_default or network != type(network)() for network in upstream):
        return None
    return MILLISECONDS.get(Step(record.training.name, record.batch_size, record.training.precision))


def images_per_second(record: RunRecord, score: Score | DenoisingScore) -> float | None:
    """Images of a run's snapshots that are sampled and looked at per second on `CARD`; None: it was not measured."""
    if not isinstance(score, Score) or score.sampling.steps > 1 or score.reference.features.classifier:
        return None
    if not _was_measured(record) or record.training.sampled_with:
        return None
    return IMAGES_PER_SECOND[score.precision]


def _was_measured(record: RunRecord) -> bool:
    """Whether a run's own network is the one that was measured."""
    network = record.network
    is_papers = isinstance(network, Denoiser) and network.by_default and network == type(network)()
    return is_papers and record.dataset.shape == (3, 32, 32)
