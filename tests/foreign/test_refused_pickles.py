"""Pickles that ask for more than tensors and plain containers: refused by name, and nothing runs."""

import builtins
import copyreg
import functools
import importlib
import operator
import os
import pickle
import runpy
import subprocess
import sys
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from pickled import read, text, torch_file
from published import edm_modules, edm_object
from torch import nn

from ayt.base.errors import UserError
from ayt.foreign.checkpoints import read_checkpoint
from ayt.foreign.pickles import RefusedError


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


class Plain:
    """Pickles by its class and its state, as most objects do."""

    def __init__(self):
        self.a = 1


def touch(path):
    return f"touch {path}"


def code(path):
    return f"open({str(path)!r}, 'w').close()"


def module_with(**state):
    """A network's object of torch, with something in its state."""
    module = nn.Identity()
    vars(module).update(state)
    return module


def dumped(make, protocol=4):
    def build(path):
        with edm_modules():
            return pickle.dumps({"ema": make(path)}, protocol)

    return build


def raw(opcodes):
    return lambda path: b"\x80\x04" + opcodes


EXTENSIONS = {"EXT1": b"\x82\xf0", "EXT2": b"\x83\xf0\x00", "EXT4": b"\x84\xf0\x00\x00\x00"}
RECONSTRUCT = np.empty(0).__reduce__()[0]
HOSTILE = {
    "os.system": (dumped(lambda p: Call(os.system, touch(p))), "posix.system"),
    "os.system, protocol 0": (dumped(lambda p: Call(os.system, touch(p)), 0), "posix.system"),
    "subprocess": (dumped(lambda p: Call(subprocess.Popen, ["touch", str(p)])), "subprocess.Popen"),
    "subprocess.check_output": (dumped(lambda p: Call(subprocess.check_output, ["touch", str(p)])), "check_output"),
    "eval": (dumped(lambda p: Call(builtins.eval, code(p))), "builtins.eval"),
    "exec": (dumped(lambda p: Call(builtins.exec, code(p))), "builtins.exec"),
    "getattr": (dumped(lambda p: Call(getattr, "", "join")), "getattr"),
    "import": (dumped(lambda p: Call(builtins.__import__, "antigravity")), "builtins.__import__"),
    "importlib": (dumped(lambda p: Call(importlib.import_module, "antigravity")), "importlib.import_module"),
    "runpy": (dumped(lambda p: Call(runpy.run_path, str(p))), "runpy.run_path"),
    "a pickle inside": (dumped(lambda p: Call(pickle.loads, pickle.dumps(Call(os.system, touch(p))))), "_pickle.loads"),
    "torch.load": (dumped(lambda p: Call(torch.load, str(p))), "torch.serialization.load"),
    "torch.hub": (dumped(lambda p: Call(torch.hub.load, "a/b", "c")), "torch.hub.load"),
    "numpy.load": (dumped(lambda p: Call(np.load, str(p))), "load"),
    "partial": (dumped(lambda p: functools.partial(os.system, touch(p))), "functools.partial"),
    "methodcaller": (dumped(lambda p: operator.methodcaller("unlink")), "operator.methodcaller"),
    "in a module's state": (dumped(lambda p: module_with(bad=Call(os.system, touch(p)))), "posix.system"),
    "deep in EDM's object": (
        dumped(lambda p: edm_object(state={"_modules": {"a": edm_object(state={"_buffers": Call(eval, code(p))})}})),
        "builtins.eval",
    ),
    "module_src of an unknown class": (
        dumped(lambda p: edm_object(class_name="Evil", module_src=code(p))),
        "the network is of class 'Evil', which is not known",
    ),
    "an unknown class within": (
        dumped(lambda p: edm_object(state={"_modules": {"a": edm_object(class_name="Evil", module_src=code(p))}})),
        "a is of class 'Evil', which is not known",
    ),
    "a method for a network": (
        dumped(lambda p: Call(getattr, edm_object(module_src=code(p)), "forward")),
        "attribute 'forward'\", which is not known",
    ),
    "an attribute of a name": (raw(b"cbuiltins\ngetattr\nc_codecs\nencode\n" + text(b"x") + b"\x86R."), "getattr"),
    "a call of a method": (
        raw(b"cbuiltins\ngetattr\nctorch.nn.modules.linear\nLinear\n)\x81" + text(b"forward") + b"\x86R)R."),
        "a call of the module Linear's attribute",
    ),
    "module_src that is a call": (dumped(lambda p: edm_object(module_src=Call(os.system, touch(p)))), "posix.system"),
    "module_src that is no text": (dumped(lambda p: edm_object(module_src=[code(p)])), "module_src is a value of type"),
    "EDM's object of another type": (dumped(lambda p: edm_object(type="exec")), "_reconstruct_persistent_obj"),
    "class_name that is no text": (dumped(lambda p: edm_object(class_name=["SongUNet"])), "class_name is a value"),
    "storage with a hostile file": (
        dumped(lambda p: Call(torch.storage._load_from_bytes, torch_file(Call(os.system, touch(p))))),
        "posix.system",
    ),
    "storage with a hostile zip": (
        dumped(lambda p: Call(torch.storage._load_from_bytes, torch_file(Call(eval, code(p)), legacy=False))),
        "a tensor's numbers are not in torch's format for them",
    ),
    "tensor of no storage": (
        dumped(lambda p: Call(torch._utils._rebuild_tensor_v2, nn.Identity, 0, (1,), (1,), False, {})),
        "torch._utils._rebuild_tensor_v2 with arguments",
    ),
    "tensor beyond its storage": (
        dumped(lambda p: Call(torch._utils._rebuild_tensor_v2, torch.zeros(2).storage(), 0, (9,), (1,), False, {})),
        "a view that reaches beyond its storage",
    ),
    "tensor of stride 0": (
        dumped(lambda p: Call(torch._utils._rebuild_tensor_v2, torch.zeros(2).storage(), 0, (2**33,), (0,), False, {})),
        "a tensor that is larger than its storage",
    ),
    "parameter of no tensor": (
        dumped(lambda p: Call(torch._utils._rebuild_parameter, "x", True, {})),
        "torch._utils._rebuild_parameter with arguments",
    ),
    "array of another class": (dumped(lambda p: Call(RECONSTRUCT, np.memmap, (0,), b"b")), "numpy.memmap"),
    "array of objects": (dumped(lambda p: np.array([Plain()], object)), "numpy.dtype with arguments"),
    "array of records": (dumped(lambda p: np.zeros(1, [("a", "f4")])), "numpy.dtype with arguments"),
    "array whose content is short": (
        raw(
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
            b"(K\x01K\x09\x85cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87R\x89C\x01atb."
        ),
        "an array whose content does not fill its shape",
    ),
    "ordered dictionary with a state": (
        dumped(lambda p: Call(OrderedDict, state={"__class__": "x"})),
        "a state for a value of type dict",
    ),
    "ordered dictionary of a call": (dumped(lambda p: Call(OrderedDict, Call(os.system, touch(p)))), "posix.system"),
    "state of a name": (
        raw(b"ctorch._utils\n_rebuild_parameter\n}X\x01\x00\x00\x00aK\x01sb."),
        "a state for torch._utils",
    ),
    "state of a class by slots": (raw(b"ctorch.nn.modules.linear\nLinear\nN}\x86b."), "a state for torch.nn.modules"),
    "object of a class of ours": (dumped(lambda p: Plain()), "test_refused_pickles.Plain"),
    "call of a value": (raw(b"X\x01\x00\x00\x00a)R."), "a call of a value of type str"),
    "call of a module": (raw(b"ctorch.nn.modules.linear\nLinear\n)R."), "a call of torch.nn.modules.linear.Linear"),
    "object of a function": (raw(b"c_codecs\nencode\n)\x81."), "a new object of _codecs.encode"),
    "object with keywords": (raw(b"ctorch.nn.modules.linear\nLinear\n)}\x92."), "opcode NEWOBJ_EX"),
    "INST": (raw(b"(" + text(b"touch marker") + b"iposix\nsystem\n."), "posix.system"),
    "OBJ": (raw(b"(c_codecs\nencode\n" + text(b"touch marker") + b"o."), "an object of _codecs.encode"),
    "name from the stack": (
        raw(text(b"posix") + text(b"system") + b"\x93" + text(b"touch marker") + b"\x85R."),
        "posix.system",
    ),
    "name from the memo": (
        raw(text(b"posix") + b"q\x000" + text(b"system") + b"q\x010h\x00h\x01\x93" + text(b"touch marker") + b"\x85R."),
        "posix.system",
    ),
    "name that is no text": (raw(b"K\x01K\x02\x93."), "a name made of a value of type int"),
    "name with dots": (raw(text(b"torch") + text(b"os.system") + b"\x93."), "torch.os.system"),
    "module with dots": (
        raw(text(b"torch.nn.modules.linear") + text(b"Linear.__init__") + b"\x93."),
        "Linear.__init__",
    ),
    "persistent object": (raw(b"Pevil\n."), "opcode PERSID 'evil'"),
    "persistent object from the stack": (raw(b"K\x01Q."), "opcode BINPERSID"),
    "buffer": (raw(b"\x97."), "opcode NEXT_BUFFER"),
    "read-only buffer": (raw(b"K\x01\x98."), "opcode READONLY_BUFFER"),
    "byte array": (raw(b"\x96" + (1).to_bytes(8, "little") + b"a."), "opcode BYTEARRAY8"),
    "a call as a key": (raw(b"}c_codecs\nencode\nK\x01s."), "_codecs.encode as a key"),
    "items of a module": (raw(b"ctorch.nn.modules.linear\nLinear\n)\x81K\x01K\x02s."), "items of the module Linear"),
    "additions to a tuple": (raw(b")K\x01a."), "additions to a value of type tuple"),
    **{
        name: (raw(opcode + text(b"touch marker") + b"\x85R."), f"opcode {name} 240")
        for name, opcode in EXTENSIONS.items()
    },
}


@pytest.fixture
def extension():
    """An extension code that leads to os.system, for as long as the block lasts."""

    @contextmanager
    def registered():
        copyreg.add_extension("posix", "system", 0xF0)
        try:
            yield
        finally:
            copyreg.remove_extension("posix", "system", 0xF0)

    return registered()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles_are_refused_by_name_and_do_nothing(tmp_path, monkeypatch, extension, kind):
    make, message = HOSTILE[kind]
    monkeypatch.chdir(tmp_path)
    content = make(tmp_path / "marker")
    (tmp_path / "a.pkl").write_bytes(content)
    with extension, pytest.raises(RefusedError, match=rf"a\.pkl: refused: .*{message}"):
        read_checkpoint(tmp_path / "a.pkl")
    assert not (tmp_path / "marker").exists()
    assert "antigravity" not in sys.modules


def test_the_source_of_a_known_class_is_never_run(tmp_path):
    marker = tmp_path / "marker"
    state = {"_parameters": {"a": torch.ones(2)}}
    with edm_modules():
        content = pickle.dumps({"ema": edm_object(module_src=code(marker), state=state)})
    (tmp_path / "a.pkl").write_bytes(content)
    assert torch.equal(read_checkpoint(tmp_path / "a.pkl")["a"], torch.ones(2))
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_torch_files_are_refused_by_name(tmp_path, legacy):
    marker = tmp_path / "marker"
    (tmp_path / "a.pt").write_bytes(torch_file({"a": Call(os.system, touch(marker))}, legacy))
    with pytest.raises(RefusedError, match=r"a\.pt: refused: .*posix\.system"):
        read_checkpoint(tmp_path / "a.pt")
    assert not marker.exists()


def test_a_zip_with_another_pickle_inside_is_refused(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"a": torch.zeros(1)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "a.pt", "w") as bad:
        for name in good.namelist():
            hostile = name.endswith("data.pkl")
            bad.writestr(name, pickle.dumps(Call(eval, code(marker)), 2) if hostile else good.read(name))
    with pytest.raises(UserError, match=r"a\.pt: refused: .*eval"):
        read_checkpoint(tmp_path / "a.pt")
    assert not marker.exists()


def test_nested_references_take_no_time():
    """Each level twice in the next: walking them, or hashing them, would take for ever."""
    lists = b"]" + b"".join(b"q\x00](h\x00h\x00e" for _ in range(60)) + b"."
    assert isinstance(read(b"\x80\x02" + lists, "x"), list)
    keys = b"}" + b")" + b"".join(b"q\x00h\x00\x86" for _ in range(60)) + b"K\x01s."
    with pytest.raises(RefusedError, match="tuple as a key"):
        read(b"\x80\x02" + keys, "x")


def test_a_module_in_several_places_is_refused(tmp_path):
    child = module_with()
    parent = module_with(_modules={"a": child, "b": child})
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"ema": parent}))
    with pytest.raises(UserError, match="the module b stands in several places"):
        read_checkpoint(tmp_path / "a.pkl")


@pytest.mark.parametrize("kind", ["os.system", "in a module's state", "INST", "name from the memo", "EXT1", "EXT4"])
def test_the_hostile_pickles_would_run_elsewhere(tmp_path, monkeypatch, extension, kind):
    monkeypatch.chdir(tmp_path)
    content = HOSTILE[kind][0](tmp_path / "marker")
    with extension:
        pickle.loads(content)
    assert (tmp_path / "marker").exists()
