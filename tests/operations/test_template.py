"""The package without its repository: a wheel's folder to work in is the repository's, and the workflow runs there."""

import contextlib
import filecmp
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT
from hatchling.build import build_wheel

from ayt.base.errors import UserError
from ayt.operations.template import PARTS, write_template


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Run Python with the package from a wheel in place of the repository's."""
    folder = tmp_path_factory.mktemp("installed")
    with contextlib.chdir(ROOT):
        wheel = build_wheel(str(folder))
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(folder / "site")

    def run(cwd, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    return run


def test_a_wheel_is_enough_to_run_the_workflow(installed, tmp_path):
    assert installed(tmp_path, "-c", "import ayt; print(ayt.__file__)").stdout.endswith("site/ayt/__init__.py\n")
    done = installed(tmp_path, "-m", "ayt", "init", "mine")
    assert (done.returncode, done.stdout) == (0, "cd mine && snakemake --profile local --dry-run\n"), done.stderr
    done = installed(tmp_path / "mine", "-m", "snakemake", "--profile", "local", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nrule train_0_to_" in done.stdout


def test_the_folder_has_what_the_repository_has(tmp_path):
    write_template(tmp_path / "mine")
    for part in PARTS:
        compared = filecmp.dircmp(tmp_path / "mine" / part, ROOT / part, ignore=["README.md", "__pycache__"])
        assert not compared.left_only + compared.right_only + compared.diff_files
    assert (tmp_path / "mine" / "slurm" / "config.v9+.yaml").is_file()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match="is not an empty folder; name a new one"):
        write_template(tmp_path)
    with pytest.raises(UserError, match="is not an empty folder; name a new one"):
        write_template(tmp_path / "mine.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
