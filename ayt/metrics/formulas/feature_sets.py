"""Features of many images, as metrics use them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ayt.metrics.formulas.frechet import FeatureStatistics
from ayt.metrics.formulas.inception_score import Predictions

T = TypeVar("T")


class FeatureSet:
    """A summary of the features of a set of images, on one device; its size does not depend on the number of images.

    Attributes:
        mean: (d,) float64.
        covariance: (d, d) float64.
        kept: (k, d) features of the first images, or of randomly chosen ones, float32.
        predictions: class predictions, for samples; real images have none.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, kept: Tensor, predictions: Predictions | None = None) -> None:
        self.mean, self.covariance, self.kept = mean, covariance, kept
        self._predictions = predictions
        self._derived: dict[Any, Any] = {}

    @property
    def predictions(self) -> Predictions:
        """Class predictions of the features' network.

        Raises:
            ValueError: there are none, as these are real images.
        """
        if self._predictions is None:
            raise ValueError("real images have no predictions here")
        return self._predictions

    def to(self, device: torch.device | str) -> FeatureSet:
        """The same on a device, without its predictions."""
        mean, covariance, kept = (part.to(device) for part in (self.mean, self.covariance, self.kept))
        return FeatureSet(mean, covariance, kept)

    @property
    def finite(self) -> bool:
        """Whether all features are finite."""
        return bool(torch.isfinite(self.mean).all())

    def derive(self, key: Any, compute: Callable[[], T]) -> T:
        """The result of ``compute``, cached by key: several metrics, or repeats, need the same results."""
        if key not in self._derived:
            self._derived[key] = compute()
        found: T = self._derived[key]
        return found


class Gatherer:
    """Gathers a `FeatureSet` batch by batch.

    Args:
        kept: how many feature vectors are kept.
        head: maps features (B, d) to logits (B, classes); None: no predictions are gathered.
    """

    def __init__(self, kept: int, head: Callable[[Tensor], Tensor] | None = None) -> None:
        self._room, self._head = kept, head
        self._statistics: FeatureStatistics | None = None
        self._predictions: Predictions | None = None
        self._kept: list[Tensor] = []

    def update(self, features: Tensor) -> None:
        """Add (B, d) features."""
        self._statistics = self._statistics or FeatureStatistics(features.shape[1], features.device)
        self._statistics.update(features)
        if self._head:
            logits = self._head(features)
            self._predictions = self._predictions or Predictions(logits.shape[1], logits.device)
            self._predictions.update(logits)
        if self._room:
            self._kept.append(features[: self._room])
            self._room -= len(self._kept[-1])

    def finish(self) -> FeatureSet:
        """The features, on their device.

        Raises:
            UserError: there are fewer than two.
        """
        statistics = self._statistics or FeatureStatistics(0)
        kept = torch.cat(self._kept) if self._kept else torch.zeros(0, 0)
        return FeatureSet(statistics.mean, statistics.covariance, kept, self._predictions)


class Denoised(ABC):
    """Real images that were noised and denoised in one step, batch by batch.

    Attributes:
        device: where they are.
    """

    device: torch.device

    @abstractmethod
    def features(self) -> FeatureSet:
        """Features of the denoised images."""

    @abstractmethod
    def mean(self, judge: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The mean over all images of ``judge``, which maps real and denoised images (B, C, H, W) to (B,) numbers."""
