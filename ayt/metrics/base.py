"""The base classes of metrics."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ayt.base.kinds import Kind, Registry

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import Denoised, FeatureSet

Better = Literal["lower", "higher"]


class Metric(Kind):
    """A number that measures the quality of a network's images.

    Attributes:
        label: its name in figures and tables.
        inception_label: its name with features of FID's Inception network, if that differs.
        in_features: whether it depends on the network whose features are compared.
        better: whether lower or higher values are better.
        always: whether it is computed in every pass over samples, even if it is not shown.
    """

    label: ClassVar[str]
    inception_label: ClassVar[str | None] = None
    in_features: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"
    always: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = False

    def title(self, dataset: str, inception: bool, t: float | None = None) -> str:
        """The metric's name with its conditions. Only with Inception features is a Frechet distance an FID.

        Args:
            dataset: name of the dataset.
            inception: whether features are those of FID's Inception network rather than of a classifier.
            t: the noise level, for a metric of denoised images.
        """
        notes = [] if t is None else [f"t = {t:g}"]
        label = self.label
        if self.in_features and inception:
            label = self.inception_label or label
        elif self.in_features:
            notes.append(f"{dataset} features")
        return f"{label} ({', '.join(notes)})" if notes else label


class SampleMetric(Metric):
    """A metric of samples, which are drawn once for all such metrics."""

    @abstractmethod
    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""


class DenoisingMetric(Metric):
    """A metric of real images that were noised to a level t and denoised in one step; each t takes a separate pass."""

    @property
    def files(self) -> list[Path]:
        """Files of published networks that it uses."""
        return []

    @abstractmethod
    def compute(self, denoised: Denoised, real: FeatureSet) -> float:
        """Judge denoised images.

        Args:
            denoised: the images, batch by batch, with the corresponding real ones.
            real: features of real images.
        """


METRICS: Registry[Metric] = Registry("metric", key="metric", package="ayt.metrics")


def sample_metrics() -> list[SampleMetric]:
    """The metrics that every pass over samples computes, in the order of their names."""
    return [kind() for kind in METRICS.kinds.values() if issubclass(kind, SampleMetric) and kind.always]
