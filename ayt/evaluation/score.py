"""Scoring snapshots: sample, featurise, compare with real images; no image is written and none is kept."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ayt.datasets.images import Images, to_float
from ayt.evaluation.extractors import Extractor, Reference
from ayt.evaluation.frechet import FeatureStatistics, frechet_distance
from ayt.evaluation.inception_score import InceptionScore
from ayt.evaluation.kernel import kid
from ayt.evaluation.naming import Metric, metric
from ayt.evaluation.neighbours import precision_recall_density_coverage
from ayt.features.distance import Distance
from ayt.base.files import write_text, written_beside
from ayt.base.processes import ALONE, Processes
from ayt.base.progress import ProgressLine
from ayt.base.randomness import generator
from ayt.evaluation.sampling import SIGMA_MIN, sample, step, to_uint8
from ayt.plan.evaluations import DENOISING_METRICS, KEPT_METRICS, Evaluation

NEIGHBOURS = KEPT_METRICS - {"kid"}


@dataclass(frozen=True)
class Against:
    """What samples are compared with, and how.

    Attributes:
        extractor: the network in whose features they are compared.
        inception: whether that is FID's network.
        reference: features of real images.
        data: real images, for metrics of denoised images; else None.
        lpips: the distance of the metric ``lpips``, else None.
    """

    extractor: Extractor
    inception: bool
    reference: Reference
    data: Images | None = None
    lpips: Distance | None = None


def batches(images: int, batch_size: int) -> int:
    """How many batches so many images are sampled in; the last may be smaller."""
    return math.ceil(images / batch_size)


def sampled(
    network: nn.Module,
    evaluation: Evaluation,
    repeat: int,
    shape: tuple[int, ...],
    part: int,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Sample batch ``part`` of ``evaluation.samples`` images: (B, C, H, W), in about [-1, 1].

    The noise depends on the evaluation's seed, the repeat and the batch size: it is the same for every network.
    """
    size = min(batch_size, evaluation.samples - part * batch_size)
    noise = torch.randn(
        (evaluation.steps, size, *shape),
        generator=generator(evaluation.seed, part, f"sampling, repeat {repeat}", device),
        device=device,
    )
    return sample(network, noise, evaluation.mids, cast(Literal["ayt", "ect"], evaluation.convention))


def embedded(extractor: Extractor, images: Tensor) -> Tensor:
    """The features (B, d), on the CPU, of images in [-1, 1] as uint8; NaN for an image that is not finite.

    Rounding to uint8 makes a black image of NaN, which would be scored as one.
    """
    finite = torch.isfinite(images).flatten(1).all(1)[:, None]
    return torch.where(finite, extractor.embed(to_uint8(images.nan_to_num())), torch.nan).cpu()


@torch.no_grad()
def denoised(
    network: nn.Module, evaluation: Evaluation, repeat: int, t: float, data: Images, part: int, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Batch ``part`` of the real images, in [-1, 1], and what one step makes of them from noise level t.

    The step ends where a sample does: at 0.002, or in the convention ``ect`` at the denoised image. There are as many
    images as the evaluation has samples, from the dataset's beginning; at most all of it.
    """
    device = data.pixels.device
    start = part * batch_size
    images = to_float(data.pixels[start : min(start + batch_size, evaluation.samples)])
    source = generator(evaluation.seed, part, f"denoising from {t:g}, repeat {repeat}", device)
    noise = torch.randn(images.shape, generator=source, device=device)
    return images, step(network, images + t * noise, t, 0.0 if evaluation.convention == "ect" else SIGMA_MIN)


@torch.no_grad()
def score_snapshot(
    network: nn.Module,
    against: Against,
    evaluation: Evaluation,
    dataset: str,
    shape: tuple[int, ...],
    batch_size: int,
    device: torch.device,
    line: ProgressLine,
    processes: Processes = ALONE,
) -> tuple[dict[Metric, list[float]], Tensor]:
    """Score one network.

    Args:
        network: the denoiser, in eval mode on the device.
        against: what its samples are compared with.
        evaluation: how to sample, and which metrics.
        dataset: name of the dataset.
        shape: (C, H, W) of an image.
        batch_size: images sampled at a time.
        device: where to.
        line: told of every batch.
        processes: those that score this network together: they take batches in turn, and the first has the result,
            which is the same for any number of them.

    Returns:
        Each metric's value at each repeat, NaN where samples are not finite, and the first ``evaluation.grid`` images
        of the first repeat; nothing in other processes than the first.
    """
    values: dict[Metric, list[float]] = {}
    grid: list[Tensor] = []
    room = math.ceil(evaluation.grid / batch_size)
    for repeat in range(evaluation.repeats):
        gathered = _Gathered(against, evaluation)

        def batch(part: int, repeat: int = repeat) -> tuple[int, Tensor, Tensor | None]:
            images = sampled(network, evaluation, repeat, shape, part, batch_size, device)
            features = embedded(against.extractor, images)
            return len(images), features, to_uint8(images).cpu() if repeat == 0 and part < room else None

        for size, features, images in processes.spread(batches(evaluation.samples, batch_size), batch):
            gathered.update(features.to(device))
            if images is not None:
                grid.append(images)
            line.advance(size)
        found = gathered.metrics() if processes.first else {}
        for key, value in found.items():
            values.setdefault(metric(key, dataset, against.inception), []).append(value)
        for t in evaluation.denoise:
            for key, value in _denoising_metrics(
                network, against, evaluation, repeat, t, batch_size, device, line, processes
            ).items():
                values.setdefault(metric(key, dataset, against.inception, t), []).append(value)
    return values, torch.cat(grid)[: evaluation.grid] if grid else torch.empty(0)


class _Gathered:
    """What the metrics need of the samples of one repeat; its size does not depend on how many there are."""

    def __init__(self, against: Against, evaluation: Evaluation) -> None:
        self._against, self._wanted = against, set(evaluation.metrics)
        self._statistics: FeatureStatistics | None = None
        self._inception_score: InceptionScore | None = None
        self._kept: list[Tensor] = []
        self._room = len(against.reference.kept)

    def update(self, features: Tensor) -> None:
        self._statistics = self._statistics or FeatureStatistics(features.shape[1], features.device)
        self._statistics.update(features)
        if "inception_score" in self._wanted:
            logits = self._against.extractor.head(features)
            self._inception_score = self._inception_score or InceptionScore(logits.shape[1])
            self._inception_score.update(logits)
        if self._room:
            self._kept.append(features[: self._room].cpu())
            self._room -= len(self._kept[-1])

    def metrics(self) -> dict[str, float]:
        assert self._statistics is not None
        if not torch.isfinite(self._statistics.mean).all():
            return dict.fromkeys(sorted(self._wanted - DENOISING_METRICS), math.nan)
        found: dict[str, float] = {}
        reference = self._against.reference
        if "frechet" in self._wanted:
            found["frechet"] = frechet_distance(
                self._statistics.mean.cpu(), self._statistics.covariance.cpu(), reference.mu, reference.sigma
            )
        if self._inception_score is not None:
            found["inception_score"] = self._inception_score.value
        if "kid" in self._wanted:
            found["kid"] = kid(torch.cat(self._kept), reference.kept)
        if NEIGHBOURS & self._wanted:
            four = precision_recall_density_coverage(torch.cat(self._kept), reference.kept)._asdict()
            found |= {key: four[key] for key in NEIGHBOURS & self._wanted}
        return {key: found[key] for key in sorted(found)}


def _denoising_metrics(
    network: nn.Module,
    against: Against,
    evaluation: Evaluation,
    repeat: int,
    t: float,
    batch_size: int,
    device: torch.device,
    line: ProgressLine,
    processes: Processes,
) -> dict[str, float]:
    """The metrics of real images that were noised to t and denoised in one step."""
    data = against.data
    assert data is not None

    def batch(part: int) -> tuple[int, Tensor | None, Tensor | None]:
        images, result = denoised(network, evaluation, repeat, t, data, part, batch_size)
        wanted = "denoised_frechet" in evaluation.metrics
        features = embedded(against.extractor, result) if wanted else None
        distances = against.lpips(result.clamp(-1, 1), images).double().cpu() if against.lpips else None
        return len(images), features, distances

    gathered: FeatureStatistics | None = None
    gathered_distances: list[Tensor] = []
    for size, features, distances in processes.spread(batches(min(evaluation.samples, len(data)), batch_size), batch):
        if features is not None:
            gathered = gathered or FeatureStatistics(features.shape[1], device)
            gathered.update(features.to(device))
        if distances is not None:
            gathered_distances.append(distances)
        line.advance(size)
    found = {}
    if gathered is not None:
        mu, sigma = gathered.mean.cpu(), gathered.covariance.cpu()
        reference = against.reference
        finite = bool(torch.isfinite(mu).all())
        found["denoised_frechet"] = frechet_distance(mu, sigma, reference.mu, reference.sigma) if finite else math.nan
    if gathered_distances:
        found["lpips"] = float(torch.cat(gathered_distances).mean())
    return found


def score_record(about: dict[str, Any], evaluation: Evaluation, values: dict[Metric, list[float]]) -> dict[str, Any]:
    """What a score file holds: the run, how it was evaluated, and each metric's values and their statistics.

    Values that are not finite are None, and so are then the statistics: JSON has no NaN.
    """
    summaries = {
        metric.label: {"key": metric.key, "better": metric.better, **_summary(found)}
        for metric, found in values.items()
    }
    return {**about, "evaluation": asdict(evaluation), "metrics": summaries}


def _summary(values: list[float]) -> dict[str, Any]:
    if not all(map(math.isfinite, values)):
        kept = [value if math.isfinite(value) else None for value in values]
        return {"values": kept, **dict.fromkeys(("mean", "std", "min", "max"))}
    return {
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def write_score(path: Path, record: dict[str, Any]) -> None:
    """Write a score file."""
    write_text(path, json.dumps(record, indent=2) + "\n")


def write_images(path: Path, images: Tensor) -> None:
    """Write uint8 images (n, C, H, W)."""
    with written_beside(path) as beside:
        np.savez_compressed(beside, images=images.numpy())
