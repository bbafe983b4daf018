"""The pages that users read, and what stands in them."""

import re

from conftest import ROOT

PLUGIN = ROOT / "snakemake_executor_plugin_submitit"
SITE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *SITE, *sorted((ROOT / "config").glob("*.md")), ROOT / "benchmarks" / "README.md"]
PAGES += [PLUGIN / "README.md", *sorted((PLUGIN / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """The code of a page in one language, without the indentation of a list."""
    return [
        "\n".join(line.removeprefix(indent) for line in code.splitlines())
        for indent, found, code in FENCE.findall(page.read_text())
        if found == language
    ]


def prose(page):
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def name(page):
    return str(page.relative_to(ROOT))
