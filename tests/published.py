"""Made-up files in the published formats: what the project downloads, without the downloads."""

import io
import pickle
import struct
import sys
import tarfile
import types
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import torch
from recipe import listing, recipe
from torch import nn

from ayt.networks.modules.ddpmpp import Block, Conv, DDPMpp
from ayt.networks.modules.inception import structure
from ayt.networks.modules.precond import EDMPrecond

SOURCE = "raise SystemExit('the source of a pickled class was executed')\n"
EDM_NAMES = {
    EDMPrecond: "EDMPrecond",
    DDPMpp: "SongUNet",
    Block: "UNetBlock",
    Conv: "Conv2d",
    nn.Linear: "Linear",
    nn.GroupNorm: "GroupNorm",
}


class _Persistent:
    """Pickles as an object of EDM's library: a call of its function with a class's source and an object's state."""

    def __init__(self, name, state, **changes):
        self.meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state, **changes}

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class _Method:
    """Pickles as an object's method does."""

    def __init__(self, owner, name):
        self.parts = owner, name

    def __reduce__(self):
        return getattr, self.parts


@contextmanager
def edm_modules():
    """The modules that EDM's pickles name exist for as long as the block lasts."""
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    before = {name: sys.modules.get(name) for name in names}
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("a pickle was executed")

    class EasyDict(dict):
        pass

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    EasyDict.__module__, EasyDict.__qualname__ = util.__name__, "EasyDict"
    persistence._reconstruct_persistent_obj, util.EasyDict = _reconstruct_persistent_obj, EasyDict
    sys.modules |= {name: types.ModuleType(name) for name in ("torch_utils", "dnnlib")}
    sys.modules |= {persistence.__name__: persistence, util.__name__: util}
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def edm_object(**changes):
    """A call of EDM's function, with changes of its one argument."""
    changes = {"module_src": "", "class_name": "SongUNet", "state": {}} | changes
    return _Persistent(changes.pop("class_name"), changes.pop("state"), **changes)


def as_edm_object(module, **changes):
    """A network as EDM's library pickles it; ``changes`` of what is stored beside its state."""
    state = {key: value for key, value in vars(module).items() if key.startswith("_") and not key.startswith("__")}
    state |= {"training": False, "_init_args": (), "_init_kwargs": sys.modules["dnnlib.util"].EasyDict(img_channels=3)}
    state["_parameters"] = OrderedDict(module._parameters)
    state["_modules"] = OrderedDict((name, as_edm_child(child)) for name, child in module._modules.items())
    return _Persistent(EDM_NAMES[type(module)], state, **changes)


def as_edm_child(child):
    if not isinstance(child, nn.ModuleDict):
        return None if child is None else as_edm_object(child)
    container = nn.ModuleDict()
    container._modules = OrderedDict((name, as_edm_child(part)) for name, part in child._modules.items())
    return container


def write_edm_pickle(path, network, protocol=4):
    """A checkpoint as EDM publishes them: the averaged network under ``ema``, beside what it was trained with.

    A loss that keeps one of its own methods pickles that as ``getattr``.
    """
    loss = _Persistent("ECMLoss", {"sigma_data": 0.5})
    with edm_modules():
        content = {
            "ema": as_edm_object(network),
            "loss_fn": _Persistent("EDMLoss", {"P_mean": -1.2, "schedule": _Method(loss, "t_to_r")}),
            "augment_pipe": _Persistent("AugmentPipe", {"p": 0.12, "xflip": 1e8}),
            "dataset_kwargs": sys.modules["dnnlib.util"].EasyDict(path="datasets/cifar10.zip", use_labels=False),
        }
        path.write_bytes(pickle.dumps(content, protocol))


def python2_batch(batch):
    """A dictionary as Python 2 pickled CIFAR-10's: protocol 2, all texts and the array's content as old strings."""

    def text(value):
        return b"U" + bytes([len(value)]) + value.encode()

    def number(value):
        return b"J" + struct.pack("<i", value)

    content = batch["data"].tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    array += b"(K\x01" + number(batch["data"].shape[0]) + number(batch["data"].shape[1]) + b"\x86"
    array += (
        b"cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    )
    array += b"K\x00tb\x89T" + struct.pack("<i", len(content)) + content + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in batch["labels"]) + b"e"
    items = text("data") + array + text("labels") + labels + text("batch_label") + text(batch["batch_label"])
    names = b"](" + b"".join(text(name) for name in batch["filenames"]) + b"e"
    return b"\x80\x02}(" + items + text("filenames") + names + b"u."


def write_cifar_archive(path, images, labels):
    """CIFAR-10's archive for Python: five batches of (N, 3, 32, 32) uint8 images with their labels."""
    size = len(images) // 5
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(1, 6):
            part = slice((number - 1) * size, number * size)
            batch = {
                "data": np.ascontiguousarray(images[part]).reshape(size, 3072),
                "labels": labels[part],
                "batch_label": f"training batch {number} of 5",
                "filenames": [f"{index}.png" for index in range(size)],
            }
            content = python2_batch(batch)
            member = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_reference(path, mu, sigma):
    """Statistics of features as EDM publishes them."""
    np.savez(path, mu=mu, sigma=sigma)


def write_inception(path):
    """Weights in the form of pytorch-fid's Inception file, by recipe."""
    weights = {key: recipe(key, value.shape, 2**0.5) for key, value in structure().state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)


def write_vgg16(path):
    """Weights in the form of torchvision's VGG16 file, convolutions only, as the golden numbers of LPIPS have them."""
    weights = {}
    for row in listing("lpips_vgg"):
        if row["key"].startswith("net."):
            shape = tuple(map(int, row["shape"].split("x")))
            weights[f"features.{row['key'].split('.', 2)[2]}"] = recipe(row["key"], shape, 2**0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
