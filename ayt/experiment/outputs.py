"""An experiment's figures and tables: their options, what they are made from, and how they are made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from ayt.base.kinds import Kind, Registry
from ayt.base.sections import UNNAMED, Line, Section, choices

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ayt.experiment.schema import Experiment
    from ayt.plan.analyses import Analysis
    from ayt.plan.evaluations import Grid
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run


class Description(NamedTuple):
    """The report's text beside a figure or table, in whole sentences; reStructuredText."""

    shown: str
    measured: str = ""
    not_shown: str = ""
    in_the_paper: str = ""

    @property
    def text(self) -> str:
        """The non-empty paragraphs."""
        parts = {
            "Shown": self.shown,
            "Measured": self.measured,
            "Not shown": self.not_shown,
            "In the paper": self.in_the_paper,
        }
        return "\n\n".join(f"**{name}:** {text}" for name, text in parts.items() if text)


class Mistakes:
    """Collects mistakes in one output's options.

    Args:
        experiment: the experiment with the output.
        report: takes key, value and problem.
    """

    def __init__(self, experiment: Experiment, report: Callable[[str, Any, str], None]) -> None:
        self.experiment = experiment
        self.report = report

    def require_known(self, key: str, values: Iterable[Any], known: Iterable[Any]) -> None:
        """Report each unknown value."""
        known = list(known)
        for value in values:
            if value not in known:
                self.report(key, value, f"not in this experiment; {choices(value, known)}")

    def require_methods(self, names: Iterable[str], key: str = "methods") -> None:
        """Report each name that is not a method of the experiment."""
        self.require_known(key, names, self.experiment.method_names)

    def require_never_stopped(self, name: str, key: str) -> None:
        """Report a method whose runs may be stopped early, for outputs that need their end."""
        if self.experiment.methods[name].stop:
            problem = "may be given up before its end (stop), where the figure looks at it; name a method that is not"
            self.report(key, name, problem)

    def require_at_most_all_images(self, key: str, number: int) -> None:
        """Report a number larger than the dataset."""
        size = self.experiment.dataset.size
        if number > size:
            self.report(key, number, f"more than the dataset has ({size} images)")


class Output(Kind):
    """A figure or a table.

    Attributes:
        description: the report's text beside it.
    """

    description: ClassVar[Description]

    title: Annotated[Line, UNNAMED] = ""
    """Shown above it, and in the report."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""

    @abstractmethod
    def inputs(self, plan: Plan) -> list[Path]:
        """The files that it is made from."""

    @abstractmethod
    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Make its files.

        Args:
            plan: of the experiment.
            place: the results folder with the scores: the experiment's name, or `paths.partial_name`.
            out: the output path, without suffix.

        Raises:
            UserError: a file that it is made from is missing or damaged.
        """


class Figure(Output):
    """A figure.

    Attributes:
        section: its section of the report.
        parts: the experiment's settings, besides its own, that its analyses depend on.
    """

    section: ClassVar[str]
    parts: ClassVar[Mapping[str, type[Section]]] = {}

    def classifiers(self) -> dict[str, bool]:
        """The transformation classifiers that it uses, with whether published weights may be used."""
        return {}

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it besides training and scores."""
        return []

    def grids(self, plan: Plan) -> list[tuple[Run, Grid]]:
        """The sample grids that it shows, each of a run at its end."""
        return []

    def inputs(self, plan: Plan) -> list[Path]:
        """The files that it is made from: by default, its analyses and sample grids."""
        grids = [grid.result(run.folder, run.iterations) for run, grid in self.grids(plan)]
        return [*(analysis.path for analysis in self.analyses(plan)), *grids]

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Run one of `analyses`."""
        raise NotImplementedError(f"figure {self.name!r} has no analyses")


class Table(Output):
    """A table."""


FIGURES: Registry[Figure] = Registry("figure", key="kind", package="ayt.reporting.figures")
TABLES: Registry[Table] = Registry("table", key="kind", package="ayt.reporting.tables")


def is_shown(names: Sequence[str], name: str, base: str) -> bool:
    """Whether a method is among the names, given with or without variants; without names, all are."""
    return not names or name in names or base in names
