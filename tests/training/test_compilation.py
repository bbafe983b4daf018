"""When networks are compiled, and where that is kept."""

import os

import torch

from ayt.training.compilation import keep_compiled, pays


def test_long_segments_on_a_gpu_are_compiled():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [pays(gpu, 4999), pays(gpu, 5000), pays(cpu, 400_000)] == [False, True, False]


def test_it_is_kept_in_the_users_cache_unless_they_say_where(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere/ayt/compiled"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
