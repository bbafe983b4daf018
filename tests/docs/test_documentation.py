"""The documentation: links and anchors lead somewhere, and what is quoted or generated is as its source is now."""

import inspect
import re
from pathlib import Path

import pandas as pd
import pytest
import snakemake.exceptions
import yaml
from conftest import ROOT
from pages import PAGES, SITE, blocks, name, prose

from ayt.base import results_lock
from ayt.base.sections import keys
from ayt.experiment import load
from ayt.experiment.reader import SHARED
from ayt.experiment.schema import Experiment
from ayt.plan.plan import Plan

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
DOCS = ROOT / "docs"


def anchors(page):
    """The anchors of a page's headings, as a code host makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_anchors_resolve(page):
    for target, anchor in LINK.findall(prose(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{target}: no such file"
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}: choose from {sorted(anchors(file))}"


def test_every_page_is_in_the_navigation_and_reached_from_the_first():
    navigation = {file for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for file in entry.values()}
    assert navigation == {page.name for page in SITE}
    assert navigation - {"index.md"} <= {target for target, _ in LINK.findall((DOCS / "index.md").read_text())}


def test_the_reference_of_keys_is_that_of_the_schema(ayt, tmp_path):
    # In a process of its own: this one may know kinds of other tests.
    page, made = DOCS / "configuration.md", tmp_path / "configuration.md"
    made.write_text(page.read_text().replace("| `lr` |", "| `rl` |"))
    assert ayt("keys", "--into", made).returncode == 0
    assert made.read_text() == page.read_text(), "run: ayt keys --into docs/configuration.md"


def test_keys_of_a_file_are_explained():
    page = (DOCS / "configuration.md").read_text()
    table = page.partition("## The file as a whole")[2].partition("Units:")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == sorted(
        [*keys(Experiment), *SHARED], key=lambda key: table.index(f"`{key}` |")
    )


def test_every_experiment_is_listed_with_what_it_asks_for():
    """Scores and runs stand in the page by hand; the plan counts them."""
    page, listed = (DOCS / "reproduce.md").read_text(), (ROOT / "config" / "README.md").read_text()
    rows = re.findall(r"^\|.*\]\(\.\./(config/\w+\.yaml)\) \|(.*)\|$", page, re.MULTILINE)
    for file, row in rows:
        plan = Plan(load([ROOT / file]))
        runs = sum(int(count) for count in re.findall(r"(\d+) x [\d,]+", row))
        scores = next(cell.strip() for cell in row.split("|") if re.fullmatch(r" *\d+ *", cell))
        assert (runs, int(scores)) == (len(plan.trained), len(set(plan.scores()))), file
    there = {path.name for path in (ROOT / "config").glob("*.yaml")}
    assert {Path(file).name for file, _ in rows} == {
        name for name in there if not name.startswith(("assets", "embedded"))
    }
    assert set(re.findall(r"\]\((\w+\.yaml)\)", listed)) == there


def test_published_numbers_are_those_of_the_tables():
    known = pd.read_csv(ROOT / "ayt/reporting/published/fid.csv", dtype=str, keep_default_na=False)
    known = known[known["dataset"] == "cifar10"]
    table = (DOCS / "reproduce.md").read_text().partition("| published FID |")[2].partition("\n\n")[0]
    rows = [[cell.strip().replace(",", "") for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    assert len(rows) > 10
    for row in rows:
        columns = ["method", "nfe", "batch_size", "iterations", "fid", "source"]
        assert (known[columns] == row).all(axis=1).any(), row


def test_code_that_is_quoted_is_the_code_that_is_tested():
    source = (ROOT / "tests" / "extension.py").read_text()
    quoted = blocks(DOCS / "extending.md", "python")
    assert len(quoted) == 1 + source.count(".register\n")  # the imports come first
    assert [code for code in quoted if code not in source] == []


def test_the_experiment_of_the_page_on_extending_is_the_tested_one():
    from workflow.test_extension import EXPERIMENT

    assert yaml.safe_load(blocks(DOCS / "extending.md", "yaml")[-1]) == EXPERIMENT


@pytest.mark.parametrize("page", ["quickstart.md", "configuration.md"])
def test_whole_experiments_in_pages_are_valid(page, tmp_path):
    (code,) = [code for code in blocks(DOCS / page, "yaml") if "dataset:" in code]
    (tmp_path / "mine.yaml").write_text(code)
    assert load([tmp_path / "mine.yaml"]).methods.keys() == {"ect", "ayt"}


def test_actions_are_pinned_by_commit_with_the_release_beside_it():
    lines = [
        line.strip()
        for file in (ROOT / ".github" / "workflows").iterdir()
        for line in file.read_text().splitlines()
        if "uses:" in line
    ]
    assert len(lines) > 4
    pinned = re.compile(r"(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_messages_that_the_table_of_failures_quotes_are_those_that_are_said():
    table = (DOCS / "cluster.md").read_text().partition("## What happens to a job")[2]
    quoted = re.findall(r'^\| "([^"]+)" \|', table, re.MULTILINE)
    said = inspect.getsource(snakemake.exceptions) + inspect.getsource(results_lock)
    assert len(quoted) == 2
    assert [message for message in quoted if message not in said] == []
