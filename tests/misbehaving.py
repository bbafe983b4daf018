"""A file server on this machine that does what it is told, step by step: one reply for each request of a path."""

import contextlib
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    etag: str | None = '"v1"'
    type: str = "application/octet-stream"
    ranges: bool = True  # understands Range and If-Range
    length: int | None = None  # what Content-Length says instead of the truth; negative: nothing
    content_range: str | None = None  # a Content-Range instead of the true one, with status 206
    location: str | None = None
    cut: int | None = None  # the connection ends after so many bytes of this reply
    reset: bool = False  # ... with a reset instead of an orderly end
    hold: threading.Event | None = None  # ... or goes on when this is set
    chunked: bool = False


class Server(ThreadingHTTPServer):
    """``server.script[path]`` are the replies, the last of which is given again and again."""

    daemon_threads = True

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.seen = {}, []
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket, self.scheme = context.wrap_socket(self.socket, server_side=True), "https"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients are killed, time out and refuse certificates here: their broken connections are no news."""

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def ranges(self, path="/file"):
        """The Range header of each request of a path."""
        return [headers["Range"] for seen, headers in self.seen if seen == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.seen.append((path, self.headers))
        replies = self.server.script.get(path, [Reply(status=404)])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        self.close_connection = True
        status, start, content_range = self.part(reply)
        body = reply.body[start:]
        self.send_response(status)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        elif reply.length is None or reply.length >= 0:
            self.send_header("Content-Length", str(len(body) if reply.length is None else reply.length))
        headers = (("Content-Type", reply.type), ("ETag", reply.etag), ("Location", reply.location))
        for name, value in (*headers, ("Content-Range", content_range), ("Connection", "close")):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.send(body, reply)

    def part(self, reply):
        """Status, first byte and Content-Range of a reply."""
        asked = self.headers["Range"]
        if reply.content_range and asked:
            return 206, 0, reply.content_range
        if not (asked and reply.ranges) or self.headers["If-Range"] not in (None, reply.etag) or reply.status != 200:
            return reply.status, 0, None
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(reply.body):
            return 416, len(reply.body), f"bytes */{len(reply.body)}"
        return 206, start, f"bytes {start}-{len(reply.body) - 1}/{len(reply.body)}"

    def send(self, body, reply):
        self.wfile.write(body[: reply.cut])
        self.wfile.flush()
        if reply.hold:
            reply.hold.wait(20)
            with contextlib.suppress(OSError):
                self.wfile.write(body[reply.cut :])
        elif reply.reset:
            # Closing with a linger of zero seconds resets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
