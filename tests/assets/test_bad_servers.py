"""Downloads from servers that answer with anything, or for ever: one line each, in bounded time and space."""

import contextlib
import gzip
import io
import itertools
import json
import pickle
import re
import socket
import threading
import time
import zipfile

import pytest

from ayt.assets import formats
from ayt.assets.fetch import fetch
from ayt.assets.table import Asset
from ayt.base.errors import LONGEST, UserError

GOOD = pickle.dumps(bytes(range(256)) * 400)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


class RawServer:
    """Sends what it is told, byte for byte: one script of pieces for each connection, the last again and again.

    A number among the pieces is a pause in seconds.
    """

    def __init__(self):
        self.scripts, self.asked = [], []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/data.pkl"
        self.ended = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                threading.Thread(target=self.answer, args=(connection, script), daemon=True).start()

    def answer(self, connection, script):
        with connection, contextlib.suppress(OSError):
            self.asked.append(connection.recv(65536).decode())
            for piece in script() if callable(script) else script:
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                elif self.ended.wait(piece):
                    return

    def close(self):
        self.ended.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = RawServer()
    yield running
    running.close()


@pytest.fixture
def get(server, tmp_path):
    """Fetch from the server, in bounded time; returns the file, or the reason why there is none."""

    def run(*scripts, timeout=2.0, attempts=2, facts=None, **options):
        server.scripts = list(scripts)
        entry = {"file": "data.pkl", "url": server.url, "licence": "none", "used_for": "tests", "largest": 10**6}
        asset = Asset(**{**entry, **(facts or {})})
        options = {"timeout": timeout, "attempts": attempts, "pause": 0.0, "say": lambda line: None, **options}
        began = time.monotonic()
        try:
            return fetch(asset, tmp_path, **options)
        except UserError as error:
            message = str(error)
            assert all(
                line.isprintable() and len(line.replace(str(tmp_path), "")) <= LONGEST for line in message.split("\n")
            )
            assert not asset.path(tmp_path).exists() and not asset.path(tmp_path).with_suffix(".pkl.sha256").exists()
            return message.rpartition(f"{server.url}: ")[2]
        finally:
            assert time.monotonic() - began < 20

    return run


def ok(body, *headers):
    """A whole answer."""
    lines = [HEAD, *(f"{header}\r\n".encode() for header in headers)]
    return [b"".join(lines) + b"Content-Length: %d\r\n\r\n" % len(body), body]


def test_a_good_server_is_believed(get, tmp_path):
    assert get(ok(GOOD)).read_bytes() == GOOD
    assert (tmp_path / "downloads" / "data.pkl.sha256").exists()


def zip_of(name):
    """A zip with one member of this name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, bytes(100))
    return file.getvalue()


BODIES = {
    "empty": (ok(b""), "sends an empty file (2 attempts)"),
    "empty, of unknown length": ([HEAD + b"\r\n"], "sends an empty file (2 attempts)"),
    "HTML": (ok(b"<html>", "Content-Type: text/html"), "answers with a web page instead of the file"),
    "HTML under a false name": (ok(b"\n <!DOCTYPE HTML><p>"), "answers with a web page instead of the file"),
    "XHTML": (ok(b"<p>", "Content-Type: application/xhtml+xml"), "answers with a web page instead of the file"),
    "JSON": (ok(b'{"error": 1}', "Content-Type: application/json"), "answers with application/json instead of the"),
    "a problem": (ok(b"{}", "Content-Type: application/problem+json"), "answers with application/problem+json"),
    "XML": (ok(b"<Error/>", "Content-Type: application/xml"), "answers with application/xml instead of the file"),
    "JSON under a false name": (ok(b'{"error": "none"}'), 'is no pickle: it begins with b\'{"error": "none"}\''),
    "plain text": (ok(b"Not here.\n", "Content-Type: text/plain"), "is no pickle: it begins with b'Not here.\\n'"),
    "gzip": (ok(gzip.compress(GOOD), "Content-Encoding: gzip"), "in a different form than was asked for (Content-Enc"),
    "gzip twice": (ok(GOOD, "Content-Encoding: gzip, gzip"), "than was asked for (Content-Encoding: gzip, gzip)"),
    "gzip on the way": ([HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"], "(Transfer-Encoding: gzip, chunked)"),
    "another kind": (ok(zip_of("a.npy")), "is no pickle: it begins with b'PK"),
    "cut, of unknown length": ([HEAD + b"\r\n" + GOOD[:-9]], "is cut: a pickle ends otherwise"),
    "too large": ([HEAD + b"Content-Length: 1000001\r\n\r\n"], "has a file of 1000001 bytes, and at most 1000000"),
    "endless": (lambda: [HEAD + b"\r\n", *itertools.repeat(GOOD, 50)], "sends more than the 1000000 bytes that are"),
    "endless chunks": (
        lambda: [
            HEAD + CHUNKED,
            *itertools.repeat(b"ffff\r\n" + GOOD[:65535] + b"\r\n", 50),
        ],
        "sends more than the 1000000 bytes that are fetched (largest)",
    ),
    "a control sequence": ([b"HTTP/1.1 404 \x1b[2J" + b"x" * 60_000 + b"\r\n\r\n"], "404 ?[2Jxxx"),
    "no HTTP": ([b"SSH-2.0\r\n"], "no connection: SSH-2.0"),
    "no answer": ([], "no connection: Remote end closed connection without response"),
    "a length that is none": ([HEAD + b"Content-Length: \xb2\r\n\r\n" + GOOD[:50]], "is cut: a pickle ends otherwise"),
    "a length of many digits": ([HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"], "sends an empty file"),
    "two lengths": ([HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12"], "cannot be asked: "),
    "many headers": ([HEAD + b"A: b\r\n" * 1000 + b"\r\n"], "no connection: got more than 100 headers"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_not_the_file_is_not_recorded(get, kind):
    script, message = BODIES[kind]
    assert message in get(script)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://[::1", "redirects to 'http://[::1', which is not an address that can be fetched"),
        ("http://[::1]:x/", "no address|cannot be asked"),
        ("http://127.0.0.1:99999999/", "cannot be asked"),
        ("ftp://127.0.0.1/data", "redirects to 'ftp://127.0.0.1/data', which is not an address"),
        ("file:///etc/passwd", "redirects to 'file:///etc/passwd', which is not an address"),
        ("http://", "redirects endlessly"),
        ("http://" + "a" * 300 + "/", "cannot be asked|no connection"),
        ("\x1b[2J\xff", "redirects to|404|cannot be asked|endlessly"),
    ],
    ids=ascii,
)
def test_redirects_to_nowhere(get, target, message):
    assert re.search(
        message.replace("[", r"\["), get([b"HTTP/1.1 302 Found\r\nLocation: " + target.encode("latin-1") + b"\r\n\r\n"])
    )


def test_what_comes_with_a_redirect_is_not_read(get, server):
    def endless():
        yield b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n"
        for sent in range(1000):
            yield GOOD
            pieces.append(sent)

    pieces = []
    assert get(endless, ok(GOOD)).read_bytes() == GOOD
    assert len(pieces) < 1000
    assert server.asked[1].startswith("GET /there ")


def dribble(pieces, pause=0.05):
    for piece in pieces:
        yield piece
        yield pause


SLOW = {
    "a byte in every time-out": lambda: dribble(itertools.chain([HEAD + b"\r\n"], itertools.repeat(b"x"))),
    "a byte of a head in every time-out": lambda: dribble(itertools.chain([HEAD], itertools.repeat(b"x"))),
    "headers without an end": lambda: dribble(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "the size of a chunk": lambda: dribble(itertools.chain([HEAD + CHUNKED], itertools.repeat(b"0"))),
    "nothing": lambda: [60],
}
TIMEOUT = 0.4
SAID = {
    "a byte in every time-out": "is too slow: ",
    "the size of a chunk": "stalled after 0 bytes",
}


@pytest.mark.parametrize("kind", SLOW)
def test_no_server_is_waited_for_without_end(get, kind):
    assert SAID.get(kind, "no answer within 1.2 s (1 attempts)") in get(SLOW[kind], timeout=TIMEOUT, attempts=1)


DRIVE = {
    "endless": (BODIES["endless"][0], "sends more than the 1000000 bytes that are fetched (largest)"),
    "slow": (SLOW["a byte in every time-out"], "is too slow: "),
    "a slow head": (SLOW["a byte of a head in every time-out"], "is too slow: 0 bytes in 0.4 s; 1000 a second are the"),
    "JSON": (ok(b'{"error": 1}'), "is no pickle: it begins with"),
    "empty": (ok(b""), "is empty"),
}


@pytest.mark.parametrize("kind", DRIVE)
def test_google_drive_is_not_believed_either(get, server, monkeypatch, tmp_path, kind):
    # gdown leaves addresses without a file id as they are, so that a plain proxy can stand for Google.
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    script, message = DRIVE[kind]
    assert message in get(script, timeout=TIMEOUT, attempts=1, facts={"url": "http://drive.google.com/data"})
    assert not (tmp_path / "downloads" / "data.pkl.gdown").exists()


def test_a_byte_with_each_attempt_is_no_progress(get, server):
    numbers = itertools.count()

    def one():
        start = next(numbers)
        first = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-99/100\r\n" % start if start else HEAD
        yield first + b'ETag: "a"\r\nContent-Length: %d\r\n\r\nx' % (100 - start)

    assert "cut after 3 of 100 bytes (3 attempts)" in get(one, attempts=3, pause=0.01, facts={"least_rate": 1000})
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "lines",
    [[], ['ETag: "b"'], ['ETag: W/"a"'], ["Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT"]],
    ids=["none", "another", "weak", "another kind"],
)
def test_a_part_without_the_same_validator_is_not_spliced(get, lines):
    first = [HEAD + b'ETag: "a"\r\nContent-Length: %d\r\n\r\n' % len(GOOD), GOOD[:1000]]
    rest = b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes 1000-%d/%d\r\n"
    rest = rest % (len(GOOD) - 1, len(GOOD)) + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    other = bytes(len(GOOD) - 1001) + b"."
    assert get(first, [rest, other], ok(GOOD, 'ETag: "a"'), attempts=3).read_bytes() == GOOD


@pytest.mark.parametrize("memo", ["[]", "{}", '{"size": "x"}', '{"url": 1}', "[" * 100_000, "\0", '{"a": 1}'])
def test_what_is_said_of_a_part_may_be_damaged(get, tmp_path, memo):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "data.pkl.part").write_bytes(b"spoilt")
    (tmp_path / "downloads" / "data.pkl.part.json").write_text(memo)
    assert get(ok(GOOD)).read_bytes() == GOOD


def test_a_file_put_there_by_hand_must_be_of_its_kind_too(get, tmp_path):
    place = tmp_path / "downloads" / "data.pkl"
    place.parent.mkdir()
    place.write_text("<html>")
    assert get(ok(GOOD)).read_bytes() == GOOD
    assert place.with_suffix(".pkl.rejected").read_text() == "<html>"


def test_a_file_fetched_elsewhere_must_be_of_its_kind_too(get, server, tmp_path):
    (tmp_path / "data.pkl").write_text(json.dumps({"error": 404}))
    message = get(ok(GOOD), prefetched=tmp_path)
    assert "data.pkl: is not the published file: is no pickle: it begins with b'{\"error\": 404}'" in message
    assert server.asked == []


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("npz", zip_of("mu.npy"), None),
        ("npz", zip_of("mu.txt"), "is no npz: it begins with b'PK"),
        ("npz", zip_of("mu.npy")[:-5], "is cut: a npz ends otherwise"),
        ("zip", zip_of("a"), None),
        ("zip", b"\x80\x02.", "is no zip"),
        ("checkpoint", zip_of("a/data.pkl"), None),
        ("checkpoint", b"\x80\x02\x8a\nl" + bytes(9), None),
        ("checkpoint", (99).to_bytes(8, "little") + b'{"a":', None),
        ("checkpoint", b'{"error": {', "is no checkpoint"),
        ("pickle", b"\x80\x04N.", None),
        ("pickle", b"\x80\x04N", "is cut"),
        ("pickle", b"\x80\x09N.", "is no pickle"),
        ("tar.gz", gzip.compress(b"", mtime=0), None),
        ("tar.gz", b"BZh9", "is no tar.gz"),
        ("any", b"anything", None),
        ("any", b"", "is empty"),
        (None, b"anything", "is a text: it begins with b'anything'"),
        (None, "Größe".encode()[:-1] + bytes([0xC3]), "is a text"),
        (None, bytes(9), None),
        (None, b"\xff\xfe", None),
        (None, b"", "is empty"),
    ],
)
def test_kinds_are_told_by_their_bytes(tmp_path, kind, content, message):
    (tmp_path / "a").write_bytes(content)
    found = formats.problem(tmp_path / "a", kind)
    assert found is None if message is None else message in found
