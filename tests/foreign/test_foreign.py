"""Foreign checkpoints and pickles of plain values: what they hold is read, damage is one error."""

import contextlib
import pickle
import sys
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from pickled import read, text, torch_file
from published import edm_modules, edm_object, python2_batch, write_edm_pickle
from recipe import load_recipe

from ayt.base.errors import UserError
from ayt.foreign.checkpoints import compare, read_checkpoint, read_pickled_arrays
from ayt.foreign.pickles import RefusedError
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond


@pytest.fixture(scope="module")
def network():
    unet = DDPMpp(16, 1, channels=32, channel_mult=[1, 2], blocks=1, attention=[8], augment_labels=9)
    return load_recipe(EDMPrecond(unet))


def assert_equal(found, expected):
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in expected.items())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_edm_checkpoint(network, tmp_path, protocol):
    write_edm_pickle(tmp_path / "edm.pkl", network, protocol)
    assert_equal(read_checkpoint(tmp_path / "edm.pkl"), network.state_dict())
    assert "torch_utils" not in sys.modules


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("inside", [None, "ema", "model", "state_dict"])
def test_state_dict(network, tmp_path, legacy, inside):
    weights = network.state_dict()
    content = weights if inside is None else {inside: weights, "step": 3, "net": None}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    assert_equal(read_checkpoint(tmp_path / "a.pt"), weights)


def test_safetensors(network, tmp_path):
    from safetensors.torch import save_file

    save_file(network.state_dict(), tmp_path / "a.safetensors")
    assert_equal(read_checkpoint(tmp_path / "a.safetensors"), network.state_dict())


def test_averaged_weights_come_first(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "ema": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt")["a"] == 1


def test_tied_tensors_become_two(tmp_path):
    tied = torch.ones(2)
    torch.save({"a": tied, "b": tied}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")
    assert found["a"].data_ptr() != found["b"].data_ptr()


def test_parameters_as_arrays_of_any_byte_order(tmp_path):
    with edm_modules():
        network = edm_object(state={"_parameters": {"a": np.array([1.5, 2.0], ">f4")}})
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"ema": network}))
    assert read_checkpoint(tmp_path / "a.pkl")["a"].tolist() == [1.5, 2.0]


def test_what_holds_itself_is_an_error(tmp_path):
    endless = {"a": 1}
    endless["ema"] = endless
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(endless))
    with pytest.raises(UserError, match="no weights under"):
        read_checkpoint(tmp_path / "a.pkl")
    # A module made of itself: its state is set after it was put into the memo, as an item of its own state.
    itself = (
        b"ctorch.nn.modules.container\nSequential\n)\x81q\x00}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ssb."
    )
    (tmp_path / "b.pkl").write_bytes(b"\x80\x02" + itself)
    with pytest.raises(UserError, match="stands in several places"):
        read_checkpoint(tmp_path / "b.pkl")


def test_tuples_of_tuples_are_not_written_out():
    nested = text(b"x") + b"2\x86" * 60  # DUP, TUPLE2
    for opcodes in (b"cnumpy\ndtype\n" + nested + b"\x85R.", nested + b"q\x00}h\x00K\x01s."):
        with pytest.raises(RefusedError):
            read(b"\x80\x02" + opcodes, "x")


def test_views_of_a_storage_are_copied_out_of_it(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    views = {"a": whole[1:, ::2].T, "b": whole.half(), "c": whole[:0], "d": whole.bfloat16()[2]}
    for content in (pickle.dumps({"ema": views}), torch_file(views), torch_file(views, legacy=False)):
        (tmp_path / "a.pt").write_bytes(content)
        found = read_checkpoint(tmp_path / "a.pt")
        assert_equal(found, views)
        assert all(tensor.is_contiguous() for tensor in found.values())
        assert found["a"].untyped_storage().nbytes() == 4 * 4


def test_plain_values_of_every_protocol():
    value = {"a": [1, -2, 2**70, 1.5, None, True], b"b": ("x", ("y",)), 3: {}, "set": {1, 2}, "o": OrderedDict(k=1)}
    for protocol in range(6):
        assert read(pickle.dumps(value, protocol), "x") == value


def test_a_batch_of_cifar10_as_python_2_wrote_it():
    data = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {"data": data, "labels": [3, 1, 4, 1], "batch_label": "training batch 1 of 5", "filenames": ["a", "b"]}
    found = read_pickled_arrays(python2_batch(batch), "x")
    assert np.array_equal(found["data"], data)
    assert found["labels"] == [3, 1, 4, 1]
    # What Python itself makes of it, for trust in the batch.
    assert np.array_equal(pickle.loads(python2_batch(batch), encoding="bytes")[b"data"], data)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8", "|b1", "<f2"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays(dtype, protocol):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    found = read_pickled_arrays(
        pickle.dumps({"c": array, "fortran": np.asfortranarray(array), "one": array[0, 1]}, protocol), "x"
    )
    assert np.array_equal(found["c"], array) and found["c"].dtype == array.dtype
    assert np.array_equal(found["fortran"], array)
    assert found["one"] == array[0, 1]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_cut_files_are_damaged(network, tmp_path, share):
    write_edm_pickle(tmp_path / "edm.pkl", network)
    whole = (tmp_path / "edm.pkl").read_bytes()
    (tmp_path / "cut.pkl").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"cut\.pkl: (damaged or truncated|refused)"):
        read_checkpoint(tmp_path / "cut.pkl")


def test_noise_is_never_more_than_an_error():
    random = np.random.default_rng(0)
    whole = pickle.dumps({"a": [1, 2.5, "x"], "b": np.arange(5), "c": torch.arange(4)}, 2)
    for _ in range(2000):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            content[place] = random.integers(0, 256)
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(UserError):
            read(bytes(content), "x")


def test_what_does_not_fit_is_listed():
    found = {"a": torch.zeros(2), "b": torch.zeros(3), "z": torch.zeros(1)}
    comparison = compare(found, {"a": torch.zeros(2), "b": torch.zeros(4), "c": torch.zeros(1)})
    assert comparison == (["c"], ["z"], ["b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a value of type list, not weights"),
        ({}, "holds no weights"),
        ({"a": 1, "b": torch.zeros(1)}, "no weights under any of ema, .*; it has a, b"),
        ({"ema": {}}, "holds no weights"),
    ],
)
def test_files_without_weights(tmp_path, content, message):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "a.pkl")
