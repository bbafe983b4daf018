"""Tables from a table of scores small enough to check by hand."""

import numpy as np
import pandas as pd
import pytest
from test_figures import failing, row, table

from ayt.base.errors import UserError
from ayt.datasets.cifar10 import Cifar10
from ayt.datasets.digits import Digits
from ayt.evaluation.score import write_anchor
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.published import fids
from ayt.reporting.score_plots import choose_steps
from ayt.reporting.summaries import final_scores
from ayt.reporting.tables.methods import tabulate_methods
from ayt.reporting.tables.published import tabulate_published
from ayt.reporting.tables.scores import tabulate_scores


def test_failures_stand_in_tables_and_are_not_the_best(tmp_path):
    tabulate_scores(failing(), tmp_path / "b", "")
    assert "| ECT | 10.00, 1 of 2 failed |" in (tmp_path / "b.md").read_text()
    everything = failing()
    everything.loc[everything["method"] == "ect", ["mean", "min", "max"]] = np.nan
    tabulate_scores(everything, tmp_path / "c", "")
    assert "| ECT | failed |" in (tmp_path / "c.md").read_text()
    lowest = failing()
    lowest.loc[lowest["run"] == "ECT-8-0", "mean"] = 0.1
    tabulate_scores(lowest, tmp_path / "d", "")
    assert "| AYT | **7.50" in (tmp_path / "d.md").read_text()


def test_table_of_final_scores_by_hand():
    final = final_scores(table())
    point = row(final, label="ECT", batch_size=8, steps=1)
    assert (point["mean"], point["seeds"], point["iteration"], point["images"]) == (15, 2, 200, 1600)
    assert point["std"] == pytest.approx(50**0.5)
    alone = final_scores(table(seeds=(0,)))
    assert alone["std"].isna().all()
    with pytest.raises(UserError, match="there are no scores"):
        final_scores(table()[:0])


def test_written_tables(tmp_path):
    tabulate_scores(table(label="{}_50% & more"), tmp_path / "a", "Title")
    markdown = (tmp_path / "a.md").read_text()
    assert "| ECT_50% & more | 15.00 ± 7.07 |" in markdown
    assert "| AYT_50% & more | **7.50 ± 3.54** |" in markdown
    assert "FD (digits features) after 200 iterations" in markdown
    assert "n = 2 seeds a point; each score is the mean of 3 sampling runs of 1,000 images" in markdown
    latex = (tmp_path / "a.tex").read_text()
    assert r"AYT\_50\% \& more & \textbf{7.50 $\pm$ 3.54}" in latex
    assert latex.count("\\\\\n") == 3
    assert pd.read_csv(tmp_path / "a.csv").shape == (8, 12)


def test_the_best_of_a_column_may_be_the_highest(tmp_path):
    scores_ = table().assign(key="recall", metric="recall", better="higher")
    tabulate_scores(scores_.assign(mean=scores_["mean"] / 1000), tmp_path / "a", "")
    markdown = (tmp_path / "a.md").read_text()
    assert "| ECT | **0.0150 ± 0.0071** |" in markdown
    assert "Higher is better." in markdown


def test_measured_and_published_numbers_have_columns_of_their_own(tmp_path):
    ours = table(seeds=(0,)).assign(batch_size=128, metric="FID", dataset="cifar10", iteration=400_000)
    tabulate_methods(ours, fids(Cifar10()), tmp_path / "a", "Title")
    rows = pd.read_csv(tmp_path / "a.csv")
    both = row(rows, method="ECT", iterations=400_000, nfe=1)
    assert (both["measured"], both["published"]) == (both["measured"], 3.60)
    assert np.isnan(row(rows, method="ECT", iterations=100_000, nfe=1)["measured"])
    assert rows["published"].notna().sum() == len(fids(Cifar10()))
    markdown = (tmp_path / "a.md").read_text()
    assert (
        "| method | batch size | iterations | nfe | measured FID | published FID | published network | source |"
        in markdown
    )
    assert "| AYT | 128 | 400,000 | 1 |" in markdown
    tabulate_methods(table(), fids(Digits()), tmp_path / "b", "")
    assert "On digits nothing is published." in (tmp_path / "b.md").read_text()


def anchors(*rows):
    columns = ["label", "iterations", "nfe", "metric", "better", "mean"]
    return pd.DataFrame(rows, columns=columns).astype({"iterations": "Int64", "mean": float})


def test_anchors_stand_beside_what_is_published_of_them(tmp_path):
    ours = table(seeds=(0,)).assign(batch_size=128, metric="FID", dataset="cifar10", iteration=400_000)
    found = anchors(
        ("EDM", None, 35, "FID", "lower", 1.99),
        ("ECT", 100_000, 2, "FID", "lower", 2.25),  # of three published, by its iterations
        ("AYT", None, 5, "FID", "lower", np.nan),
    )
    tabulate_methods(ours, fids(Cifar10()), tmp_path / "a", "Title", anchors=found)
    rows = pd.read_csv(tmp_path / "a.csv").set_index("method")
    edm = rows.loc["EDM (not trained here)"]
    assert (edm["measured"], edm["published"], edm["nfe"], edm["iterations"]) == (1.99, 2.01, 35, 400_000)
    ect = rows.loc["ECT (not trained here)"]
    assert (ect["measured"], ect["published"], ect["iterations"]) == (2.25, 2.20, 100_000)
    assert "EDM" not in rows.index  # beside the measured one, and nowhere else
    assert len(rows.loc[["ECT"]].query("nfe == 2 and iterations == 100_000")) == 0
    assert rows["published"].notna().sum() == len(fids(Cifar10()))
    markdown = (tmp_path / "a.md").read_text()
    assert "| EDM (not trained here) | 512 | 400,000 | 35 | 1.99 | 2.01 |" in markdown
    assert "| AYT (not trained here) | – | – | 5 | failed | – |" in markdown
    assert "Rows called not trained here" in markdown


def test_an_anchor_that_is_not_scored_yet_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {"start": {"steps": 2}, "two": {"steps": 3, "label": "Start in 3 steps", "iterations": 8}}
    plan = Plan(load([tiny], {"anchors": found}))
    shown = plan.experiment.tables["methods"]
    assert set(shown.inputs(plan)) - set(shown.inputs(Plan(load([tiny])))) == {a.path for a in plan.anchors.values()}
    write_anchor(plan.anchors["two"].path, plan.anchors["two"], "origin", {"frechet": [1.0, 2.0]})
    rows, note = shown.read_anchors(plan)
    assert note == "Not there yet: start."
    assert rows[["label", "iterations", "nfe", "mean"]].to_numpy().tolist() == [["Start in 3 steps", 8, 5, 1.5]]


def test_an_anchor_of_several_published_numbers_has_none_beside_it(tmp_path):
    ours = table(seeds=(0,)).assign(batch_size=128, metric="FID", dataset="cifar10", iteration=400_000)
    found = anchors(("ECT", None, 1, "FID", "lower", 3.7))
    tabulate_methods(ours, fids(Cifar10()), tmp_path / "a", "Title", anchors=found)
    rows = pd.read_csv(tmp_path / "a.csv").set_index("method")
    assert np.isnan(rows.loc["ECT (not trained here)"]["published"])
    assert rows["published"].notna().sum() == len(fids(Cifar10()))


def test_anchors_have_a_column_of_their_own_and_are_never_bold(tmp_path):
    tabulate_scores(table(), tmp_path / "a", "Title", anchors=anchors(("EDM", None, 35, "FID", "lower", 0.001)))
    lines = (tmp_path / "a.md").read_text().splitlines()
    assert lines[0].endswith("| nfe 35 |")
    ours = next(line for line in lines if line.startswith("| EDM (not trained here) |"))
    assert ours.endswith("| – | 0.00 |") or ours.endswith("| – | 0.0010 |")
    assert "**0.00" not in ours
    assert all(line.endswith("| – |") for line in lines if line.startswith(("| ECT |", "| AYT |")))
    rows = pd.read_csv(tmp_path / "a.csv")
    assert rows.iloc[-1]["mean"] == 0.001
    assert np.isnan(rows.iloc[-1]["batch_size"])


def test_published_numbers_are_a_table_of_their_own(tmp_path):
    tabulate_published(fids(Cifar10()), tmp_path / "a", "Published")
    markdown = (tmp_path / "a.md").read_text()
    assert "| AYT | DDPM++ 55.7M | 1 | 2.61 | 128 | 400000 | AYT paper (arXiv 2510.00658) |" in markdown
    assert "not measured here" in markdown
    assert "| sCT | – | 1 | 2.85 | – | – |" in markdown
    with pytest.raises(UserError, match="no FID is published"):
        tabulate_published(fids(Digits()), tmp_path / "b", "")


def test_a_method_with_fewer_batch_sizes_leaves_a_gap(tmp_path):
    scores = table()
    tabulate_scores(scores[(scores["label"] == "ECT") | (scores["batch_size"] == 8)], tmp_path / "a", "")
    assert "–" in (tmp_path / "a.md").read_text()


def test_several_metrics_have_columns_of_their_own(tmp_path):
    one_step = choose_steps(table(), [1])
    tabulate_scores(pd.concat([one_step.assign(metric=f"dFID (t = {t})") for t in (0.2, 0.8)]), tmp_path / "a", "")
    assert "| method | dFID (t = 0.2), 1 step, batch 8 |" in (tmp_path / "a.md").read_text()
