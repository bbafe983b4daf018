"""The batch-size experiment on CIFAR-10, from downloads to its figure and table, with made-up files."""

import gzip
import io
import json
import pickle
import re
import tarfile
import time

import forked
import numpy as np
import pandas as pd
import pytest
from published import write_cifar_archive
from rehearse import images, rehearse

from ayt.base import paths
from ayt.base.arrays import write_arrays
from ayt.base.errors import UserError
from ayt.datasets import cifar10
from ayt.datasets.cifar10 import BATCHES, Cifar10


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    done, server = rehearse(folder, "tiny", more=["--quiet", "rules"], run=forked.snakemake)
    assert done.returncode == 0, done.stderr
    # Who starts it is told what the licences of the files allow, before they are fetched.
    told = [line for line in done.stderr.splitlines() if "non-commercial use only (licence: CC BY-NC-SA 4.0)" in line]
    assert [line.partition(":")[0] for line in told] == ["edm-cifar10-32x32-uncond-vp", "edm-cifar10-32x32-reference"]
    return folder, server


def test_every_figure_and_table_is_made(finished):
    folder, _ = finished
    made = {path.name for path in (folder / "results" / "batch_size_ablation").glob("*/*")}
    assert {"batch_size.png", "final.pdf", "samples.png", "transformations.png"} <= made
    assert {"tangents.png", "oscillation.png", "toy_curve.png", "toy_surface.png", "manifold.png"} <= made
    assert {"scores.md", "scores.tex", "published.csv", "published.md", "methods.md", "cost.md", "reach.md"} <= made


def test_scores_are_fids_of_every_run(finished):
    scores = pd.read_csv(finished[0] / "results" / "batch_size_ablation" / "scores.csv")
    assert set(scores["method"]) == {"ect", "ayt", "lpips"}
    assert set(scores["batch_size"]) == {2, 4}
    assert set(scores["metric"]) == {"FID"}
    assert len(scores) == 3 * 2 * 2
    assert (scores["mean"] > 0).all()


def test_each_file_was_asked_for_once_and_nothing_else(finished):
    _, server = finished
    assert sorted(path for path, _ in server.seen) == sorted(server.script)


def test_training_starts_from_the_published_weights(finished):
    from safetensors import safe_open

    folder, _ = finished
    (converted,) = (folder / "results" / "assets" / "checkpoints").glob("*.safetensors")
    with safe_open(converted, "pt") as file:
        metadata = json.loads(file.metadata()["ayt"])
        assert not any("map_augment" in name for name in file.keys())  # noqa: SIM118 - not a dict
        start = file.get_tensor("model.enc.32x32_conv.weight")
    assert metadata["source"] == "edm-cifar10-32x32-uncond-vp.pkl"
    snapshot = next((folder / "results" / "runs" / "cifar10").glob("ect-*/snapshots/0000002.safetensors"))
    with safe_open(snapshot, "pt") as file:
        moved = (file.get_tensor("model.enc.32x32_conv.weight") - start).abs().max()
    assert 0 < moved < 1e-3


def test_dropped_and_converted_tensors_are_said(finished):
    log = (finished[0] / "results/logs/checkpoint/edm-cifar10-32x32-uncond-vp.log").read_text()
    assert "dropped on purpose, for augmentation labels: model.map_augment.weight" in log


def test_nothing_is_left_to_do(finished):
    done, server = rehearse(finished[0], "tiny", more=["--dry-run"], run=forked.snakemake)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert server.seen == []


def test_the_archive_is_read_as_it_was_written(tmp_path, monkeypatch):
    pixels, labels = images(50_000)
    write_cifar_archive(tmp_path / "cifar.tar.gz", pixels, labels)
    found = Cifar10.prepare(tmp_path / "cifar.tar.gz")
    assert np.array_equal(found.pixels, pixels)
    assert found.labels.tolist() == labels
    monkeypatch.chdir(tmp_path)
    write_arrays(paths.dataset("cifar10"), found._asdict(), compressed=False)
    again = Cifar10().load()
    assert np.array_equal(again.pixels, pixels)
    assert again.labels.tolist() == labels


def strange(kind):
    member = tarfile.TarInfo(
        {"absolute": "/tmp/data_batch_1", "parent": "a/../../data_batch_1"}.get(kind, "data_batch_1")
    )
    if kind in ("symbolic link", "hard link"):
        member.type = tarfile.SYMTYPE if kind == "symbolic link" else tarfile.LNKTYPE
        member.linkname = "/etc/passwd"
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    return member


@pytest.mark.parametrize("kind", ["absolute", "parent", "symbolic link", "hard link", "device"])
def test_members_that_would_be_written_elsewhere_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.addfile(strange(kind))
    with pytest.raises(UserError, match=r"cifar.tar.gz: refused: member '.*data_batch_1'"):
        Cifar10.prepare(tmp_path / "cifar.tar.gz")


def header(name, size, kind=tarfile.REGTYPE):
    """A member's header alone, whatever it says of what follows."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


NEGATIVE = bytearray(header("data_batch_1", 0))
NEGATIVE[124:136] = b"\xff" * 12
NEGATIVE[148:156] = b"%06o\0 " % (sum(NEGATIVE[:148]) + 8 * 32 + sum(NEGATIVE[156:]))
BOMBS = {
    "a long name": (header("x", 2**33, tarfile.GNUTYPE_LONGNAME) + bytes(9**7), "has 8589934592 bytes, and at most 65"),
    "extended facts": (header("x", 2**33, tarfile.XHDTYPE) + bytes(9**7), "has 8589934592 bytes, and at most 65536"),
    "long names of long names": (
        (header("x", 5, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 5000,
        "more than 1000 members",
    ),
    "facts on facts": ((header("x", 5, tarfile.XHDTYPE) + bytes(512)) * 5000, "more than 1000 members"),
    "a large batch": (header("data_batch_1", 2**40), "'data_batch_1' has 1099511627776 bytes, and at most 100000000"),
    "a large member that nobody needs": (header("readme", 2**40), "'readme' has 1099511627776 bytes"),
    "many large members": ((header("readme", 10**6) + bytes(10**6 + 448)) * 5, "holds more than 4000000 bytes"),
    "many members": (header("readme", 0) * 1001, "more than 1000 members"),
    "a sparse file": (header("data_batch_1", 0, tarfile.GNUTYPE_SPARSE), "is neither a file nor a folder"),
    "a negative size": (bytes(NEGATIVE), "has -1 bytes"),
    "no content": (header("data_batch_1", 10**6), "damaged archive (ends too early)"),
    "a broken header": (b"x" * 512, "damaged archive"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_archives_that_ask_for_much_are_one_error_at_once(tmp_path, monkeypatch, kind):
    content, message = BOMBS[kind]
    monkeypatch.setattr(cifar10, "LARGEST_ARCHIVE", 4_000_000)
    with gzip.open(tmp_path / "a.tar.gz", "w", compresslevel=1) as file:
        file.write(content)
    began = time.process_time()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        Cifar10.prepare(tmp_path / "a.tar.gz")
    assert str(caught.value).isprintable()
    assert time.process_time() - began < 2


def test_what_is_said_of_members_before_them_is_skipped(tmp_path):
    batch = pickle.dumps({"data": np.zeros((100, 3072), np.uint8), "labels": [1] * 100}, 2)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for name in BATCHES:
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size, member.pax_headers = len(batch), {"comment": "x" * 1000}
            archive.addfile(member, io.BytesIO(batch))
    with pytest.raises(UserError, match="has 500 images and 500 labels, not 50000"):
        Cifar10.prepare(tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [11] * 100}, "labels are not lists of 0 to 9"),
        ({"labels": ["cat"] * 100}, "labels are not lists of 0 to 9"),
        ({}, "labels are not lists of 0 to 9"),
        ({"data": [1, 2]}, "data is not rows of 3072 bytes"),
    ],
)
def test_archives_of_something_else_are_one_error(tmp_path, change, message):
    batch = pickle.dumps({"data": np.zeros((100, 3072), np.uint8), **change}, 2)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        for name in BATCHES:
            member = tarfile.TarInfo(name)
            member.size = len(batch)
            archive.addfile(member, io.BytesIO(batch))
    with pytest.raises(UserError, match=message):
        Cifar10.prepare(tmp_path / "cifar.tar.gz")


def test_a_cut_archive_is_one_error(tmp_path):
    write_cifar_archive(tmp_path / "cifar.tar.gz", *images(500))
    with pytest.raises(UserError, match="has 500 images and 500 labels, not 50000"):
        Cifar10.prepare(tmp_path / "cifar.tar.gz")
    whole = (tmp_path / "cifar.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut.tar.gz: damaged archive"):
        Cifar10.prepare(tmp_path / "cut.tar.gz")
