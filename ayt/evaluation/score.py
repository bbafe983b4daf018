"""Scoring snapshots: sample, compute features, compare with real images; no image is written or kept."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ayt.base.files import write_text
from ayt.base.images import Images, to_float, to_uint8
from ayt.base.processes import ALONE, Processes
from ayt.base.progress import ProgressLine
from ayt.base.randomness import image_noise
from ayt.datasets.base import Dataset
from ayt.evaluation.extractors import Extractor
from ayt.evaluation.sampling import SIGMA_MIN, draw_samples, step
from ayt.methods.formulas.objective import Sampled
from ayt.metrics.base import sample_metrics
from ayt.metrics.formulas.feature_sets import Denoised, FeatureSet, Gatherer
from ayt.plan.anchors import Anchor
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.runs import RunRecord

T = TypeVar("T")

Values = dict[str, list[float]]
"""Each metric's value at each repeat, NaN if images are not finite; empty except in the first process."""


def cut(images: int, batch_size: int) -> list[range]:
    """The indices of this many images, batch by batch; the last batch may be smaller."""
    return [range(start, min(start + batch_size, images)) for start in range(0, images, batch_size)]


def embed(extractor: Extractor, images: Tensor) -> Tensor:
    """The features (B, d) of images in [-1, 1] as uint8; NaN for an image that is not finite.

    Rounding to uint8 would turn NaN into a black image and score it as one.
    """
    finite = torch.isfinite(images).flatten(1).all(1)[:, None]
    return torch.where(finite, extractor.embed(to_uint8(images.nan_to_num())), torch.nan)


class ElsewhereError(Exception):
    """The first of several processes has the result, and this is another."""


@dataclass(frozen=True)
class Scorer:
    """Scores denoisers of one dataset.

    Attributes:
        dataset: whose images they sample.
        classes: number of classes they are conditioned on; 0: none.
        extractor: the network whose features are compared.
        real: features of real images, on the device.
        batch_size: images at a time; scores do not depend on it.
        device: where everything is.
        line: progress, updated after every batch.
        data: real images on the device, for metrics of denoised images.
        processes: those that score together: they take turns with batches, and the first has the result, which does
            not depend on their number.
        beside: runs metrics while a GPU continues sampling; None: they are computed immediately.
    """

    dataset: Dataset
    classes: int
    extractor: Extractor
    real: FeatureSet
    batch_size: int
    device: torch.device
    line: ProgressLine
    data: Images | None = None
    processes: Processes = field(default=ALONE)
    beside: Executor | None = None

    @torch.no_grad()
    def score(self, network: Sampled, score: Score | DenoisingScore | Anchor) -> Callable[[], Values]:
        """Draw all samples of a score; returns a function that waits for the metrics."""
        if isinstance(score, DenoisingScore):
            found = self._score_denoised(network, score)
            return lambda: found
        repeats = [self._score_repeat(network, score, repeat) for repeat in range(score.repeats)]

        def values() -> Values:
            metrics = [judged() for judged in repeats]
            return {name: [of[name] for of in metrics] for name in metrics[0]}

        return values

    def _score_denoised(self, network: Sampled, score: DenoisingScore) -> Values:
        values = []
        for repeat in range(score.repeats):
            try:
                values.append(score.metric.compute(DenoisedImages(self, network, score, repeat), self.real))
            except ElsewhereError:
                continue
        return {score.metric.name: values} if self.processes.first else {}

    def spread(self, images: int, compute: Callable[[range], T]) -> Iterator[T]:
        """Results of ``compute`` for each batch of this many images, spread over processes; the first gets all."""
        batches = cut(images, self.batch_size)
        for places, result in zip(
            batches, self.processes.spread(len(batches), lambda part: compute(batches[part])), strict=False
        ):
            self.line.advance(len(places))
            yield result

    def sent(self, result: Tensor) -> Tensor:
        """A batch's result as `spread` wants it: on the host where other processes send theirs."""
        return result if self.processes.count == 1 else result.cpu()

    def _score_repeat(self, network: Sampled, score: Score | Anchor, repeat: int) -> Callable[[], dict[str, float]]:
        shape, classes = self.dataset.shape, self.classes

        def featurise(places: range) -> Tensor:
            images = draw_samples(network, score.sampling, repeat, places, shape, classes, self.device)
            return self.sent(embed(self.extractor, images))

        gatherer = Gatherer(score.reference.kept, self.extractor.head)
        for features in self.spread(score.samples, featurise):
            gatherer.update(features.to(self.device))
        if not self.processes.first:
            return dict
        samples, metrics = gatherer.finish(), [*sample_metrics(), *score.more]

        def judge() -> dict[str, float]:
            return {m.name: m.compute(samples, self.real) if samples.finite else math.nan for m in metrics}

        return self._later(judge)

    def _later(self, compute: Callable[[], T]) -> Callable[[], T]:
        """What ``compute`` returns, once it is asked for: begun now, beside what comes next if that can be."""
        if self.beside is None:
            result = compute()
            return lambda: result
        drawn = torch.cuda.current_stream(self.device).record_event()

        def on_its_own_stream() -> T:
            # Else each number that the host asks for would wait for what the GPU was told since.
            with torch.cuda.stream(torch.cuda.Stream(self.device)):  # type: ignore[no-untyped-call]
                torch.cuda.current_stream(self.device).wait_event(drawn)
                return compute()

        return self.beside.submit(on_its_own_stream).result


@contextmanager
def compute_beside(device: torch.device) -> Iterator[Executor | None]:
    """An executor for metrics while a GPU samples; None on a CPU, where it would gain nothing."""
    if device.type != "cuda":
        yield None
        return
    with ThreadPoolExecutor(1) as executor:
        yield executor


class DenoisedImages(Denoised):
    """Real images that were noised to t and denoised in one step.

    The step ends where a sample does: at 0.002, or in the convention ``ect`` at the denoised image.

    Args:
        scorer: of the dataset.
        network: class labels to the denoiser.
        score: the score's record.
        repeat: from 0.
    """

    def __init__(self, scorer: Scorer, network: Sampled, score: DenoisingScore, repeat: int) -> None:
        assert scorer.data is not None
        self.device = scorer.device
        self._scorer, self._network, self._score, self._repeat = scorer, network, score, repeat
        self._data = scorer.data

    def features(self) -> FeatureSet:
        """Features of the denoised images."""
        gatherer = Gatherer(kept=0)
        for features in self._spread(lambda real, denoised: embed(self._scorer.extractor, denoised)):
            gatherer.update(features.to(self.device))
        return gatherer.finish()

    def mean(self, judge: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The mean of ``judge`` over all pairs of real and denoised images."""
        found = list(self._spread(lambda real, denoised: judge(real, denoised).double()))
        return float(torch.cat(found).mean())

    def _spread(self, compute: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Tensor]:
        """Results of ``compute`` for each batch of real and denoised images."""

        def both(places: range) -> Tensor:
            rows = slice(places.start, places.stop)
            real = to_float(self._data.pixels[rows])
            return self._scorer.sent(compute(real, self._denoise(real, self._data.labels[rows], places)))

        yield from self._scorer.spread(min(self._score.samples, len(self._data)), both)
        if not self._scorer.processes.first:
            raise ElsewhereError

    def _denoise(self, real: Tensor, labels: Tensor, places: range) -> Tensor:
        """Real images (B, C, H, W) after noising and one step of denoising."""
        score = self._score
        purpose = f"denoising from {score.t:g}, repeat {self._repeat}"
        noise = image_noise(score.seed, 0, purpose, places.start, places.stop, real.shape[1:], self.device)
        end = 0.0 if score.convention == "ect" else SIGMA_MIN
        return step(self._network(labels), real + score.t * noise, score.t, end)


def write_score(
    path: Path,
    run: RunRecord,
    iteration: int,
    score: Score | DenoisingScore,
    values: Values,
    made_from: dict[str, Any],
    average: str = "",
) -> None:
    """Write a snapshot's scores: its run, how it was evaluated, and each metric's values and their statistics.

    Values that are not finite become None, and then so do the statistics: JSON has no NaN. ``made_from`` identifies
    the content of the files that it depends on.
    """
    of = {"run": run.name, "dataset": run.dataset.name, "iteration": iteration}
    named = {"average": average} if average else {}
    _write(path, {**of, **named, "made_from": made_from}, score, values)


def write_anchor(path: Path, anchor: Anchor, origin: str, values: dict[str, list[float]]) -> None:
    """Write the scores of weights that were not trained here; ``origin`` identifies their content."""
    _write(path, {"anchor": anchor.name, "dataset": anchor.dataset.name, "origin": origin}, anchor, values)


def _write(
    path: Path, of: dict[str, Any], record: Score | DenoisingScore | Anchor, values: dict[str, list[float]]
) -> None:
    metrics = {name: _summarise(found) for name, found in values.items()}
    write_text(path, json.dumps({**of, "record": record.content(), "metrics": metrics}, indent=2) + "\n")


def _summarise(values: list[float]) -> dict[str, Any]:
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
