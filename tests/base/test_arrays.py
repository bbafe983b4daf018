"""Files of arrays: what is read is what was written, or a line says why not."""

import numpy as np
import pytest

from ayt.base.arrays import read_arrays, write_arrays
from ayt.base.errors import UserError


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_come_back_and_the_same_are_the_same_bytes(tmp_path, compressed):
    arrays = {"a": np.arange(6).reshape(2, 3), "names": np.array(["x", "yz"])}
    for name in ("one.npz", "two.npz"):
        write_arrays(tmp_path / "new" / name, arrays, compressed)
    assert (tmp_path / "new" / "one.npz").read_bytes() == (tmp_path / "new" / "two.npz").read_bytes()
    found = read_arrays(tmp_path / "new" / "one.npz", "names")
    assert list(found) == ["a", "names"]
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.npz: no such file$"):
        read_arrays(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz: no such file; ayt prepare makes it$"):
        read_arrays(tmp_path / "a.npz", made_by="ayt prepare")
    write_arrays(tmp_path / "whole.npz", {"a": np.arange(1000)})
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 4] ^= 255
    damaged = {"empty": b"", "cut": whole[: len(whole) // 2], "start": b"PK half", "text": b"text", "flipped": flipped}
    for name, content in damaged.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.npz: not arrays"):
            read_arrays(path)
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(UserError, match="not arrays"):
        read_arrays(tmp_path / "one.npy")
    # Encrypted, says the flag of both headers of its one record.
    encrypted = bytearray(whole)
    for header, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(header) + place] |= 1
    (tmp_path / "locked.npz").write_bytes(encrypted)
    with pytest.raises(UserError, match=r"not arrays .*password"):
        read_arrays(tmp_path / "locked.npz")
    with pytest.raises(UserError, match="has no arrays b, c; delete it to have it made again"):
        read_arrays(tmp_path / "whole.npz", "a", "b", "c")
