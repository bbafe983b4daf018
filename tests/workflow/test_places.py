"""Paths with spaces, quotes and what a shell would run: handed on as they are, or refused before any job."""

import re
import shutil
import subprocess

import pytest
import yaml
from conftest import BIN, ROOT
from workflows import Workflow

HOSTILE = 'it\'s $(touch pwned) `touch pwned`; touch pwned & "x" %j'
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
PLAIN = {"{threads}", "{wildcards.iteration}"}
"""What no shell can take for anything but a number."""

AYT = r"""
ayt() { printf '%s\0' "$@" >&3; printf '\n' >&3; }
exec 3>> called
"""
"""Writes down what it is called with."""


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_everything_that_a_rule_hands_to_its_shell_is_quoted(file):
    parts = re.findall(r'^ +"(ayt .*|.*2>&1)"$', file.read_text(), re.MULTILINE)
    fields = [field for part in parts for field in re.findall(r"\{[^}]*\}", part)]
    assert [field for field in fields if not field.endswith(":q}") and field not in PLAIN] == []
    assert file.name == "common.smk" or fields


@pytest.fixture
def commands(tmp_path):
    """The commands of an experiment whose files and folders, table and downloads have hostile names."""
    folder = tmp_path / HOSTILE / "results here"
    folder.mkdir(parents=True)
    table = yaml.safe_load((ROOT / "config/assets.yaml").read_text())
    for number, asset in enumerate(table.values()):
        if not asset.get("folder", "").startswith("torch"):  # these libraries look for where they are
            asset.update(file=f"{number} {HOSTILE}", folder=f"{HOSTILE}/{number}", kind="pickle")
    content = yaml.safe_load((ROOT / "config/method_comparison.yaml").read_text())
    content["assets"] = {"table": str(folder / f"{HOSTILE}.yaml"), "prefetched": HOSTILE}
    content["name"] = "hostile"
    content["execution"] = {"replay": "never"}
    (folder / f"{HOSTILE}.yaml").write_text(yaml.safe_dump(table))
    (folder / f"a{HOSTILE}.yaml").write_text(yaml.safe_dump(content))
    done = Workflow(folder).run(folder / f"a{HOSTILE}.yaml", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    return folder, re.findall(r"^Shell command: (ayt .*)$", done.stdout + done.stderr, re.MULTILINE)


def test_hostile_names_reach_the_verbs_as_they_are(commands):
    folder, found = commands
    assert {command.split()[1] for command in found} >= {"assets", "prepare", "import-checkpoint", "train", "score"}
    # One command of each verb, and all that name a published file.
    found = {verb if (verb := command.split()[1]) != "assets" else command: command for command in found}.values()
    logs = [re.search(r"> ('?results/logs/.*) 2>&1$", command)[1] for command in found]
    script = "\n".join([AYT, *(f'mkdir -p "$(dirname {log})"' for log in logs), *found])
    subprocess.run(["bash", "-c", script], cwd=folder, check=True)
    called = [line.split("\0")[:-1] for line in (folder / "called").read_text().splitlines()]
    fetched = [arguments for arguments in called if arguments[:2] == ["assets", "fetch"]]
    for arguments in fetched:
        assert arguments[2:8] == [
            *("--table", str(folder / f"{HOSTILE}.yaml")),
            *("--folder", "results/assets", "--prefetched", HOSTILE),
        ]
    (prepared,) = [arguments for arguments in called if arguments[0] == "prepare"]
    assert prepared[2].startswith("results/assets/" + HOSTILE) and prepared[2].endswith(HOSTILE)
    assert not list(folder.parents[1].rglob("pwned"))
    (trained,) = [arguments for arguments in called if arguments[0] == "train"]
    scored = [arguments for arguments in called if arguments[0] in ("score", "anchor")]
    assert scored and all("--replay=never" in arguments for arguments in [trained, *scored])


def test_a_whole_job_runs_in_a_folder_with_such_a_name(tiny, tmp_path):
    """Its rules lie there too, as do Snakemake's own files."""
    place = tmp_path / HOSTILE
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, place / name)
    content = {**yaml.safe_load(tiny.read_text()), "figures": {}, "tables": {}, "name": "tiny"}
    (place / "a;b $(touch pwned).yaml").write_text(yaml.safe_dump(content))
    workflow = Workflow(place / "here", place / "workflow" / "Snakefile")
    done = workflow.run(place / "a;b $(touch pwned).yaml", "--until", "pretrain_0_to_8_by_8")
    assert done.returncode == 0, done.stderr
    assert list((place / "here").glob("results/runs/digits/pretrain-*/snapshots/0000008.safetensors"))
    assert not list(tmp_path.rglob("pwned"))


def test_a_file_that_can_name_no_experiment_is_refused(tiny, tmp_path):
    shutil.copy(tiny, tmp_path / "a b;touch pwned.yaml")
    done = Workflow(tmp_path).run(tmp_path / "a b;touch pwned.yaml", "--dry-run")
    assert done.returncode == 1
    assert "a b;touch pwned.yaml: name" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_braces_which_snakemake_would_fill_in_are_refused(tiny, tmp_path):
    shutil.copytree(ROOT / "workflow", tmp_path / "{a}" / "workflow")
    done = Workflow(tmp_path, tmp_path / "{a}" / "workflow" / "Snakefile").run(tiny, "--dry-run")
    assert done.returncode == 1
    assert "{a}/workflow: Snakemake cannot work in a folder with { in its name; rename it" in done.stderr + done.stdout


CONDA = """#!/bin/bash
# Stands for conda: its environments have the packages that this one has, and no command ayt.
case "$1 $2" in
--version*) echo conda 25.1.0 ;;
"info --json") echo '{{"conda_prefix": "{place}", "platform": "linux-64"}}' ;;
"config --get") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create")
    while [ $# -gt 0 ]; do case "$1" in --prefix) prefix=$2 ;; --file) cp "$2" "{place}/made.yaml" ;; esac; shift; done
    mkdir -p "$prefix/bin"
    printf '#!/bin/sh\\necho "$@" >> "{place}/called"\\nexec {python} "$@"\\n' > "$prefix/bin/python"
    chmod +x "$prefix/bin/python" ;;
clean*) ;;
*) echo "what is conda $*?" >&2; exit 1 ;;
esac
"""


def test_conda_makes_an_environment_and_jobs_run_in_it(tiny, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/conda").write_text(CONDA.format(place=tmp_path, python=BIN / "python"))
    (tmp_path / "bin/conda").chmod(0o755)
    (tmp_path / "bin/activate").write_text('export CONDA_PREFIX=$1 PATH="$1/bin:$PATH"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    options = ("--software-deployment-method", "conda", "--until", "pretrain_0_to_8_by_8")
    done = Workflow(tmp_path / "here").run(tiny, *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "called").read_text().startswith("-m ayt train results/runs/digits/pretrain-")
    assert "-e" not in (tmp_path / "made.yaml").read_text().split()
