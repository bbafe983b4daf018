"""Small files that ask for much memory or time, and files of kinds that hold no weights: one line each, at once."""

import argparse
import io
import json
import pickle
import random
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.cli.foreign import add_verbs, run_import
from ayt.foreign import pickles
from ayt.foreign.arrays import read_npz
from ayt.foreign.checkpoints import read_checkpoint, read_pickled_arrays

MEGABYTE = 2**20
FEW_STEPS = 200_000


@pytest.fixture
def refusal(tmp_path):
    """What is said of a checkpoint with this content."""

    def run(content, name="a.pt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_checkpoint(tmp_path / name)
        message = str(caught.value).removeprefix(f"{tmp_path / name}: ")
        assert message.isprintable() and len(message) <= 300
        return message

    return run


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_STEPS", FEW_STEPS)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def again(value, what, times, finish=b"R"):
    """Keep a value in the memo, and do one thing with it many times."""
    return b"\x80\x04" + value + b"q\x00" + b"0" + (what + b"h\x00" + finish + b"0") * times + b"N."


def torch_file(value, legacy=False):
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rewritten(content, change=None, data=None, **options):
    """A torch file with records stored otherwise, or with another pickle inside."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", **options) as new:
        for name in old.namelist():
            new.writestr(name, data if data is not None and name.endswith("data.pkl") else old.read(name))
        if change:
            change(new)
    return made.getvalue()


def encrypted(content):
    """With the flag of encryption in every header of a zip."""
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            flags = content[at + place] | 1
            content = content[: at + place] + bytes([flags]) + content[at + place + 1 :]
    return content


def repeat_a_record(archive):
    """Name a record's bytes many times over."""
    (record,) = [info for info in archive.filelist if info.filename.endswith("data/0")]
    archive.filelist.extend([record] * 20)


NUMBERS = b"(K\x03J\x00\x00\x10\x00\x85cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R\x89"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
ITEMS = b"](" + b"K\x01" * 50_000 + b"e"
PAIRS = b"](" + b"K\x01K\x02\x86" * 50_000 + b"e"
with warnings.catch_warnings(action="ignore"):
    ZEROS = torch_file(torch.zeros(MEGABYTE // 4).storage(), legacy=True)
MEGATEXT = text(b"x" * MEGABYTE)
AMPLIFIED = {
    "bytes": again(MEGATEXT, b"c_codecs\nencode\n", 5_000, text(b"latin1") + b"\x86R"),
    "sets": again(ITEMS, b"cbuiltins\nset\n", 5_000, b"\x85R"),
    "dictionaries": again(PAIRS, b"ccollections\nOrderedDict\n", 5_000, b"\x85R"),
    "arrays": again(NUMBERS + b"B" + struct.pack("<I", MEGABYTE) + b"y" * MEGABYTE + b"t", ARRAY, 5_000, b"b"),
    "storages": again(
        b"B" + struct.pack("<I", len(ZEROS)) + ZEROS,
        b"ctorch.storage\n_load_from_bytes\n",
        5_000,
        b"\x85R",
    ),
    "names": again(MEGATEXT, text(b"torch"), 5_000, b"\x93"),
    "opcodes": b"\x80\x02" + b"]0" * FEW_STEPS + b"N.",
}


@pytest.mark.parametrize("kind", AMPLIFIED)
def test_a_few_megabytes_do_not_become_gigabytes(refusal, few_steps, kind):
    assert len(AMPLIFIED[kind]) < 6 * MEGABYTE
    expected = {"names": "a name of 1048581 characters", "opcodes": "more than 200,000 steps"}
    assert expected.get(kind, "what it asks for takes more than 4 times its") in refusal(AMPLIFIED[kind])


def test_views_of_one_storage_do_not_become_copies_without_number(refusal):
    whole = torch.zeros(MEGABYTE)
    views = {str(number): whole[number:] for number in range(1000)}
    for content in (torch_file(views), torch_file(views, legacy=True)):
        assert "what it asks for takes more than 4 times its" in refusal(content)


def test_a_dictionary_in_many_modules_is_not_gone_through_without_end(refusal, few_steps):
    shared = {str(number): None for number in range(600)}
    modules = {str(number): nn.Identity() for number in range(600)}
    for module in modules.values():
        module._parameters = shared
    top = nn.Sequential()
    top._modules = modules
    assert "more than 200,000 steps" in refusal(pickle.dumps({"ema": top}))


def test_integers_of_one_hash_are_no_keys(refusal):
    numbers = [pickle.encode_long((2**61 - 1) * factor) for factor in range(1, 20_000)]
    keys = [b"\x8a" + bytes([len(number)]) + number for number in numbers]
    for content in (b"}(" + b"N".join(keys) + b"Nu.", b"\x8f(" + b"".join(keys) + b"\x90."):
        assert "a value of type int as a key" in refusal(b"\x80\x04" + content)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(1).expand(2_000_000_000), "a tensor that is larger than its storage"),
        (lambda: torch.zeros(1).expand(2, 2), "a tensor that is larger than its storage"),
        (lambda: torch.zeros([1] * 9), "a shape has 9 dimensions, and at most 8 are read"),
        (lambda: torch.eye(2).to_sparse(), "holds a sparse tensor; only dense ones of numbers are read"),
        (lambda: torch.eye(2).to_sparse_csr(), "holds a sparse tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "holds a quantised tensor"),
        (lambda: torch.zeros(2, device="meta"), "holds a tensor without numbers (meta)"),
        (lambda: torch.zeros(2, dtype=torch.complex64), "holds a tensor of complex numbers"),
    ],
    ids=["expanded", "expanded a little", "many dimensions", "sparse", "csr", "quantised", "meta", "complex"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_refused_by_name(refusal, make, message, legacy):
    assert message in refusal(torch_file({"a": make()}, legacy))


@pytest.mark.parametrize("value", [torch.eye(2).to_sparse(), torch.zeros(2, device="meta")], ids=["sparse", "meta"])
def test_so_they_are_in_a_pickle(refusal, value):
    assert "holds a " in refusal(pickle.dumps({"ema": {"a": value}}))


@pytest.mark.parametrize("name", [b"ctorch\nSize\n", b"cnumpy.core.multiarray\nscalar\n"])
def test_shapes_without_end_are_not_multiplied_out(refusal, name):
    many = b"(" + (b"\x8a\x05" + b"\xff" * 4 + b"\x00") * 100_000 + b"t"
    assert "refused" in refusal(b"\x80\x02" + name + many + b"\x85R.")


RECORDS = {
    "deflated": (lambda good: rewritten(good, compression=zipfile.ZIP_DEFLATED), "is compressed, which torch does not"),
    "lzma": (lambda good: rewritten(good, compression=zipfile.ZIP_LZMA), "is compressed, which torch does not"),
    "encrypted": (lambda good: encrypted(rewritten(good)), "is encrypted"),
    "named twice": (lambda good: rewritten(good, repeat_a_record), "is larger than the file has room for"),
    "no pickle": (lambda good: rewritten(good, data=b"")[:40], "damaged or truncated"),
    "an empty pickle": (lambda good: rewritten(good, data=b""), "damaged or truncated"),
    "cut": (lambda good: good[: len(good) // 2], "damaged or truncated"),
    "a flipped bit": (lambda good: good.replace(bytes(4000), bytes(3999) + b"\1"), "damaged or truncated"),
    "big-endian": (lambda good: good.replace(b"little", b"big   "), "damaged or truncated"),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_of_a_torch_file(refusal, kind):
    change, message = RECORDS[kind]
    assert message in refusal(change(torch_file({"a": torch.zeros(1000)})))


def test_files_of_other_kinds_say_so(refusal, tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros(3))
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert "a bare array, not weights" in refusal((tmp_path / "bare.npy").read_bytes())
    assert "a zip without torch's data.pkl" in refusal((tmp_path / "a.npz").read_bytes())
    assert "damaged or truncated pickle" in refusal(b"<html>not found</html>")
    assert "damaged or truncated pickle" in refusal(b"")
    for place, problem in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "no such file"),
        ("/dev/zero", "not a file"),
    ):
        with pytest.raises(UserError, match=problem):
            read_checkpoint(type(tmp_path)(place))


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "\x1b[2J", "", "x" * 301, "\u202eevil"], ids=ascii)
def test_names_that_no_file_of_ours_can_have(refusal, name):
    network = nn.Identity()
    network._parameters = {name: torch.zeros(1)}
    contents = [pickle.dumps({"ema": network}), pickle.dumps({"ema": {name: torch.zeros(1)}})]
    if name.isascii():
        contents.append(torch_file({name: torch.zeros(1)}))
    for content in contents:
        assert "names a tensor; names of tensors are 1 to 300 printable characters" in refusal(content)


def test_tensors_with_attributes_are_read(tmp_path):
    marked, parameter = torch.ones(2), nn.Parameter(torch.ones(2))
    marked.note = parameter.note = "mine"
    for legacy in (False, True):
        (tmp_path / "a.pt").write_bytes(torch_file({"a": marked, "b": parameter, "c": nn.Buffer(marked)}, legacy))
        assert all(torch.equal(tensor, torch.ones(2)) for tensor in read_checkpoint(tmp_path / "a.pt").values())


@pytest.mark.parametrize("legacy", [False, True])
def test_noise_in_torch_files_is_never_more_than_an_error(tmp_path, legacy):
    noise = random.Random(0)
    whole = torch_file({"a": torch.arange(20.0), "b": nn.Parameter(torch.ones(3, 2).half()), "c": 1}, legacy)
    read = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(3):
            content[noise.randrange(len(whole))] = noise.randrange(256)
        (tmp_path / "a.pt").write_bytes(content)
        try:
            read_checkpoint(tmp_path / "a.pt")
            read += 1
        except UserError as error:
            message = str(error)
            assert message.isprintable() and len(message.removeprefix(str(tmp_path))) <= 300
    assert read < 200


def test_arrays_of_a_batch_are_bounded_too():
    with pytest.raises(UserError, match="a tensor's numbers"):
        read_pickled_arrays(pickle.dumps({"data": torch.zeros(3)}), "x")
    deep = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    shape = b"(" + b"K\x01" * 100_000 + b"t"
    with pytest.raises(UserError, match="100000 dimensions"):
        read_pickled_arrays(
            deep + b"(K\x01" + shape + b"cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87R\x89C\x01atb.", "x"
        )


def npz(**options):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in options.items():
            archive.writestr(f"{name}.npy", content)
    return made.getvalue()


def npy(array, shape=None):
    """An array's file; ``shape``: what its header says instead of the truth, in as many characters."""
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue().replace(str(array.shape).encode(), shape or str(array.shape).encode())


NPZ = {
    "bare": (npy(np.zeros(3)), "File is not a zip file"),
    "encrypted": (encrypted(npz(mu=npy(np.zeros(3)))), "mu.npy is encrypted"),
    "a bomb": (npz(mu=npy(np.zeros(10**6))), "mu.npy has 8000128 bytes, and at most 1048576 are read"),
    "a header that lies": (npz(mu=npy(np.zeros(99), b"(99**")), "not an npz file of arrays"),
    "more numbers than there are": (npz(mu=npy(np.zeros((9, 9)), b"(9e9,)")), "not an npz file of arrays"),
    "a shape that lies": (npz(mu=npy(np.zeros(100_000), b"(999999,)")), "mu.npy is not as many numbers as its header"),
    "objects": (npz(mu=npy(np.array([{}], object))), "mu.npy is not as many numbers as its header says"),
    "cut": (npz(mu=npy(np.zeros(3)))[:-30], "File is not a zip file"),
    "a flipped bit": (rewritten(npz(mu=npy(np.ones(9)))).replace(b"?", b">", 1), "Bad CRC-32"),
    "noise": (npz(mu=b"x" * 300), "not an npz file of arrays"),
    "empty": (b"", "File is not a zip file"),
}


@pytest.mark.parametrize("kind", NPZ)
def test_arrays_that_are_none_are_one_error(tmp_path, kind):
    content, message = NPZ[kind]
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_npz(tmp_path / "a.npz", ["mu"], largest=MEGABYTE)
    assert message in str(caught.value) and str(caught.value).isprintable()


def test_arrays_that_nobody_needs_are_not_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(mu=npy(np.arange(3)), bomb=npy(np.zeros(10**6)), noise=b"x"))
    found = read_npz(tmp_path / "a.npz", ["mu", "sigma"], largest=MEGABYTE)
    assert list(found) == ["mu"] and found["mu"].tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"none.npz: no such file"):
        read_npz(tmp_path / "none.npz", ["mu"])


def safetensors(header, content=b""):
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + content


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("F32", [1] * 70, "a is of 70 dimensions and type float32, which no network here has"),
        ("F8_E4M3", [4], "a is of 1 dimensions and type float8_e4m3fn, which no network here has"),
        ("C64", [1], "a is of 1 dimensions and type complex64, which no network here has"),
        ("F32", [1, 2], "damaged or truncated"),
    ],
    ids=["dimensions", "float8", "complex", "size"],
)
def test_tensors_of_safetensors_files_are_of_the_same_kinds(refusal, kind, shape, message):
    size = 8 if kind == "C64" else 4
    entry = {"dtype": kind, "shape": shape, "data_offsets": [0, size]}
    assert message in refusal(safetensors({"a": entry}, bytes(size)))


def test_tensors_without_number(refusal):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    content = safetensors({str(number): entry for number in range(20_001)})
    assert "refused: has 20001 tensors, and at most 20000 are read" in refusal(content)


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "a/b", "..", ".hidden", "", "a b", "\udcff", "a\nb", "x" * 101]
)
def test_a_name_of_weights_is_no_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(torch_file({"a": torch.zeros(1)}))
    with pytest.raises(
        UserError, match=r"^--name .*: cannot be the name of weights: a name has letters, digits"
    ) as caught:
        run_import(import_options(["import-checkpoint", "a.pt", "--name", name]))
    assert str(caught.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_file_whose_name_is_no_name_needs_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.pt").write_bytes(torch_file({"a": torch.zeros(1)}))
    with pytest.raises(UserError, match=r"^the file's name, 'a b': cannot be .*; give --name$"):
        run_import(import_options(["import-checkpoint", "a b.pt"]))
    run_import(import_options(["import-checkpoint", "a b.pt", "--name", "a-b"]))
    assert paths.checkpoint("a-b").is_file()
    run_import(import_options(["import-checkpoint", "a b.pt", "--output", "elsewhere.safetensors"]))
    assert (tmp_path / "elsewhere.safetensors").is_file()


def import_options(arguments):
    top = argparse.ArgumentParser()
    add_verbs(top.add_subparsers())
    return top.parse_args(arguments)
