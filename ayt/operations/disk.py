"""Disk space that an experiment still needs for snapshots and training states."""

from __future__ import annotations

import torch

from ayt.operations.estimate import kind_of_work, segments_left
from ayt.plan.plan import Plan
from ayt.plan.runs import RunRecord
from ayt.training.work import build_auxiliary, build_network

FLOAT = 4
"""Bytes per weight: files are in float32."""


def bytes_left(plan: Plan) -> dict[str, int]:
    """Bytes that each run's untrained segments will write, by the run's name."""
    sizes: dict[tuple[str, int], tuple[int, int]] = {}
    found = {}
    for run in plan.runs.values():
        if missing := segments_left(run):
            averages = sum(map(bool, run.record.training.averages))
            like = kind_of_work(run.record), averages
            snapshot, state = sizes[like] = sizes.get(like) or _sizes(run.record, averages)
            snapshots = sum(len(segment.iterations) for segment in missing) * len(run.record.averages)
            found[run.name] = len(missing) * state + snapshots * snapshot
    return found


def _sizes(record: RunRecord, averages: int) -> tuple[int, int]:
    """Bytes of a snapshot, and of a training state: weights, their averages, and two moments of the optimiser."""
    with torch.device("meta"):  # only sizes: no memory, no time
        network, auxiliary = build_network(record), build_auxiliary(record)
    snapshot = FLOAT * sum(tensor.numel() for tensor in network.state_dict().values())
    weights = FLOAT * sum(parameter.numel() for parameter in network.parameters())
    beside = FLOAT * sum(tensor.numel() for tensor in auxiliary.state_dict().values())
    beside += FLOAT * sum(2 * parameter.numel() for parameter in auxiliary.parameters())
    return snapshot, snapshot + weights * (2 + averages) + beside
