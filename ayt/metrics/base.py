"""What a metric is."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ayt.base.kinds import Kind, Registry

if TYPE_CHECKING:
    from ayt.metrics.formulas.feature_sets import Denoised, FeatureSet

Better = Literal["lower", "higher"]


class Metric(Kind):
    """A number that says how good the images are that a network makes.

    Attributes:
        label: as figures and tables call it.
        inception_label: the same in the features of FID's Inception network, where it has another name there.
        in_features: whether it depends on the network in whose features images are compared.
        better: which values are good.
        always: whether it is computed in every pass over samples, whether it is shown or not.
    """

    label: ClassVar[str]
    inception_label: ClassVar[str | None] = None
    in_features: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"
    always: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = False

    def title(self, dataset: str, inception: bool, t: float | None = None) -> str:
        """The metric with what it is measured in. Only Inception features make a Frechet distance an FID.

        Args:
            dataset: name of the dataset.
            inception: whether features are those of FID's Inception network, not of a classifier of the dataset.
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
    """A metric of samples: they are drawn once for all of these."""

    @abstractmethod
    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""


class DenoisingMetric(Metric):
    """A metric of real images that were noised to a level t and denoised in one step: a pass of its own for each t."""

    @property
    def files(self) -> list[Path]:
        """Published networks that it looks through."""
        return []

    @abstractmethod
    def compute(self, denoised: Denoised, real: FeatureSet) -> float:
        """Judge denoised images.

        Args:
            denoised: the images, batch by batch, with the real ones that they came from.
            real: features of real images.
        """


METRICS: Registry[Metric] = Registry("metric", key="metric", package="ayt.metrics")


def sample_metrics() -> list[SampleMetric]:
    """The metrics that every pass over samples computes, in the order of their names."""
    return [kind() for kind in METRICS.kinds.values() if issubclass(kind, SampleMetric) and kind.always]
