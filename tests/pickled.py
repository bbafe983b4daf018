"""Pieces of pickles and of torch's files, as tests put them together."""

import io

import torch

from ayt.foreign import torchfiles


def read(data, source="x"):
    return torchfiles.read(io.BytesIO(data), source)


def torch_file(value, legacy=True):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value
