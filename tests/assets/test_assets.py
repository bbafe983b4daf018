"""Published files are downloaded, checked and kept, whatever the server sends."""

import shutil
import subprocess
import threading
import time

import pytest
from downloads import BODY, MD5, OTHER, OTHER_SHA256, SHA256, beside, error_of
from misbehaving import Reply, Server

from ayt.assets.fetch import verify
from ayt.base.errors import UserError

pytest_plugins = ["downloads"]


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
