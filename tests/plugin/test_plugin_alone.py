"""The plugin's distribution: an environment with Snakemake and its wheel alone runs a workflow."""

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import fields

import pytest
from conftest import ROOT

from snakemake_executor_plugin_submitit import ExecutorSettings
from snakemake_executor_plugin_submitit.request import KNOWN

PLUGIN = ROOT / "snakemake_executor_plugin_submitit"
CONSTRAINTS = ROOT / "constraints.txt"
PIP = (sys.executable, "-m", "pip")
RULE = "rule a:\n    output: 'a'\n    shell: 'echo made > {output}'\n"


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=400, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(python, what):
    """Into another environment, by this one's pip; what is never imported is not compiled."""
    run(*PIP, "--python", python, "install", "--quiet", "--no-compile", "--constraint", CONSTRAINTS, what)


def alone():
    """The environment of a process that finds nothing of this repository."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", folder, PLUGIN)
    (wheel,) = folder.glob("snakemake_executor_plugin_submitit-*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel):
    """Of an environment into which first the wheel alone is installed."""
    folder = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    install(folder / "bin" / "python", wheel)
    return folder / "bin" / "python"


def test_the_wheel_has_the_plugin_and_its_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {PLUGIN.name}
    assert any(name.endswith("LICENSE") for name in names)


def test_it_is_imported_without_snakemake_as_the_catalog_does(python):
    """... and brings neither Snakemake nor torch."""
    code = (
        "import importlib.util; from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry as R;"
        " print(importlib.util.find_spec('snakemake'), importlib.util.find_spec('torch'),"
        " len(R().get_plugin('submitit').get_settings_info()))"
    )
    assert run(python, "-c", code, env=alone()) == f"None None {len(fields(ExecutorSettings))}\n"


def test_with_snakemake_it_runs_a_workflow(python, tmp_path):
    install(python, "snakemake")
    (tmp_path / "Snakefile").write_text(RULE)
    run(
        *(python, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", "local", "--jobs", 1),
        cwd=tmp_path,
        env=alone(),
    )
    assert (tmp_path / "a").read_text() == "made\n"
    installed = run(*PIP, "--python", python, "list", "--format", "freeze")
    assert "torch" not in installed and "ayt" not in installed


def test_every_setting_and_resource_is_documented():
    text = (PLUGIN / "docs" / "further.md").read_text()
    for setting in fields(ExecutorSettings):
        assert f"\n| `{setting.name.replace('_', '-')}` |" in text
    for resource in KNOWN:
        assert re.search(rf"`(slurm_)?{resource}`", text), resource


def test_links_of_its_pages_resolve():
    for page in [PLUGIN / "README.md", *(PLUGIN / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), target


def test_it_needs_no_private_names_of_snakemake_and_no_assertions():
    for path in (PLUGIN / "src").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (snakemake|ayt)\b(?!_)", text, re.MULTILINE), path
        assert not re.search(r"^\s*assert\b", text, re.MULTILINE), path
