"""How the house is built: import directions, pins, nothing left behind."""

import ast
import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEVELS = [
    {"cli"},
    {"training", "evaluation", "analysis", "toy", "figures", "tables", "published", "drawing", "about", "cost"},
    {"estimate", "release", "status"},
    {"models"},
    {"features", "consistency", "sampling"},
    {"networks", "data"},
    {"foreign", "assets"},
    {"plan"},
    {"runs", "scoring"},
    {"specs", "weights", "progress", "randomness"},
    {"config"},
    {"yamlio", "paths", "files", "pages", "processes", "speed", "source"},
    {"errors"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
SOURCES = sorted((ROOT / "ayt").rglob("*.py"))


def imports(path):
    """Full names of all modules that a source file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name):
    """The part of the package that a module belongs to, or None."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "ayt" and len(pieces) > 1 and pieces[1] in LEVEL else None


def test_every_part_has_a_level():
    assert {path.relative_to(ROOT / "ayt").parts[0].removesuffix(".py") for path in SOURCES} == {"__init__", *LEVEL}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    ours = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in imports(path):
        assert not name.startswith(("snakemake", "submitit")), f"{path} imports {name}"
        theirs = part(name)
        if ours and theirs and ours != theirs:
            assert LEVEL[ours] <= LEVEL[theirs], f"ayt.{ours} imports ayt.{theirs}"


def test_formulas_do_not_know_features_nor_figures_torch():
    for path in (ROOT / "ayt" / "consistency").glob("*.py"):
        assert not any(name.startswith("ayt.features") for name in imports(path))
    for path in [
        *(ROOT / "ayt" / "figures").glob("*.py"),
        *(ROOT / "ayt" / "config").glob("*.py"),
        *(ROOT / "ayt" / f"{name}.py" for name in ("tables", "drawing", "cost", "pages", "about", "speed")),
    ]:
        assert not any(name.split(".")[0] == "torch" for name in imports(path)), path


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
    for requirement in needed() + list(map(Requirement, project()["optional-dependencies"]["dev"])):
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
    assert sum(item.startswith("-e") for item in pip) == 2


def test_constraints_have_no_addresses():
    assert all(
        re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in (ROOT / "constraints.txt").read_text().split()
    )


def test_links_of_the_readme_resolve():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target


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
