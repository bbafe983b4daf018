"""Table of scores by the average of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.experiment.outputs import TABLES, Description, Table
from ayt.reporting.averages import Chosen
from ayt.reporting.chosen_scores import ChosenScores

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Averages(ChosenScores, Table):
    """Scores at the end of training, a row for each average of the weights."""

    name: ClassVar[str] = "averages"
    one_value: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="scores at the end of training, a row for each average of the weights; the best of each column is bold.",
        measured="from samples of each average, all from the same noise; the averages of a method come from the same"
        " training runs.",
        not_shown="an unbiased score of the best average: the samples that choose it are the ones it is scored on.",
        in_the_paper="no table of its own.",
    )

    ema: Chosen = "all"

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write the scores that are there."""
        scores, note = self.read_rows(plan, place)
        labels = {method: run.label for method, run in plan.methods_and_runs()}
        names = [
            method.removesuffix(f" ema={ema}") for method, ema in zip(scores["method"], scores["ema"], strict=True)
        ]
        tabulate_averages(scores, [labels.get(name, name) for name in names], out, self.title, note)


def tabulate_averages(scores: pd.DataFrame, methods: list[str], out: Path, title: str, note: str = "") -> None:
    """Write a table of final scores, averages down and methods and batch sizes across.

    Args:
        scores: rows of ``scores.csv`` of one metric, whose labels tell averages apart.
        methods: what the method of each row is called, without its average.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: there are no scores.
    """
    from ayt.reporting.averages import say_average
    from ayt.reporting.summaries import (
        choose_digits,
        describe_better,
        describe_end,
        describe_sampling,
        final_scores,
        format_mean,
    )
    from ayt.reporting.table_files import name_column, write_table

    found = {label: (ema, method) for label, ema, method in zip(scores["label"], scores["ema"], methods, strict=True)}
    final = final_scores(scores)
    ema, method = zip(*(found[label] for label in final["label"]), strict=True)
    table = final.assign(label=method, ema=ema)
    digits = choose_digits(table["mean"])
    table["row"] = [say_average(name) for name in table["ema"]]
    table["column"] = [
        f"{label}, {name_column(steps, size)}"
        for label, steps, size in zip(table["label"], table["steps"], table["batch_size"], strict=True)
    ]
    table["text"] = [
        format_mean(row["mean"], row["std"], row["seeds"], row["failed"], digits) for _, row in table.iterrows()
    ]
    cells = table.pivot_table(index="row", columns="column", values="text", aggfunc="first", sort=False, fill_value="–")
    whole = table[table["failed"] == 0]  # a mean over what is left of some runs is no merit
    merit = whole["mean"].where(whole["better"] == "higher", -whole["mean"])
    best = whole.loc[merit.groupby(whole["column"]).idxmax()]
    caption = (
        f"{table['metric'].iloc[0]} {describe_end(table)} by the average of the weights, mean ± standard deviation over"
        " seeds. EMA: decay per iteration; EMA power: relative width of a power-function average."
        f" {describe_sampling(scores)}. {describe_better(table)}"
    )
    numbers = table.drop(columns=["row", "column", "text"])
    write_table(out, numbers, cells, title, caption, note, frozenset(zip(best["row"], best["column"], strict=True)))
