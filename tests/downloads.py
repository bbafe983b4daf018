"""Fixtures of the tests that download over a real connection from a server that misbehaves."""

import hashlib
import random
import subprocess
import sys

import pytest
from misbehaving import Server

from ayt.assets.fetch import fetch
from ayt.assets.table import Asset
from ayt.base.errors import UserError

BODY = random.Random(0).randbytes(100_000)
OTHER = random.Random(1).randbytes(100_000)
SHA256, OTHER_SHA256 = (hashlib.sha256(data).hexdigest() for data in (BODY, OTHER))
MD5 = hashlib.md5(BODY).hexdigest()
CHILD = """
import resource, sys
from pathlib import Path
from ayt.assets.fetch import fetch
from ayt.assets.table import Asset
root, url, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
asset = Asset(file="data.bin", url=url, licence="none", used_for="tests")
fetch(asset, Path(root), pause=0.0, say=lambda line: print(line, flush=True))
"""


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server(no_proxies):
    with Server() as running:
        yield running


@pytest.fixture
def asset(server):
    def entry(*addresses, **facts):
        urls = [url if "://" in url else server.url(url) for url in addresses or ("/file",)]
        return Asset(file="data.bin", url=urls[0], mirrors=urls[1:], licence="none", used_for="tests", **facts)

    return entry


@pytest.fixture
def said():
    return []


@pytest.fixture
def root(tmp_path):
    return tmp_path / "assets"


@pytest.fixture
def get(root, said):
    def run(asset, **options):
        return fetch(asset, root, **{"attempts": 3, "timeout": 2.0, "pause": 0.0, "say": said.append, **options})

    return run


@pytest.fixture
def child(root, server):
    started = []

    def start(limit=0):
        command = [sys.executable, "-c", CHILD, str(root), server.url("/file"), str(limit)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def beside(root, ending):
    return root / "downloads" / f"data.bin{ending}"


def error_of(get, asset, **options):
    with pytest.raises(UserError) as caught:
        get(asset, **options)
    message = str(caught.value)
    assert message.startswith("/") and len(message.splitlines()) <= 3, "the file, and a line for each address"
    return message
