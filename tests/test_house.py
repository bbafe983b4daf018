"""How the house is built: import directions, pins, nothing left behind."""

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEVELS = [
    {"cli"},
    {"training", "evaluation", "analysis", "assets", "operations", "reporting", "results"},
    {"experiment", "plan"},
    {"methods", "metrics"},
    {"features", "networks"},
    {"foreign", "datasets"},
    {"base"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
SOURCES = sorted((ROOT / "ayt").rglob("*.py"))


def statements(node, skipped=""):
    """All that a source file runs, inside functions too, but for one; imports for types alone are none."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not for_types and getattr(child, "name", None) != skipped:
            yield child
            yield from statements(child, skipped)


def imports(path, skipped=""):
    """Full names of all modules that a source file imports when it runs."""
    for node in statements(ast.parse(path.read_text()), skipped):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder(name):
    """The folder of the package that a module lies in, or None."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "ayt" and len(pieces) > 1 and pieces[1] in LEVEL else None


def test_every_module_lies_in_a_folder_that_has_a_level():
    places = {path.relative_to(ROOT / "ayt").parts for path in SOURCES}
    assert {parts for parts in places if len(parts) == 1} == {("__init__.py",), ("__main__.py",)}
    assert {parts[0] for parts in places if len(parts) > 1} == set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    ours = folder(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in imports(path):
        assert not name.startswith(("snakemake", "submitit")), f"{path} imports {name}"
        theirs = folder(name)
        if ours and theirs and ours != theirs:
            assert LEVEL[ours] <= LEVEL[theirs], f"ayt.{ours} imports ayt.{theirs}"


def test_folders_of_a_level_import_each_other_in_no_circle():
    needs = {name: set() for name in LEVEL}
    for path in SOURCES:
        ours = path.relative_to(ROOT / "ayt").parts[0]
        if ours in LEVEL:
            needs[ours] |= {folder(name) for name in imports(path)} - {ours, None}
    list(TopologicalSorter(needs).static_order())  # raises where there is one


@cache
def trees():
    """The source files of the package, by module."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    return {module.removesuffix(".__init__"): ast.parse(path.read_text()) for module, path in modules.items()}


def ambiguous(sources):
    """Public names with several meanings: of classes, and of functions that someone imports without their module.

    A network's settings and its module, which lie in files of one name, may share theirs.
    """
    defined, taken = defaultdict(set), set()
    for module, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in sources:
                taken |= {alias.name for alias in node.names}
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                defined[node.name].add(re.sub(r"^ayt\.networks\.\w+\.", "ayt.networks.*.", module))
                taken |= {node.name} if isinstance(node, ast.ClassDef) else set()
    return {name: places for name, places in defined.items() if len(places) > 1 and name in taken}


def test_a_name_has_one_meaning():
    assert ambiguous(trees()) == {}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("class Run: ...", {"Run"}),
        ("def read_arrays(): ...", {"read_arrays"}),
        ("def read(): ...", set()),
        ("def read(): ...\nfrom ayt.base.yamlio import read", {"read"}),
        ("def _read_score(): ...", set()),
    ],
)
def test_another_meaning_is_seen(line, names):
    assert set(ambiguous({**trees(), "ayt.another": ast.parse(line)})) == names


def test_losses_know_no_networks_nor_what_reports_torch():
    for name in ("losses", "schedules"):
        found = set(imports(ROOT / "ayt" / "methods" / "formulas" / f"{name}.py"))
        assert not [other for other in found if folder(other) in ("features", "networks")]
    for path in SOURCES:
        if path.relative_to(ROOT / "ayt").parts[0] in ("experiment", "plan", "assets", "reporting"):
            # A figure's analysis is no drawing.
            assert not any(name.split(".")[0] == "torch" for name in imports(path, skipped="compute")), path


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


PLUGIN = "snakemake-executor-plugin-submitit"
"""It lies in this repository, as a distribution of its own."""


def project(folder="."):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def needed():
    """What the package needs, and what its plugin needs."""
    requirements = project()["dependencies"] + project(PLUGIN.replace("-", "_"))["dependencies"]
    return [requirement for requirement in map(Requirement, requirements) if requirement.name != PLUGIN]


def test_the_plugin_that_is_wanted_is_the_one_here():
    (wanted,) = [item for item in map(Requirement, project()["dependencies"]) if item.name == PLUGIN]
    assert wanted.specifier.contains(project(PLUGIN.replace("-", "_"))["version"])


def test_every_requirement_is_pinned_within_its_range():
    extras = project()["optional-dependencies"]
    for requirement in needed() + list(map(Requirement, extras["dev"] + extras["docs"])):
        version = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} excludes the pin {version}"


@pytest.mark.parametrize("file", ["environment.yml", "envs/ayt.yaml"])
def test_conda_environments_have_the_same_pins(file):
    content = yaml.safe_load((ROOT / file).read_text())
    (pip,) = [item["pip"] for item in content["dependencies"] if isinstance(item, dict)]
    stated = dict(item.split("==") for item in pip if "==" in item)
    for name, version in stated.items():
        assert pins()[canonicalize_name(name)] == version
    assert {canonicalize_name(item.name) for item in needed()} <= {canonicalize_name(name) for name in stated}
    # What Snakemake makes an environment of is a copy of the file, beside which no source lies.
    assert sum(item.startswith("-e") for item in pip) == {"environment.yml": 2, "envs/ayt.yaml": 0}[file]


def test_constraints_have_no_addresses():
    assert all(
        re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in (ROOT / "constraints.txt").read_text().split()
    )


def test_profiles_are_found_by_name_from_the_root():
    for name in ("local", "slurm"):
        assert (ROOT / name).resolve() == ROOT / "workflow" / "profiles" / name
        assert (ROOT / name / "config.v9+.yaml").is_file()


def test_no_machine_paths_in_tracked_sources():
    for pattern in ("ayt/**/*.py", "workflow/**/*", "config/*", "envs/*"):
        for path in ROOT.glob(pattern):
            if path.is_file():
                assert not re.search(r"[\"' ]/(home|root|work|scratch)/", path.read_text()), path
                assert ".cuda(" not in path.read_text(), path


def test_files_are_short():
    """What is longer has parts that can be read by themselves."""
    for place in ("ayt", "tests", "snakemake_executor_plugin_submitit", "benchmarks"):
        for path in (ROOT / place).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 450, path


def test_names_of_test_files_differ():
    """Pytest imports them by name alone, wherever they lie."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
