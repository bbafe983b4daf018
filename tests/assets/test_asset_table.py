"""The table of published files, and the verbs that fetch, verify and list them."""

import argparse

import pytest
from conftest import ROOT
from downloads import BODY, MD5, OTHER, OTHER_SHA256, SHA256
from misbehaving import Reply

from ayt.assets.table import Asset, read_table
from ayt.base.errors import UserError
from ayt.base.yamlio import dump
from ayt.cli import assets

pytest_plugins = ["downloads"]

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
        ({"md5": "12ab"}, "a.md5 = '12ab': must be 32 lowercase hexadecimal digits"),
        ({"sha256": SHA256.upper()}, "must be 64 lowercase hexadecimal digits"),
        ({"sha256_prefix": "12"}, "a.sha256_prefix = '12': must be 6 to 63"),
        ({"sha256_prefix": 12345678}, "a.sha256_prefix = 12345678: must be text; put it in quotes"),
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
