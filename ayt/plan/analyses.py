"""What figures are drawn from beside scores: looks into trained networks, and experiments of their own."""

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
    """Everything that changes what one analysis finds.

    Attributes:
        figure: that is drawn from it; its options that are no matter of looks.
        seed: of images, noise and the like.
        weights: that it looks into, by their roles.
        parts: other settings that it depends on, as `Figure.parts` names them.
        dataset: whose images it makes; None: its weights tell, as published ones do not, or it needs none.
        inputs: the files that it is made from.
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
        """Where its record is."""
        return paths.analysis(self.name) / "record.yaml"

    @property
    def path(self) -> Path:
        """Where what it found is, as arrays."""
        return paths.analysis(self.name) / "result.npz"

    def content(self) -> dict[str, Any]:
        """As its file has it."""
        return {
            "figure": FIGURES.dump(self.figure),
            "seed": self.seed,
            "weights": {role: weights.content() for role, weights in self.weights.items()},
            "parts": {name: section.settings() for name, section in self.parts.items()},
            **({"dataset": DATASETS.dump(self.dataset)} if self.dataset else {}),
        }

    @classmethod
    def parse(cls, content: Any, source: str) -> Analysis:
        """From what its file says.

        Raises:
            UserError: it says something that this version does not understand.
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
        UserError: the file is missing, another record, of another version, or was edited.
    """
    return records.read(path, {Analysis.kind: Analysis.parse})
