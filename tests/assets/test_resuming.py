"""Downloads that are cut, killed or stopped by a full disk go on where they were, and are never glued together."""

import signal
import threading

import pytest
from downloads import BODY, OTHER, beside, error_of
from forked import wait_until
from misbehaving import Reply

pytest_plugins = ["downloads"]


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
