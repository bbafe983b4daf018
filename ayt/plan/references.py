"""What samples are compared with: features of real images, and the network that computes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ayt.base import paths
from ayt.datasets.base import DATASETS, Dataset
from ayt.plan import records
from ayt.plan.records import Record, digest, part, require_version
from ayt.plan.runs import Weights, parse_weights

EVALUATION_VERSION = 4
"""To be raised by hand when a code change changes the scores of some snapshot."""

MOST_KEPT = 10_000
"""The most features of samples, and of real images, used by metrics that compare individual features."""

INCEPTION = "inception"
"""The name of FID's network in experiments and records."""


@dataclass(frozen=True)
class FeatureSpace:
    """The network whose features are compared: FID's Inception network, or a classifier of the dataset.

    Attributes:
        classifier: its weights; None: Inception.
    """

    classifier: Weights | None

    @property
    def name(self) -> str:
        """What identifies the network."""
        return self.classifier.name if self.classifier else INCEPTION

    @property
    def inputs(self) -> list[Path]:
        """The files that the network is made from."""
        return [self.classifier.path if self.classifier else paths.INCEPTION]

    def content(self) -> dict[str, Any]:
        """Its content in a record."""
        return self.classifier.content() if self.classifier else {"published": INCEPTION}

    @classmethod
    def parse(cls, content: Any, source: str) -> FeatureSpace:
        """From its content in a record.

        Raises:
            UserError: this version does not understand it.
        """
        if content == {"published": INCEPTION}:
            return cls(None)
        return cls(parse_weights(content, source))


@dataclass(frozen=True, eq=False)
class Reference(Record):
    """Features of real images that samples are compared with.

    Attributes:
        dataset: of the images.
        features: the network.
        statistics: the asset with the mean and covariance of the features; None: they are computed.
        kept: how many feature vectors are kept; as many as there are samples, up to `MOST_KEPT`.
    """

    kind: ClassVar[str] = "reference"

    dataset: Dataset
    features: FeatureSpace
    statistics: str | None
    kept: int = MOST_KEPT

    @cached_property
    def name(self) -> str:
        """``{network}-{hash8}``."""
        numbers = {
            "version": EVALUATION_VERSION,
            "dataset": DATASETS.identity(self.dataset),
            "features": self.features.name,
            "statistics": self.statistics,
            "kept": self.kept,
        }
        return f"{'classifier' if self.features.classifier else INCEPTION}-{digest(numbers)}"

    @property
    def record(self) -> Path:
        """The path of its record."""
        return paths.reference(self.dataset.name, self.name, "yaml")

    @property
    def path(self) -> Path:
        """The path of the features."""
        return paths.reference(self.dataset.name, self.name, "npz")

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "version": EVALUATION_VERSION,
            "dataset": DATASETS.dump(self.dataset),
            "features": self.features.content(),
            "statistics": self.statistics,
            "kept": self.kept,
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Reference:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        require_version(content, EVALUATION_VERSION, source)
        return cls(
            dataset=DATASETS.parse(part(content, "dataset", dict, source), f"{source}.dataset"),
            features=FeatureSpace.parse(content.get("features"), f"{source}.features"),
            statistics=content.get("statistics"),
            kept=part(content, "kept", int, source),
        )


def read_reference(path: Path) -> Reference:
    """Read the record of reference features.

    Raises:
        UserError: the file is missing, a different record, of another version, or was edited.
    """
    return records.read(path, {Reference.kind: Reference.parse})
