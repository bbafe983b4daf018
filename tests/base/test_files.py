"""Files that are whole or absent, where they cannot be written; whose commit the source is of."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from ayt.base import weights
from ayt.base.errors import UserError
from ayt.base.files import remove_parts, write_text
from ayt.base.source import digest_source


@pytest.fixture
def foreign():
    """A folder that belongs to somebody else; while the test runs, root is nobody in particular."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        if os.geteuid():
            yield Path(name)
            Path(name).chmod(0o755)
            return
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_a_foreign_folder_is_one_line_that_nothing_hides(foreign):
    for path in (foreign / "a.txt", foreign / "b" / "a.txt"):
        with pytest.raises(UserError, match=rf"^{path}: cannot be written: Permission denied$"):
            write_text(path, "")


def test_weights_that_others_keep_to_themselves_are_not_called_missing(foreign):
    path = foreign / "a.safetensors"
    with pytest.raises(UserError, match="no such file"):
        weights.read(path, "snapshot")
    before = os.geteuid()
    os.seteuid(os.getuid())
    foreign.chmod(0o755)
    weights.write(path, "snapshot", "run", 1, {"a": torch.ones(1)})
    for hidden in (path, foreign):
        hidden.chmod(0o000)
        os.seteuid(before)
        with pytest.raises(UserError, match=rf"^{path}: permission denied$"):
            weights.read(path, "snapshot")
        os.seteuid(os.getuid())
        hidden.chmod(0o755)


def test_parts_are_removed_and_nothing_else(tmp_path):
    for name in (".a.12.part.csv", ".hidden", "a.csv"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.csv"]


def commit_of(root, **environment):
    """What source that lies below ``root`` says of its commit."""
    code = "from ayt.base.source import source_commit; print(source_commit())"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**clean, "PYTHONPATH": str(root), **environment}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def unpacked(tmp_path):
    """The source, unpacked from an archive within a repository that is not its own."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "theirs"], check=True)
    for name in ("__init__.py", "base/__init__.py", "base/source.py"):
        (tmp_path / "inner/ayt" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "ayt" / name, tmp_path / "inner/ayt" / name)
    return tmp_path / "inner"


def test_a_repository_around_the_source_is_not_its_own(unpacked):
    assert commit_of(unpacked) == "None"
    assert commit_of(unpacked, GIT_DIR=str(unpacked.parent / ".git")) == "None"


def test_the_sources_own_repository_is_asked_whatever_the_environment_says(unpacked):
    (unpacked.parent / ".git").rename(unpacked / ".git")
    ours = commit_of(unpacked)
    assert len(ours.removesuffix("-dirty")) == 40
    assert commit_of(unpacked, GIT_DIR="/nowhere", GIT_WORK_TREE="/nowhere", GIT_INDEX_FILE="/nowhere") == ours


def test_the_digest_of_source_changes_with_any_of_its_files(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x")
    second.write_text("y")
    found = {digest_source(["metrics"]), digest_source(["networks"]), digest_source(["metrics"], [first])}
    found |= {digest_source(["metrics"], [first, second]), digest_source([], [first, second])}
    first.write_text("xy")
    second.write_text("")
    found.add(digest_source([], [first, second]))
    assert len(found) == 6
    assert digest_source(["metrics"]) == digest_source(["metrics"])
