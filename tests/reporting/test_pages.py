"""The pages of figures and tables, and the report's first page: what they say, and that nothing breaks them."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import docutils.core
import docutils.utils
import jinja2
import pandas as pd
import pytest
import yaml
from test_figures import table

from ayt.base import paths, weights
from ayt.base.files import write_text
from ayt.experiment import load, resolved
from ayt.experiment.outputs import FIGURES, TABLES
from ayt.plan.plan import Plan
from ayt.reporting import pages
from ayt.reporting.about import differences, first_page
from ayt.reporting.figures.curves import draw_curves
from ayt.reporting.figures.final import draw_final
from ayt.reporting.score_plots import choose_steps

TITLE = "a < b & \"c\" 'd' {{ e }} {% f %}"


class Page(HTMLParser):
    """Texts and attributes of a page, by their tags."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.attributes, self.open = {}, {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.attributes.setdefault(tag, []).append(dict(attributes))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)

    def files(self):
        """What its links download, by name."""
        links = [link for link in self.attributes["a"] if "download" in link]
        return {link["download"]: base64.b64decode(link["href"].partition(";base64,")[2]) for link in links}


def test_a_figure_has_a_page_with_its_files(tmp_path):
    draw_curves(table(), tmp_path / "a", TITLE)
    page = Page((tmp_path / "a.html").read_text())
    assert page.texts["h1"] == page.texts["title"] == [TITLE]
    assert "Lower is better." in page.texts["figcaption"][0]
    assert page.files() == {f"a.{ending}": (tmp_path / f"a.{ending}").read_bytes() for ending in ("png", "pdf", "csv")}
    (image,) = page.attributes["img"]
    assert image["alt"].startswith(f"{TITLE}. one step, across training iterations")
    assert image["alt"].endswith("legend: ECT, AYT, batch size 8, batch size 16.") or "legend: ECT" in image["alt"]
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


def test_the_same_figure_is_the_same_page(tmp_path):
    for folder in ("a", "b"):
        draw_final(choose_steps(table(), [1]), tmp_path / folder / "x", "Title")
    assert (tmp_path / "a" / "x.html").read_bytes() == (tmp_path / "b" / "x.html").read_bytes()


def test_a_table_has_a_page_with_its_cells_and_files():
    cells = pd.DataFrame({"<1> step": ["1 ± 2", "<i>3"], "2 & more": ["–", "4"]}, index=["ECT", "AYT <b>"])
    files = {"csv": "a,±\n", "md": "|a|", "tex": "\\a"}
    text = pages.table_page("x", TITLE, "What & why <i>", cells, {("AYT <b>", "2 & more")}, files)
    page = Page(text)
    assert page.texts["th"] == ["method", "<1> step", "2 & more"]
    assert page.texts["td"] == ["ECT", "1 ± 2", "–", "AYT <b>", "<i>3"]
    assert page.texts["b"] == ["4"]
    assert page.texts["figcaption"] == ["What & why <i>"]
    assert page.files() == {f"x.{ending}": content.encode() for ending, content in files.items()}
    assert pages.table_page("x", TITLE, "What & why <i>", cells, {("AYT <b>", "2 & more")}, files) == text


def test_pages_ask_the_net_for_nothing(tmp_path):
    draw_final(choose_steps(table(), [1]), tmp_path / "a", "")
    assert not re.search(r"(src|href|url)\W+(https?:)?//|@import", (tmp_path / "a.html").read_text())


def test_menus_tell_all_figures_apart():
    assert pages.menu_entries({"a": "Same", "b": "Same", "c": "", "d": "x {y}"}) == {
        "a": "Same (a)",
        "b": "Same (b)",
        "c": "c",
        "d": "x (y)",
    }


@pytest.mark.parametrize("kind", [*FIGURES.kinds.values(), *TABLES.kinds.values()], ids=lambda kind: kind.__name__)
def test_what_the_report_says_beside_each_kind_is_whole(kind):
    text = kind.description.text
    assert text.startswith("**Shown:** ")
    assert "**In the paper:** " in text
    assert all(part.endswith(".") for part in text.split("\n\n"))
    assert read(text) == " ".join(text.replace("*", "").split())


def test_the_words_of_pages_are_whole_where_texts_have_braces():
    page = pages.index_page("{title} {style}", {"figures": {"a": "{content}"}}, ["{0}"])
    assert page.count("{title} {style}") == 2
    assert "<li>{0}</li>" in page


@pytest.fixture
def plan(tiny, tmp_path, monkeypatch):
    """The tiny experiment in a folder where nothing was done."""
    monkeypatch.chdir(tmp_path)
    return Plan(load([tiny]))


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1e9, 1e9))


def finish(run, device="CPU (some)", commits=("abc",)):
    """Leave what a run's training would, but for its weights."""
    write_text(paths.run_record(run.folder), run.record.text)
    for snapshot in run.snapshots:
        write(snapshot.path)
    for segment in run.segments:
        path = paths.state(run.folder, segment.stop)
        weights.write(path, "state", run.name, segment.stop, {}, commits=commits, device=device)
        os.utime(path, (1e9, 1e9))
    os.utime(paths.run_record(run.folder), (1e9 - 3600, 1e9 - 3600))


def write_scores(plan, run, mean=1.0):
    for snapshot in run.snapshots:
        for score in plan.scores_of(run.name):
            content = {"metrics": {"frechet": {"mean": mean}, "kid": {"mean": None}}}
            write(score.result(run.folder, snapshot.iteration), json.dumps(content))


def read(text, categories=()):
    """What a reader sees: Jinja, then docutils, in which a warning is an error."""
    rendered = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(categories=categories)
    settings = {"halt_level": 2, "report_level": 2, "warning_stream": False}
    html = docutils.core.publish_parts(rendered, writer="html", settings_overrides=settings)["html_body"]
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def section(text, heading):
    """The text below a heading of the page."""
    headings = ("What was run", "How it is scored", "What was not", "What this does not show", "Configuration")
    return re.split("|".join(f"(?<!, ){heading}" for heading in headings), text)[1 + headings.index(heading)]


def test_a_finished_experiment_says_what_was_run(plan):
    for run in plan.runs.values():
        finish(run)
    for run in plan.trained:
        write_scores(plan, run)
    for name in plan.experiment.figures:
        write(paths.figure("tiny", name, "png"))
    for name in plan.experiment.tables:
        write(paths.table("tiny", name, "csv"))
    first, *_ = plan.analyses.values()
    write(first.path)
    text = read(first_page(plan))
    assert "Experiment tiny" in text
    assert "Look first at curves, under Scores in the menu" in text
    assert "1,797 grey images of 8 × 8 pixels" in text
    assert "Trained: 4 of 4 runs" in text
    assert "When: 2001-09-09 00:46 to 2001-09-09 01:46 UTC" in text
    assert "On: CPU (some)" in text
    assert "Commit: abc" in text
    assert "ECT 4, 8 0 8 2 of 2 AYT 4, 8 0 8 2 of 2" in section(text, "What was run")
    assert f"{first.name}: for transformations; finished" in section(text, "What was run")
    assert text.count("; not there") == len(plan.analyses) - 1
    assert "2 steps (80 → 0.821 → 0.002)" in section(text, "How it is scored")
    assert section(text, "What was not").strip() == (
        "Everything that the experiment asks for was trained, scored and drawn."
    )
    assert "FD (digits features) cannot be compared with any FID" in section(text, "What this does not show")
    assert "One seed each: ECT, AYT." in section(text, "What this does not show")
    assert first_page(plan) == first_page(plan)


def test_a_half_finished_experiment_says_what_is_missing(plan):
    """Upstream and two runs are done, one of them without a score, one with scores that failed; one run failed."""
    upstream = [run for run in plan.runs.values() if run not in plan.trained]
    whole, bad, failed, _ = plan.trained
    for run in (*upstream, whole, bad):
        finish(run)
    finish(upstream[0], device="NVIDIA H100", commits=())
    finish(upstream[1], commits=("abc", "def"))
    write_scores(plan, whole)
    plan.scores_of(whole.name)[0].result(whole.folder, 8).unlink()
    write_scores(plan, bad, None)
    write(paths.failure(failed.folder), '{"iteration": 3, "reason": "the loss is not finite at iteration 3"}')
    write(paths.figure("tiny", "curves", "png"))
    text = read(first_page(plan))
    missing = section(text, "What was not")
    assert "Trained: 2 of 4 runs" in text
    assert "On: CPU (some) (6 of 7 training states); NVIDIA H100 (1 of 7 training states)" in text
    assert "Commit: abc (5 of 7 training states); unknown (1 of 7 training states); abc and def (1 of 7" in text
    assert "ECT, batch size 4, seed 0: 1 of 8 scores missing" in missing
    assert "ECT, batch size 8, seed 0: 8 of 8 scores not finite" in missing
    assert (
        "AYT, batch size 4, seed 0: failed, the loss is not finite at iteration 3; 0 of 8 iterations trained;"
        " 8 of 8 scores missing"
    ) in missing
    assert "AYT, batch size 8, seed 0: waiting; 0 of 8 iterations trained; 8 of 8 scores missing" in missing
    drawn = [name for name in plan.experiment.figures if name != "curves"]
    assert f"figures not made: {', '.join(drawn)}" in missing
    assert not any(run.name in missing for run in upstream)


def test_nothing_done_yet_is_said(plan):
    text = read(first_page(plan))
    assert "Trained: 0 of 4 runs" in text
    assert "When: nothing yet" in text


def test_no_text_of_an_experiment_breaks_the_page(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = ["{{ a }} {% b %} {# c", "*d* _e_ `f`_ |g| \\h <i> &", "- j", "1. k"]
    for label in labels:
        content = yaml.safe_load(tiny.read_text())
        content["methods"] = {"ect": {"label": label}}
        content["figures"] = {"curves": {"kind": "curves", "title": f"{label} {TITLE}"}}
        experiment = tmp_path / "tiny.yaml"
        experiment.write_text(yaml.safe_dump(content))
        text = read(first_page(Plan(load([experiment]))))
        shown = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"runs finished {shown} 4, 8" in text


def test_links_lead_to_the_reports_sections(plan):
    targets = "\n.. _Toy experiment: javascript:x\n.. _Tables: javascript:y\n"
    categories = {type("Category", (), {"name": name}): {} for name in ("Tables",)}
    text = read(first_page(plan) + targets, categories)
    assert "Tables" in text.partition("What was run")[0]
    assert "Toy experiment" not in text


FIGURES = {"final": {"kind": "final", "title": "At the end"}}
LABELS = {"task": "labels", "widths": [8, 8], "convs": [1, 1]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seeds": [0, 1], "methods": {"ect": None}},
        {"methods": {"ours": {"loss": "ayt", "lr": [1e-3, 2e-3], "label": "Ours"}, "ect": {"batch_sizes": [2]}}},
        {"figures": {}, "classifiers": {"transformations": {"family": "resnet", "widths": [8]}, "labels": LABELS}},
    ],
)
def test_the_differences_are_the_experiment(tiny, tmp_path, change):
    content = yaml.safe_load(tiny.read_text())
    experiment, again = tmp_path / "tiny.yaml", tmp_path / "again.yaml"
    experiment.write_text(yaml.safe_dump({**content, "figures": FIGURES, **change, "execution": {}}))
    again.write_text(yaml.safe_dump(differences(load([experiment])), sort_keys=False))
    assert load([again]) == load([experiment])


def test_the_verb_writes_the_first_page(plan, ayt, tmp_path):
    resolved.write(paths.resolved_experiment("tiny"), plan.experiment)
    done = ayt("about", paths.resolved_experiment("tiny"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert paths.about("tiny").read_text() == first_page(plan)
