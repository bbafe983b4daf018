"""Published files: the table, and downloads over a real connection to a server that misbehaves."""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT
from misbehaving import Reply, Server

from ayt.assets.fetch import fetch, verify
from ayt.assets.table import Asset, read_table
from ayt.base.errors import UserError
from ayt.base.yamlio import dump
from ayt.cli import assets

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


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
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


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("hashes", [{}, {"sha256": SHA256}, {"sha256_prefix": SHA256[:8]}, {"md5": MD5}], ids=str)
def test_a_file_arrives_and_is_not_fetched_again(server, asset, get, root, hashes):
    server.script["/file"] = [Reply(BODY)]
    wanted = asset(size=len(BODY), **hashes)
    assert get(wanted) == get(wanted) == root / "downloads" / "data.bin"
    assert beside(root, "").read_bytes() == BODY
    assert verify(wanted, root) == SHA256
    assert server.ranges() == [None]
    assert server.seen[0][1]["Accept-Encoding"] == "identity"
    assert {path.suffix for path in beside(root, "").parent.iterdir()} <= {".bin", ".lock", ".sha256"}


@pytest.mark.parametrize("tenths", range(10))
def test_a_cut_download_goes_on_where_it_was_cut(server, asset, get, root, tenths):
    cut = len(BODY) * tenths // 10
    server.script["/file"] = [Reply(BODY, cut=cut), Reply(BODY)]
    get(asset())
    assert beside(root, "").read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={cut}-" if cut else None]


def test_a_reset_connection_is_tried_again(server, asset, get, root, said):
    server.script["/file"] = [Reply(BODY, cut=50_000, reset=True), Reply(BODY)]
    get(asset())
    assert len(server.seen) == 2
    assert "of 100000 bytes; trying again" in said[0]
    assert beside(root, "").read_bytes() == BODY


def test_a_download_may_be_cut_more_often_than_it_has_attempts(server, asset, get, root):
    server.script["/file"] = [*(Reply(BODY, cut=10_000) for _ in range(9)), Reply(BODY)]
    get(asset(), attempts=2)
    assert beside(root, "").read_bytes() == BODY
    assert server.ranges() == [None, *(f"bytes={start}-" for start in range(10_000, 100_000, 10_000))]


def test_a_failed_download_is_resumed_by_the_next_call(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, cut=40_000), Reply(status=500)]
    assert "500 Internal Server Error" in (message := error_of(get, asset()))
    assert "40000 bytes are kept" in message
    server.script["/file"] = [Reply(BODY)]
    get(asset())
    assert server.ranges()[-1] == "bytes=40000-"
    assert beside(root, "").read_bytes() == BODY


def test_resuming_asks_the_address_that_the_part_came_from_first(server, asset, get, root):
    wanted = asset("/file", "/mirror")
    server.script["/mirror"] = [Reply(BODY, cut=40_000), Reply(status=404)]
    error_of(get, wanted)
    server.script.update({"/file": [Reply(BODY)], "/mirror": [Reply(BODY)]})
    get(wanted)
    assert server.ranges("/mirror")[-1] == "bytes=40000-"
    assert server.ranges("/file") == [None]
    assert beside(root, "").read_bytes() == BODY


def test_a_part_of_one_address_is_not_completed_from_another(server, asset, get, root):
    server.script.update({"/file": [Reply(BODY, cut=40_000), Reply(status=404)], "/mirror": [Reply(OTHER)]})
    get(asset("/file", "/mirror"))
    assert server.ranges("/mirror") == [None]
    assert beside(root, "").read_bytes() == OTHER


def test_a_part_that_is_whole_already_needs_no_network(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, cut=40_000), Reply(status=404)]
    error_of(get, asset())
    beside(root, ".part").write_bytes(BODY)
    get(asset())
    assert len(server.seen) == 2
    assert beside(root, "").read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, cut=50_000, ranges=False), Reply(BODY, ranges=False)]
    get(asset())
    assert server.ranges() == [None, "bytes=50000-"]
    assert beside(root, "").read_bytes() == BODY


def test_a_server_without_ranges_that_always_cuts_is_given_up(server, asset, get):
    server.script["/file"] = [Reply(BODY, cut=50_000, ranges=False)]
    assert "cut after 50000 of 100000 bytes (3 attempts)" in error_of(get, asset())
    assert len(server.seen) == 3


@pytest.mark.parametrize("etag", ['W/"v1"', None])
def test_without_a_strong_validator_nothing_is_resumed(server, asset, get, root, etag):
    server.script["/file"] = [Reply(BODY, etag=etag, cut=50_000), Reply(BODY, etag=etag)]
    get(asset())
    assert server.ranges() == [None, None]
    server.script["/file"] = [Reply(BODY, etag=etag, cut=50_000)]
    beside(root, "").unlink()
    error_of(get, asset())
    assert not beside(root, ".part").exists()


@pytest.mark.parametrize("honest", [True, False], ids=["answers 200", "ignores If-Range"])
def test_versions_of_a_file_are_not_glued_together(server, asset, get, root, honest):
    new = Reply(OTHER, etag='"v2"')
    false = Reply(OTHER, etag='"v2"', content_range="bytes 50000-99999/100000")
    server.script["/file"] = [Reply(BODY, cut=50_000), *([] if honest else [false]), new]
    get(asset())
    assert beside(root, "").read_bytes() == OTHER
    assert server.seen[1][1]["If-Range"] == '"v1"'


@pytest.mark.parametrize("given", ["bytes 0-99999/100000", "bytes 50000-99998/99999", "bytes */100000", "nonsense"])
def test_a_part_that_was_not_asked_for_is_not_used(server, asset, get, root, given):
    server.script["/file"] = [Reply(BODY, cut=50_000), Reply(BODY, content_range=given), Reply(BODY)]
    get(asset())
    assert server.ranges() == [None, "bytes=50000-", None]
    assert beside(root, "").read_bytes() == BODY


def test_a_range_that_the_server_refuses_starts_over(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, cut=50_000), Reply(status=416), Reply(BODY)]
    get(asset())
    assert server.ranges() == [None, "bytes=50000-", None]
    assert beside(root, "").read_bytes() == BODY


def test_a_body_shorter_than_announced_is_no_file(server, asset, get, root):
    server.script["/file"] = [Reply(BODY[:70_000], length=100_000)]
    assert "cut after 70000 of 100000 bytes" in error_of(get, asset())
    assert not beside(root, "").exists()


def test_a_body_of_unannounced_length_is_checked_against_the_size(server, asset, get, root):
    server.script["/file"] = [Reply(BODY[:70_000], length=-1), Reply(BODY, length=-1)]
    get(asset(size=len(BODY)))
    assert beside(root, "").read_bytes() == BODY


def test_a_body_in_chunks_arrives(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, chunked=True, cut=60_000), Reply(BODY, chunked=True)]
    get(asset())
    assert beside(root, "").read_bytes() == BODY


def test_a_body_longer_than_the_file_is_refused(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, length=-1)]
    assert "sends more than the 70000 bytes" in error_of(get, asset(size=70_000))
    assert not beside(root, ".part").exists()


def test_a_file_of_another_size_is_not_downloaded(server, asset, get, root):
    server.script["/file"] = [Reply(BODY)]
    assert "has a file of 100000 bytes, expected 99999" in error_of(get, asset(size=99_999))
    assert not beside(root, ".part").exists()


@pytest.mark.parametrize("hashes", [{"sha256": SHA256}, {"sha256_prefix": SHA256[:8]}, {"md5": MD5}], ids=str)
def test_an_altered_file_is_kept_aside_and_the_next_mirror_tried(server, asset, get, root, said, hashes):
    server.script.update({"/file": [Reply(OTHER)], "/mirror": [Reply(BODY)]})
    get(asset("/file", "/mirror", **hashes))
    assert beside(root, "").read_bytes() == BODY
    assert beside(root, ".rejected").read_bytes() == OTHER
    assert any(value in line for line in said for value in hashes.values())


def test_the_error_names_both_hashes_and_the_file_kept_aside(server, asset, get, root):
    server.script["/file"] = [Reply(OTHER)]
    message = error_of(get, asset(sha256=SHA256))
    assert f"SHA-256 is {OTHER_SHA256}, expected {SHA256} (kept as {beside(root, '.rejected').name})" in message
    assert not beside(root, "").exists()
    assert not beside(root, ".part").exists()


def test_a_stalled_server_is_tried_again_and_then_left(server, asset, get, root):
    stalled = threading.Event()
    server.script.update({"/file": [Reply(BODY, cut=30_000, hold=stalled)], "/mirror": [Reply(BODY)]})
    get(asset("/file", "/mirror"), timeout=0.1, attempts=2)
    stalled.set()
    # The first stall brought something, the second sent more, from the third on nothing was new.
    assert server.ranges()[:3] == [None, "bytes=30000-", "bytes=60000-"]
    assert beside(root, "").read_bytes() == BODY


def test_a_stall_is_called_so(server, asset, get):
    stalled = threading.Event()
    server.script["/file"] = [Reply(BODY, cut=0, hold=stalled)]
    assert "stalled after 0 of 100000 bytes (2 attempts)" in error_of(get, asset(), timeout=0.3, attempts=2)
    stalled.set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_missing_file_is_not_asked_for_twice(server, asset, get, root, status):
    server.script.update({"/file": [Reply(status=status)], "/mirror": [Reply(BODY)]})
    get(asset("/file", "/mirror"))
    assert [path for path, _ in server.seen] == ["/file", "/mirror"]
    assert beside(root, "").read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_error_is_tried_again(server, asset, get, root, status):
    server.script["/file"] = [Reply(status=status), Reply(status=status), Reply(BODY)]
    get(asset())
    assert beside(root, "").read_bytes() == BODY


def test_pauses_double(server, asset, get):
    server.script["/file"] = [Reply(status=500)]
    began = time.monotonic()
    error_of(get, asset(), attempts=4, pause=0.05)
    assert 0.35 <= time.monotonic() - began < 1.5
    assert len(server.seen) == 4


def test_a_redirect_is_followed_and_a_loop_of_them_is_not(server, asset, get, root):
    server.script["/file"] = [Reply(status=302, location="/file")]
    server.script["/mirror"] = [Reply(status=302, location="/true")]
    server.script["/true"] = [Reply(BODY)]
    assert "redirects endlessly" in error_of(get, asset())
    assert len(server.seen) <= 31
    get(asset("/file", "/mirror"))
    assert beside(root, "").read_bytes() == BODY


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_not_the_file(server, asset, get, root, kind):
    server.script["/file"] = [Reply(b"\n<!DOCTYPE html><title>Virus scan warning</title>", type=kind)]
    assert "answers with a web page" in error_of(get, asset())
    assert [path.suffix for path in beside(root, "").parent.iterdir()] == [".lock"]


def test_a_web_page_does_not_replace_what_was_there(server, asset, get, root):
    server.script["/file"] = [Reply(BODY, cut=40_000), Reply(b"Please log in", type="text/html", ranges=False)]
    assert "answers with a web page" in error_of(get, asset())
    assert beside(root, ".part").read_bytes() == BODY[:40_000]


def test_an_address_where_nobody_listens(asset, get):
    with Server() as gone:
        url = gone.url("/file")
    assert f"{url}: no connection: Connection refused (3 attempts)" in error_of(get, asset(url))


def test_every_address_has_its_reason(server, asset, get, root):
    server.script["/mirror"] = [Reply(status=500)]
    message = error_of(get, asset("/file", "/mirror"))
    told, *reasons = message.split("\n  ")
    assert told.startswith(str(asset("/file").path(root))) and "--prefetched" in told
    assert reasons[0] == f"{server.url('/file')}: 404 Not Found"
    assert reasons[1].startswith(f"{server.url('/mirror')}: 500 Internal")


def test_a_hash_is_recorded_at_the_first_download_and_enforced_later(server, asset, get, root):
    server.script["/file"] = [Reply(BODY)]
    get(asset())
    assert beside(root, ".sha256").read_text() == f"{SHA256}  data.bin\n"
    beside(root, "").unlink()
    server.script["/file"] = [Reply(OTHER)]
    assert f"expected {SHA256}" in error_of(get, asset())
    assert not beside(root, "").exists()


def test_a_published_hash_is_not_recorded(server, asset, get, root):
    server.script["/file"] = [Reply(BODY)]
    get(asset(md5=MD5))
    assert not beside(root, ".sha256").exists()


def test_a_file_altered_on_the_disk_is_found_and_fetched_again(server, asset, get, root):
    server.script["/file"] = [Reply(BODY)]
    get(asset())
    beside(root, "").write_bytes(OTHER)
    with pytest.raises(UserError, match=f"SHA-256 is {OTHER_SHA256}, expected {SHA256}"):
        verify(asset(), root)
    get(asset())
    assert beside(root, "").read_bytes() == BODY
    assert beside(root, ".rejected").read_bytes() == OTHER


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (BODY[:9], "has 9 bytes, expected 100000"), (BODY, "no hash is published")],
    ids=["missing", "short", "unknown"],
)
def test_verify_says_what_is_wrong(asset, root, content, message):
    if content:
        beside(root, "").parent.mkdir(parents=True)
        beside(root, "").write_bytes(content)
    facts = {} if content == BODY else {"sha256": SHA256}
    with pytest.raises(UserError, match=message):
        verify(asset(size=len(BODY), **facts), root)


def test_a_file_put_there_by_hand_is_recorded(server, asset, get, root):
    beside(root, "").parent.mkdir(parents=True)
    beside(root, "").write_bytes(BODY)
    get(asset())
    assert not server.seen
    assert verify(asset(), root) == SHA256


def test_a_spoilt_record_is_an_error(server, asset, get, root):
    beside(root, "").parent.mkdir(parents=True)
    beside(root, ".sha256").write_text("nothing\n")
    server.script["/file"] = [Reply(BODY)]
    assert "not a record of a SHA-256" in error_of(get, asset())


@pytest.mark.parametrize("place", ["data.bin", "downloads/data.bin"])
@pytest.mark.parametrize("hashes", [{}, {"md5": MD5}], ids=str)
def test_prefetched_files_need_no_network(server, asset, get, root, tmp_path, place, hashes):
    source = tmp_path / "elsewhere" / place
    source.parent.mkdir(parents=True)
    source.write_bytes(BODY)
    get(asset(**hashes), prefetched=tmp_path / "elsewhere")
    assert verify(asset(**hashes), root) == SHA256
    assert not server.seen


def test_a_wrong_prefetched_file_is_named(server, asset, get, root, tmp_path):
    (tmp_path / "data.bin").write_bytes(OTHER)
    message = error_of(get, asset(sha256=SHA256), prefetched=tmp_path)
    assert f"{tmp_path / 'data.bin'}: is not the published file: its SHA-256 is {OTHER_SHA256}" in message
    assert not beside(root, "").exists()
    assert not server.seen


def test_what_is_not_prefetched_is_fetched(server, asset, get, tmp_path):
    server.script["/file"] = [Reply(BODY)]
    assert get(asset(), prefetched=tmp_path).read_bytes() == BODY
    assert "nowhere: no such folder" in error_of(get, asset(), prefetched=tmp_path / "nowhere")


def test_two_processes_download_once(server, root, child):
    go = threading.Event()
    server.script["/file"] = [Reply(BODY, cut=50_000, hold=go)]
    first = child()
    wait_until(lambda: server.seen)
    second = child()
    assert "waiting for another process" in second.stdout.readline()
    go.set()
    assert [first.wait(10), second.wait(10)] == [0, 0]
    assert server.ranges() == [None]
    assert beside(root, "").read_bytes() == BODY


def test_a_killed_download_goes_on(server, asset, get, root, child):
    go = threading.Event()
    server.script["/file"] = [Reply(BODY, cut=50_000, hold=go), Reply(BODY)]
    killed = child()
    wait_until(lambda: beside(root, ".part").exists() and beside(root, ".part").stat().st_size == 50_000)
    killed.kill()
    assert killed.wait(10) == -signal.SIGKILL
    get(asset())
    go.set()
    assert server.ranges() == [None, "bytes=50000-"]
    assert beside(root, "").read_bytes() == BODY


def test_a_file_too_large_for_the_disk_is_kept_as_a_part(server, asset, get, root, child):
    server.script["/file"] = [Reply(BODY)]
    full = child(limit=60_000)
    _, errors = full.communicate(timeout=10)
    assert full.returncode == 1
    assert "data.bin: cannot be written: File too large; 60000 bytes are kept" in errors
    get(asset())
    assert server.ranges() == [None, "bytes=60000-"]
    assert beside(root, "").read_bytes() == BODY


def test_no_space_is_one_error_and_no_mirror_is_asked(server, asset, get, root):
    server.script.update({"/file": [Reply(BODY)], "/mirror": [Reply(BODY)]})
    beside(root, ".part").parent.mkdir(parents=True)
    beside(root, ".part").symlink_to("/dev/full")
    assert "data.bin: cannot be written: No space left on device" in error_of(get, asset("/file", "/mirror"))
    assert len(server.seen) == 1


def test_a_folder_that_cannot_be_made(asset, get, root):
    root.write_text("in the way")
    assert "data.bin.lock: cannot be written: " in error_of(get, asset())


def test_google_drive_is_asked_through_gdown(server, asset, get, root, monkeypatch):
    # gdown leaves addresses without a file id as they are, so that a plain proxy can stand for Google.
    monkeypatch.setenv("http_proxy", server.url(""))
    drive = asset("http://drive.google.com/data")
    server.script["/data"] = [Reply(b"<html>Quota exceeded</html>")]
    assert "answers with a web page" in error_of(get, drive)
    server.script["/data"] = [Reply(status=403)]
    assert "403 Client Error" in error_of(get, drive)
    server.script["/data"] = [Reply(BODY, cut=50_000), Reply(BODY)]
    get(drive)
    assert verify(drive, root) == SHA256
    assert not beside(root, ".gdown").exists()
    assert server.seen[0][1]["User-Agent"].startswith("Mozilla")


@pytest.fixture
def certificate(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command")
    file = tmp_path / "certificate.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", tmp_path / "key.pem", "-out", file, "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *options.split(), *files], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "key.pem").read_text())
    return file


def test_encryption_is_not_given_up_on_the_way(server, asset, get, root, certificate, monkeypatch):
    with Server(certificate) as secure:
        secure.script["/file"] = [Reply(status=302, location=server.url("/plain"))]
        secure.script["/true"] = [Reply(BODY)]
        server.script["/plain"] = [Reply(BODY)]
        assert "is not trusted" in error_of(get, asset(secure.url("/file")))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert "unencrypted" in error_of(get, asset(secure.url("/file")))
        assert get(asset(secure.url("/true"))).read_bytes() == BODY


ENTRY = {"file": "f.bin", "url": "https://example.org/f.bin", "licence": "none", "used_for": "tests"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "ftp://example.org/f"}, "a.url = 'ftp://example.org/f': not an address that can be fetched; choose"),
        ({"url": "https:///f"}, "a.url = 'https:///f': names no host"),
        ({"mirrors": ["file:///f"]}, "a.mirrors.0 = 'file:///f': not an address"),
        ({"file": "../f"}, "a.file = '../f': must be a plain file name"),
        ({"file": ".f"}, "a.file = '.f': must be a plain file name"),
        ({"folder": "../elsewhere"}, "a.folder = '../elsewhere': must be a folder inside"),
        ({"folder": "/tmp"}, "a.folder = '/tmp': must be a folder inside"),
        ({"md5": "12ab"}, "a.md5 = '12ab': must be 32 hexadecimal digits"),
        ({"sha256": SHA256.upper()}, "must be 64 lowercase hexadecimal digits"),
        ({"sha256_prefix": "12"}, "a.sha256_prefix = '12': must be 6 to 63"),
        ({"sha256_prefix": 12345678}, "a.sha256_prefix = 12345678: must be text; put it into quotes"),
        ({"size": 0}, "a.size = 0: must be greater than or equal to 1"),
        ({"size": "many"}, "a.size = 'many': must be a valid integer"),
        ({"url": "http://[::1"}, "a.url = 'http://[::1': "),
        ({"kind": "pikle"}, "a.kind = 'pikle': unknown; did you mean pickle? choose from pickle, checkpoint, npz"),
        ({"largest": 0}, "a.largest = 0: must be greater than or equal to 1"),
        ({"least_rate": -1}, "a.least_rate = -1: must be greater than or equal to 0"),
        ({"licence": None}, "a.licence = None: must be text"),
        ({"sha265": SHA256}, "unknown key; did you mean sha256? choose from file,"),
    ],
)
def test_mistakes_in_a_table_are_one_line_each(tmp_path, changes, message):
    (tmp_path / "table.yaml").write_text(dump({"a": {**ENTRY, **changes}}))
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "table.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'table.yaml'}: a.")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be a mapping of asset names"),
        ("a: 3", "a = 3: must be a mapping"),
        ("a: {file: f, url: 'https://x/f', licence: l}", "a.used_for: is missing"),
        (
            "a: &x {file: f, url: 'https://x/f', licence: l, used_for: u}\nb: *x",
            "b.file = 'f': is the file of a too",
        ),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / "table.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / "table.yaml")


def test_the_shipped_table_has_what_libraries_look_for_where_they_look():
    table = read_table(ROOT / "config" / "assets.yaml")
    assert all(url.startswith("https://") for entry in table.values() for url in entry.addresses)
    assert [entry.note for name, entry in table.items() if name.startswith("edm")] == ["non-commercial use only"] * 2
    assert table["cifar10"].size == 170_498_071
    # Where nothing else says what arrives, the table says how much it may be, and what.
    assert all(entry.size or "largest" in entry.model_fields_set for entry in table.values())
    assert all(entry.expected_kind for entry in table.values())
    for name in ("pytorch-fid-inception", "torchvision-vgg16"):
        assert table[name].folder == "torch/hub/checkpoints"
        assert table[name].file.removesuffix(".pth").endswith(f"-{table[name].sha256_prefix}")


def test_torch_finds_a_fetched_file_without_the_network(server, asset, get, root, monkeypatch):
    import torch

    server.script["/w.pth"] = [Reply(b"\x80\x02" + BODY)]
    path = get(Asset(**{**ENTRY, "file": "w.pth", "url": server.url("/w.pth"), "folder": "torch/hub/checkpoints"}))
    monkeypatch.setenv("TORCH_HOME", str(root / "torch"))
    assert path.parent.samefile(f"{torch.hub.get_dir()}/checkpoints")


@pytest.fixture
def command(tmp_path, server, root, capsys):
    table = {"first": {**ENTRY, "url": server.url("/file"), "md5": MD5, "size": len(BODY), "note": "for tests only"}}
    table["second"] = {**ENTRY, "file": "g.bin", "url": server.url("/other")}
    (tmp_path / "table.yaml").write_text(dump(table))
    top = argparse.ArgumentParser()
    assets.add_verbs(top.add_subparsers())

    def run(action, *arguments):
        places = ["--table", str(tmp_path / "table.yaml"), "--folder", str(root)]
        options = top.parse_args(["assets", action, *places, *arguments])
        options.run(options)
        return capsys.readouterr()

    return run


def test_the_verbs_fetch_verify_and_list(server, command, root):
    server.script.update({"/file": [Reply(BODY)], "/other": [Reply(OTHER)]})
    shown = command("list").out
    assert f"0.1 MB   MD5 {MD5[:8]}..." in shown
    assert "recorded at first download" in shown
    fetched = command("fetch")
    assert fetched.out.split() == [str(root / "downloads" / name) for name in ("f.bin", "g.bin")]
    assert "first: for tests only (licence: none)" in fetched.err
    assert command("verify", "first").out == f"{SHA256}  {root / 'downloads' / 'f.bin'}\n"
    assert f"SHA-256 {OTHER_SHA256[:8]}... (recorded)   yes" in command("list").out


def test_one_failure_does_not_keep_the_others_from_being_fetched(server, command, root):
    server.script["/other"] = [Reply(OTHER)]
    with pytest.raises(UserError, match=r"^first: (.*\n)+.*404 Not Found"):
        command("fetch")
    assert (root / "downloads" / "g.bin").read_bytes() == OTHER


def test_an_unknown_name_is_answered_with_those_known(command):
    with pytest.raises(UserError, match=r"has no asset 'frist'; did you mean first\? choose from first, second"):
        command("fetch", "frist")
