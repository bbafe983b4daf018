"""2,000 mutations of the experiments that are shipped: each is an experiment, or refused in short, printable lines."""

import copy
import re

import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ayt.base import yamlio
from ayt.base.errors import AFTER_PLACE, LONGEST, UserError
from ayt.base.sections import Section
from ayt.experiment import load, resolved
from ayt.experiment.reader import MOST_MISTAKES
from ayt.plan.plan import Plan

FILES = [*sorted((ROOT / "config").glob("*_*.yaml")), ROOT / "tests" / "experiments" / "tiny.yaml"]
TEXTS = {file: file.read_text() for file in FILES}
TREES = {file: yaml.safe_load(text) for file, text in TEXTS.items()}


def places(tree, path=()):
    """The paths of everything inside."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = {file: list(places(tree)) for file, tree in TREES.items()}
KEYS = sorted({key for paths in PLACES.values() for path in paths for key in path if isinstance(key, str)})
PIECES = [value for tree in TREES.values() for value in tree.values()]
DEEP = yaml.safe_load("{a: " * 30 + "1" + "}" * 30)
NUMBERS = [0, -1, 1, 3, 10**8, 10**18, 10**99, 0.5, 1e308, float("inf"), float("nan")]
WORDS = [
    "",
    " ",
    "1",
    "None",
    "a b",
    "a\nb",
    "\x1b[2J",
    "x" * 300,
    "y" * 10**5,
    "../x",
    "\ud800",
    "ect",
    "vgg",
    "curves",
]
LISTS = [[], [None], [[]], [1, 1], ["ect"], ["curves"], ["vgg"], list(range(2000)), [k / 10 for k in range(1, 101)]]
MAPPINGS = [{}, {"a": 1}, {1: 2}, {None: None}, {"ect": 1}, {"kind": ["curves"]}, {"a b": {}}, DEEP]
VALUES = st.sampled_from([None, True, *NUMBERS, *WORDS, *LISTS, *MAPPINGS, *PIECES])
CHANGES = st.tuples(
    st.sampled_from(["value", "value", "remove", "rename", "add"]),
    st.integers(0, 10**4),
    st.sampled_from([*KEYS, 1, None, "x" * 300]),
    VALUES,
)
SCRAPS = st.sampled_from(
    [
        *(
            "*a",
            "&a ",
            "{{ x }}",
            "? [a]\n",
            "!!int ",
            "!!set ",
            "9" * 5000,
            "\0",
            "\t",
            "[" * 50,
            "- " * 50,
            ": ",
            "#",
        ),
        *("'", '"', '"\\ud800"', "<<: *a\n", "%YAML 1.1\n", "---\n", "\ufeff", "é", "2026-13-45", "1:20", "010", "~"),
        *("}", "=", "\n  "),
    ]
)
EDITS = st.tuples(st.floats(0, 1), st.integers(0, 20), SCRAPS | st.text(max_size=3))


def change(tree, file, kind, place, key, value):
    *path, last = PLACES[file][place % len(PLACES[file])]
    try:
        for step in path:
            tree = tree[step]
        match kind:
            case "value":
                tree[last] = value
            case "remove":
                del tree[last]
            case "rename":
                tree[key] = tree.pop(last)
            case "add":
                tree[last][key] = value
    except (LookupError, TypeError, AttributeError):
        pass  # another change took the place away, or it holds no keys


def answer(file):
    """Load it; whatever is wrong is a user's mistake, told in bounded lines."""
    try:
        experiment = load([file])
        assert list(Plan(experiment).records())
        return experiment
    except UserError as error:
        lines = str(error).split("\n")
        assert len(lines) <= MOST_MISTAKES + 1
        longest = max(LONGEST, len(f"{file}: ") + AFTER_PLACE)
        assert all(line.isprintable() and 0 < len(line) <= longest for line in lines), lines
    return None


@settings(max_examples=1800)
@given(st.sampled_from(FILES), st.lists(CHANGES, min_size=1, max_size=3))
def test_changed_values_and_keys(file, changes):
    tree = copy.deepcopy(TREES[file])
    for one in changes:
        change(tree, file, *copy.deepcopy(one))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamlio, "read", lambda path: tree)  # a mapping, read off a file or not
        answer(file)


@settings(max_examples=200)
@given(st.sampled_from(FILES), st.lists(EDITS, min_size=1, max_size=2))
def test_changed_text(tmp_path_factory, file, edits):
    text = TEXTS[file]
    for where, removed, added in edits:
        start = int(where * len(text))
        text = text[:start] + added + text[start + removed :]
    mutated = tmp_path_factory.getbasetemp() / "x.yaml"
    mutated.write_text(text, errors="surrogatepass")
    if experiment := answer(mutated):
        resolved.write(mutated, experiment)
        assert resolved.read(mutated) == experiment


def subclasses(kind):
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_every_number_is_finite(number):
    load([FILES[-1]])  # kinds are there once something asked for them
    checked = 0
    for section in {*subclasses(Section)}:
        for name, field in section.model_fields.items():
            key = field.alias or name
            if section.__module__.startswith("ayt.") and re.search(r"\b(int|float)\b", str(field.annotation)):
                for value in (float(number), [float(number)], {2: [float(number)]}):
                    with pytest.raises(ValidationError) as caught:
                        section.model_validate({key: value})
                    assert key in {error["loc"][0] for error in caught.value.errors() if error["loc"]}, (section, key)
                checked += 1
    assert checked > 100
