"""Every command in the documentation is one that its program takes, about files that are there."""

import re
import shlex

import pytest
from conftest import ROOT
from pages import PAGES, blocks, name, prose

from ayt.cli import parser

TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHERS = {"source", "pip", "nano", "podman", "apptainer", "srun", "git", "cd", ".venv/bin/python", "python"}
"""Programs whose arguments are not checked, but for files."""
WRITTEN = {found for page in PAGES for found in re.findall(r"^# (config/\S+\.yaml)$", page.read_text(), re.MULTILINE)}
"""Files that a page tells its reader to write."""


def commands(text):
    """The words of each simple command of a script."""
    for line in re.sub(r"\$\([^)]*\)", "FILE", text.replace("\\\n", " ")).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                while words and re.match(r"[A-Za-z_]+=", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check_files(words):
    for word in words:
        for path in re.findall(r"(?:^|[\s=])((?:config|workflow|tests|docs|benchmarks|\./\w+)/[\w./+-]*)", word):
            assert (ROOT / path).exists() or path in WRITTEN, f"{path}: no such file"


def check_ayt(words):
    try:
        parser().parse_args(words)
    except SystemExit as stop:
        assert stop.code == 0, f"ayt {shlex.join(words)}"


def check_make(words):
    wanted = [word for word in words if "=" not in word]
    assert set(wanted) <= TARGETS, f"make {shlex.join(words)}"


def check_snakemake(words):
    from snakemake.cli import parse_args

    try:
        parse_args(words)
    except SystemExit as stop:
        assert stop.code == 0, f"snakemake {shlex.join(words)}"


CHECKS = {"ayt": check_ayt, "make": check_make, "snakemake": check_snakemake}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=name)
def test_commands_are_taken(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for code in blocks(page, "sh"):
        for program, *words in commands(code):
            check_files(words)
            if program in CHECKS:
                CHECKS[program](words)
            else:
                assert program in OTHERS, f"{program}: unknown program"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_files_in_sentences_are_there(page, capsys):
    check_ayt(["--help"])
    verbs = set(re.findall(r"^    ([\w-]+)", capsys.readouterr().out, re.MULTILINE))
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        program, _, rest = code.partition(" ")
        words = rest.split()
        if program == "make" and words:
            check_make(words)
        elif program == "ayt" and words and not words[0].isupper():
            assert words[0] in verbs, code
        if not re.search(r"[A-Z]{3}|[*{<$]", code):
            check_files(code.split())


def test_mistakes_are_found():
    with pytest.raises(AssertionError, match="ayt check"):
        check_ayt(["check", "a.yaml", "--no-such-option"])
    with pytest.raises(AssertionError, match="make demonstration"):
        check_make(["demonstration"])
    with pytest.raises(AssertionError, match="snakemake --no-such-option"):
        check_snakemake(["--no-such-option"])
    with pytest.raises(AssertionError, match="no such file"):
        check_files(["--configfile=config/no_such.yaml"])
