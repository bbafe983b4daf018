"""One kind, one place: how many source files know each kind, and what building the plan imports."""

import ast
import re
import subprocess
from functools import cache

import pytest
from conftest import BIN, ROOT

from ayt.datasets.base import DATASETS
from ayt.experiment.outputs import FIGURES, TABLES
from ayt.methods.base import METHODS
from ayt.metrics.base import METRICS
from ayt.networks.base import DENOISERS, FEATURE_NETWORKS

REGISTRIES = {
    "METHODS": METHODS,
    "DATASETS": DATASETS,
    "DENOISERS": DENOISERS,
    "FEATURE_NETWORKS": FEATURE_NETWORKS,
    "METRICS": METRICS,
    "FIGURES": FIGURES,
    "TABLES": TABLES,
}
KINDS = [(variable, name) for variable, registry in REGISTRIES.items() for name in registry.kinds]
WORDS = {"FIGURES", "TABLES", ("METHODS", "ect"), ("METHODS", "ayt"), ("FEATURE_NETWORKS", "vgg")}
"""Registries and kinds whose names are words that mean other things too: keys of the experiment such as ``scores``,
conventions of sampling, the package, the network of LPIPS."""


@cache
def package():
    """The source files of the package, by module."""
    paths = {path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "ayt").rglob("*.py")}
    return {".".join(path.parts).removesuffix(".__init__"): ast.parse(paths[path].read_text()) for path in paths}


@cache
def nodes(tree):
    return list(ast.walk(tree))


@cache
def imports(tree):
    """Everything that a source file imports anywhere."""
    found = set()
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def constants(nodes):
    return [node.value for node in nodes if isinstance(node, ast.Constant)]


def called(node):
    """What an expression ends with: ``figure.name`` with ``name``."""
    return getattr(node, "attr", getattr(node, "id", None))


def means(node, variable, name):
    """Whether an expression has the name where it can only mean the kind."""
    registry = REGISTRIES[variable]
    found = False
    match node:
        case ast.Compare():
            sides = [node.left, *node.comparators]
            inner = [item for side in sides for item in getattr(side, "elts", [side])]
            found = name in constants(inner) and bool({called(side) for side in sides} & {registry.key, "name", "stem"})
        case ast.MatchValue(ast.Constant(value)):
            found = value == name
        case ast.keyword(arg, ast.Constant(value)):
            found = value == name and arg == registry.key
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            found = ([registry.key], [name]) in [(constants([key]), constants([value])) for key, value in pairs]
        case ast.Subscript(place, ast.Constant(value)):
            found = value == name and called(place) == "kinds"
        case ast.Call(ast.Attribute(place, "get"), [ast.Constant(value), *_]):
            found = value == name and called(place) == variable
        case ast.Tuple(items) | ast.List(items) | ast.Set(items):
            listed = constants(items)
            found = (
                variable in WORDS
                and name in listed
                and len(listed) == len(items) > 1
                and set(listed) <= set(registry.kinds)
            )
    return found


def mentions(tree, variable, name):
    """Whether a source file names a kind."""
    if variable in WORDS or (variable, name) in WORDS:
        return any(means(node, variable, name) for node in nodes(tree))
    return name in constants(nodes(tree))


def places(variable, name, sources):
    """Where a kind stands: its module, what names or imports it, and what computes for it alone.

    A folder all of whose modules compute for it is one place.
    """
    own = REGISTRIES[variable].kinds[name].__module__
    imported = {module: imports(tree) - {module} for module, tree in sources.items()}
    importers = {module: {other for other in sources if module in imported[other]} for module in sources}
    private = {own}
    while more := {module for module in sources if importers[module] and importers[module] <= private} - private:
        private |= more
    found = {own, *importers[own], *(module for module, tree in sources.items() if mentions(tree, variable, name))}
    for module in private - {own}:
        folder = module.rpartition(".")[0]
        inside = {other for other in sources if other.startswith(f"{folder}.")}
        found.add(folder if inside <= private else module)
    return found


@pytest.mark.parametrize(("variable", "name"), KINDS, ids=[f"{variable}-{name}" for variable, name in KINDS])
def test_a_kind_stands_in_two_files_at_most(variable, name):
    found = places(variable, name, package())
    assert len(found) <= 2, sorted(found)


@pytest.mark.parametrize(
    ("variable", "name", "line"),
    [
        ("METHODS", "hybrid", "weighted = method.name == 'hybrid'"),
        ("METHODS", "ayt", "weighted = run.training.name in ('ect', 'ayt')"),
        ("METHODS", "ect", "from ayt.methods.ect import Ect"),
        ("METHODS", "ect", "from ayt.methods import ect"),
        ("DATASETS", "photos", "def crops(dataset):\n    return {'photos': 8}.get(dataset, 1)"),
        ("FEATURE_NETWORKS", "vgg", "halved = classifier['family'] == 'vgg' or network.name == 'vgg'"),
        ("METRICS", "kid", "import ayt.metrics.kid"),
        ("FIGURES", "curves", "USUAL = {kind: {} for kind in ('curves', 'final')}"),
        ("FIGURES", "samples", "USUAL = {'samples': {'kind': 'samples'}}"),
        ("FIGURES", "toy", "match figure.kind:\n    case 'toy': pass"),
        ("TABLES", "scores", "def first():\n    return TABLES.kinds['scores']()"),
        ("TABLES", "cost", "shown = TABLES.get('cost')"),
    ],
)
def test_another_place_counts(variable, name, line):
    before = places(variable, name, package())
    assert places(variable, name, {**package(), "ayt.another": ast.parse(line)}) == {*before, "ayt.another"}


@pytest.mark.parametrize(
    ("variable", "name", "line"),
    [
        ("METHODS", "ect", "end = 0.0 if sampling.convention == 'ect' else 0.002"),
        ("FIGURES", "samples", "rows['samples'].max()"),
        ("TABLES", "methods", "mistake(('methods', name), value, problem)"),
    ],
)
def test_another_meaning_does_not(variable, name, line):
    assert "ayt.another" not in places(variable, name, {**package(), "ayt.another": ast.parse(line)})


def test_what_computes_for_one_kind_counts_with_it():
    more = {
        "ayt.metrics.formulas.more": ast.parse(""),
        "ayt.metrics.formulas.kernel": ast.parse("import ayt.metrics.formulas.more"),
    }
    assert "ayt.metrics.formulas.more" in places("METRICS", "kid", {**package(), **more})


def test_building_the_plan_imports_nothing_that_computes():
    rules = [
        path.read_text() for path in (ROOT / "workflow").rglob("*") if path.suffix == ".smk" or path.name == "Snakefile"
    ]
    lines = re.findall(r"^(?:from ayt[\w.]* import .+|import ayt.*)$", "\n".join(rules), re.MULTILINE)
    assert len(lines) > 5
    code = [
        "import sys",
        "from pathlib import Path",
        *lines,
        "plan = Plan(load([Path(sys.argv[1])]))",
        "assert list(plan.records()) and plan.digest() and read_needed(plan)",
        "for output in [*plan.experiment.figures.values(), *plan.experiment.tables.values()]:",
        "    assert isinstance(output.inputs(plan), list) and output.description.text",
        "print(*{'torch', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules))",
    ]
    command = [BIN / "python", "-c", "\n".join(code), "config/batch_size_ablation.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
