"""Which averages of a run's weights are shown in figures and tables of scores, and under what labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Discriminator, Tag

from ayt.methods.training import Averages, average_name

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run

Chosen = Annotated[
    Annotated[Literal["first", "all"], Tag("[word]")] | Annotated[Averages, Tag("[averages]")],
    Discriminator(lambda given: "[word]" if isinstance(given, str) else "[averages]"),
]
"""Each run's first average, all of its averages, or the named ones."""


class ShownAverage(NamedTuple):
    """The scores of one average of a run.

    Attributes:
        name: of the average, as ``scores.csv`` has it.
        average: the same, as snapshots and paths name it.
        method: the experiment's name of the method; every average of a run after the first one shown has its own.
        label: its name in figures and tables.
    """

    name: str
    average: str
    method: str
    label: str


def names_of(chosen: Chosen) -> list[str] | None:
    """The names of the chosen averages; None: they were not chosen by name."""
    if isinstance(chosen, str):
        return None
    return [average_name(average) for average in (chosen if isinstance(chosen, list) else [chosen])]


def say_average(name: str) -> str:
    """An average as labels name it: ``EMA 0.9999``, ``EMA power 0.05``."""
    return "no average" if name == "0" else f"EMA {name.replace('power', 'power ')}"


def shown_averages(method: str, run: Run, chosen: Chosen) -> list[ShownAverage]:
    """The averages of a run to show; labels name them if the run keeps several and not just the first may be shown."""
    record, names = run.record, names_of(chosen)
    kept = dict(zip(record.average_names, record.averages, strict=True))
    if names is not None:
        kept = {name: average for name, average in kept.items() if name in names}
    elif chosen == "first":
        kept = {name: average for name, average in kept.items() if not average}
    says_which = len(record.averages) > 1 and chosen != "first"
    return [
        ShownAverage(
            name,
            average,
            f"{method} ema={name}" if number else method,
            f"{run.label} ({say_average(name)})" if says_which else run.label,
        )
        for number, (name, average) in enumerate(kept.items())
    ]


def choose_averages(scores: pd.DataFrame, plan: Plan, chosen: Chosen) -> pd.DataFrame:
    """The rows of ``scores.csv`` for the averages to show, with the methods and labels of `ShownAverage`.

    Rows of runs that are not in the plan are left alone.
    """
    runs = {(method, run.name): run for method, run in plan.methods_and_runs()}
    found = {key: {each.name: each for each in shown_averages(key[0], run, chosen)} for key, run in runs.items()}
    rows: list[tuple[int, str, str, str]] = []
    for place, (method, label, name, ema) in enumerate(
        scores[["method", "label", "run", "ema"]].itertuples(index=False)
    ):
        key = (method, name)
        if key not in runs:
            rows.append((place, method, label, ema))
        elif shown := found[key].get(ema or runs[key].record.average_names[0]):
            rows.append((place, shown.method, shown.label, shown.name))
    places, *columns = zip(*rows, strict=True) if rows else ((),) * 4
    return scores.iloc[list(places)].assign(**dict(zip(("method", "label", "ema"), map(list, columns), strict=True)))
