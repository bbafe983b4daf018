"""The lock file: the pins with their hashes, all that they need, no addresses; pip takes no other files."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

LOCK = ROOT / "requirements.lock"


def entries():
    """Name -> (version, hashes)."""
    text = "".join(line for line in LOCK.read_text().splitlines(keepends=True) if not line.startswith("#"))
    found = {}
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *hashes = entry.split()
        name, version = pin.split("==")
        found[canonicalize_name(name)] = version, hashes
    return found


def test_it_has_the_pins_and_hashes_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    locked = {name: version for name, (version, _) in entries().items()}
    # It comes with Python's environments, so that it is no one's pin; with hashes pip wants it stated.
    assert locked == {"setuptools": locked["setuptools"], **pins}
    for name, (_, hashes) in entries().items():
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digits) for digits in hashes), name
    assert "://" not in LOCK.read_text()


def test_all_that_its_packages_need_is_in_it():
    locked, asked, seen = entries(), [(name, "") for name in entries()], set()
    while asked:
        name, extra = asked.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in map(Requirement, needs(name)):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                other = canonicalize_name(requirement.name)
                assert requirement.specifier.contains(locked[other][0], prereleases=True), f"{name} needs {requirement}"
                asked += [(other, more) for more in requirement.extras]
    assert len(seen) > 100


def test_pins_are_of_versions_for_every_python_that_is_promised():
    (oldest,) = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    wrong, seen = [], 0
    for name, (version, _) in entries().items():
        about = metadata_of(name)
        if about is not None and about["Version"] == version:
            seen += 1
            if not SpecifierSet(about["Requires-Python"] or "").contains(f"{oldest.version}.0"):
                wrong.append(f"{name} {version} needs Python {about['Requires-Python']}")
    assert seen > 100
    assert wrong == []


def metadata_of(name):
    try:
        return metadata(name)
    except PackageNotFoundError:
        return None


def needs(name):
    """What a package says that it needs; nothing is known of those that are there while others are built only."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_pip_takes_no_other_file_than_it_says(tmp_path):
    version, hashes = entries()["iniconfig"]
    options = ["--require-hashes", "--no-deps", "--no-cache-dir", "--retries", "0", "--dest", tmp_path / "files"]
    for name, digits in (("true", hashes), ("false", [f"--hash=sha256:{64 * '0'}"])):
        (tmp_path / name).write_text(" ".join([f"iniconfig=={version}", *digits]) + "\n")
    fetched = pip("download", *options, "--requirement", tmp_path / "true")
    if fetched.returncode and "No matching distribution" in fetched.stderr:
        pytest.skip("needs a package index")
    assert fetched.returncode == 0, fetched.stderr
    refused = pip("download", *options, "--requirement", tmp_path / "false")
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr
