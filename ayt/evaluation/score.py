"""Scoring snapshots: sample, featurise, compare with the dataset."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ayt.data import Images, to_float
from ayt.errors import UserError
from ayt.evaluation.frechet import FeatureStatistics, frechet_distance
from ayt.files import write_text, written_beside
from ayt.networks.classifier import VGG
from ayt.plan import Evaluation
from ayt.progress import ProgressLine
from ayt.randomness import generator
from ayt.sampling import sample, to_uint8


def metric_name(dataset: str) -> str:
    """What the Frechet distance in features of a dataset's own class-label network is called: not FID."""
    return f"FD ({dataset} features)"


@torch.no_grad()
def write_reference(path: Path, network: VGG, data: Images, batch_size: int) -> None:
    """Write mean ``mu`` (d,) and covariance ``sigma`` (d, d) of a dataset's features, and their number ``n``."""
    gathered: FeatureStatistics | None = None
    for start in range(0, len(data), batch_size):
        features = network.embed(to_float(data.pixels[start : start + batch_size]))
        gathered = gathered or FeatureStatistics(features.shape[1], features.device)
        gathered.update(features)
    assert gathered is not None
    with written_beside(path) as beside:
        np.savez(beside, mu=gathered.mean.cpu(), sigma=gathered.covariance.cpu(), n=gathered.n)


def read_reference(path: Path) -> tuple[Tensor, Tensor]:
    """Read what `write_reference` wrote: mean and covariance.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return torch.from_numpy(arrays["mu"]), torch.from_numpy(arrays["sigma"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: not statistics of features ({error}); delete it to have it made again") from None


def samples(
    network: nn.Module,
    evaluation: Evaluation,
    repeat: int,
    shape: tuple[int, ...],
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Sample uint8 images (B, C, H, W), batch by batch, ``evaluation.samples`` in all.

    The noise depends on the evaluation's seed, the repeat and the batch size: it is the same for every network.
    """
    for part, start in enumerate(range(0, evaluation.samples, batch_size)):
        size = min(batch_size, evaluation.samples - start)
        noise = torch.randn(
            (evaluation.steps, size, *shape),
            generator=generator(evaluation.seed, part, f"sampling, repeat {repeat}", device),
            device=device,
        )
        convention = cast(Literal["ayt", "ect"], evaluation.convention)
        yield to_uint8(sample(network, noise, evaluation.mids, convention))


def score_snapshot(
    network: nn.Module,
    features: VGG,
    reference: tuple[Tensor, Tensor],
    evaluation: Evaluation,
    shape: tuple[int, ...],
    batch_size: int,
    device: torch.device,
    line: ProgressLine,
) -> tuple[list[float], Tensor]:
    """Score one network.

    Args:
        network: the denoiser, in eval mode on the device.
        features: the network whose features are compared.
        reference: mean and covariance of the dataset's features.
        evaluation: how to sample.
        shape: (C, H, W) of an image.
        batch_size: images sampled at a time.
        device: where to.
        line: told of every batch.

    Returns:
        The Frechet distance of each repeat, and the first ``evaluation.grid`` images of the first repeat.
    """
    distances: list[float] = []
    kept: list[Tensor] = []
    for repeat in range(evaluation.repeats):
        gathered = FeatureStatistics(len(reference[0]), device)
        for images in samples(network, evaluation, repeat, shape, batch_size, device):
            with torch.no_grad():
                gathered.update(features.embed(to_float(images)))
            if repeat == 0 and sum(len(part) for part in kept) < evaluation.grid:
                kept.append(images.cpu())
            line.advance(len(images))
        if not torch.isfinite(gathered.mean).all():
            raise UserError("the features of the samples are not finite")
        distances.append(frechet_distance(gathered.mean.cpu(), gathered.covariance.cpu(), reference[0], reference[1]))
    return distances, torch.cat(kept)[: evaluation.grid]


def score_record(about: dict[str, Any], evaluation: Evaluation, metric: str, values: list[float]) -> dict[str, Any]:
    """What a score file holds: the run, how it was evaluated, and each metric's values and their statistics."""
    summary = {
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }
    return {**about, "evaluation": asdict(evaluation), "metrics": {metric: summary}}


def write_score(path: Path, record: dict[str, Any]) -> None:
    """Write a score file."""
    write_text(path, json.dumps(record, indent=2) + "\n")


def write_images(path: Path, images: Tensor) -> None:
    """Write uint8 images (n, C, H, W)."""
    with written_beside(path) as beside:
        np.savez_compressed(beside, images=images.numpy())
