"""What figures show other than scores: analyses of trained networks, and separate experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ayt.base import paths
from ayt.base.kinds import validate
from ayt.base.sections import Section
from ayt.datasets.base import DATASETS, Dataset
from ayt.experiment.outputs import FIGURES, Figure
from ayt.plan import records
from ayt.plan.records import Record, digest, part
from ayt.plan.runs import Weights, parse_weights


@dataclass(frozen=True, eq=False)
class Analysis(Record):
    """Everything that affects the result of one analysis.

    Attributes:
        figure: the figure drawn from it, with the options that affect the result.
        seed: seed of images, noise and so on.
        weights: the weights that it analyses, by role.
        parts: other settings that it depends on, named as in `Figure.parts`.
        dataset: the dataset of its images; None: its weights determine it (published ones do not), or it needs none.
        inputs: the files that it is computed from.
        on_cpu: whether a GPU would not make it faster.
    """

    kind: ClassVar[str] = "analysis"

    figure: Figure
    seed: int
    weights: Mapping[str, Weights] = field(default_factory=dict)
    parts: Mapping[str, Section] = field(default_factory=dict)
    dataset: Dataset | None = None
    inputs: tuple[Path, ...] = ()
    on_cpu: bool = False

    @cached_property
    def name(self) -> str:
        """``{figure's kind}-{hash8}``: the folder of its record and its result."""
        numbers = {
            "figure": FIGURES.identity(self.figure),
            "seed": self.seed,
            "weights": {role: weights.identity() for role, weights in self.weights.items()},
            "parts": {name: section.identity() for name, section in self.parts.items()},
            **({"dataset": DATASETS.identity(self.dataset)} if self.dataset else {}),
        }
        return f"{self.figure.name}-{digest(numbers)}"

    @property
    def record(self) -> Path:
        """The path of its record."""
        return paths.analysis(self.name) / "record.yaml"

    @property
    def path(self) -> Path:
        """The path of its results, as arrays."""
        return paths.analysis(self.name) / "result.npz"

    def content(self) -> dict[str, Any]:
        """Its file's content."""
        return {
            "figure": FIGURES.dump(self.figure),
            "seed": self.seed,
            "weights": {role: weights.content() for role, weights in self.weights.items()},
            "parts": {name: section.settings() for name, section in self.parts.items()},
            **({"dataset": DATASETS.dump(self.dataset)} if self.dataset else {}),
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Analysis:
        """From its file's content.

        Raises:
            UserError: this version does not understand it.
        """
        figure = FIGURES.parse(part(content, "figure", dict, source), f"{source}.figure")
        weights, parts = part(content, "weights", dict, source), part(content, "parts", dict, source)
        return cls(
            figure=figure,
            seed=part(content, "seed", int, source),
            weights={role: parse_weights(found, f"{source}.weights.{role}") for role, found in weights.items()},
            parts={
                name: validate(model, part(parts, name, dict, f"{source}.parts"), f"{source}.parts.{name}")
                for name, model in figure.parts.items()
            },
            dataset=DATASETS.parse(content["dataset"], f"{source}.dataset") if "dataset" in content else None,
        )


def read_analysis(path: Path) -> Analysis:
    """Read the record of an analysis.

    Raises:
        UserError: the file is missing, a different record, of another version, or was edited.
    """
    return records.read(path, {Analysis.kind: Analysis.parse})
