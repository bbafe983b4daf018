"""When networks are compiled, and where that is kept."""

import os

import torch

from ayt.training.compilation import find_missing, keep_compiled, pays


def test_long_segments_on_a_gpu_are_compiled():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [pays(gpu, 4999), pays(gpu, 5000), pays(cpu, 400_000)] == [False, True, False]


def test_what_compilation_lacks_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_missing() == "there is no C compiler (gcc or clang)"
    monkeypatch.setenv("CC", "mycc")
    assert find_missing() == "there is no C compiler (mycc)"
    (tmp_path / "mycc").touch(0o755)
    assert find_missing() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_missing() == "triton is not installed"


def test_it_is_kept_in_the_users_cache_unless_they_say_where(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere/ayt/compiled"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
