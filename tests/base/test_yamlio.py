"""YAML: what is written is what is read; what is no plain value, or far too much, is refused in one line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayt.base import yamlio
from ayt.base.errors import LONGEST, UserError

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text("0123456789eE+-_.:xo~")
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(VALUES)
@example("1e-1")
@example({"\x85": "\x85", "\u2028a": ["a\u2029 \x85b"]})
@example(["1E5", "3e5", "-2e3", "695e0514", "1_0e3", "1:20", "010", "0o10", "2025-01-01", "=", "no", "~", "<<"])
@example({"a": 1e-5, "b": 1e22, "c": -0.0, "d": float("inf"), "e": 10**60})
def test_what_is_written_is_what_is_read(value):
    assert repr(yamlio.parse(yamlio.dump(value), "x")) == repr(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1e-4, -2E5, 0.5, .5, 1.5e3, 50_000, 0, -7, 0x1f]", [1e-4, -2e5, 0.5, 0.5, 1.5e3, 50000, 0, -7, 31]),
        ("[2026-01-31, 2026-13-45, =, 08]", ["2026-01-31", "2026-13-45", "=", "08"]),
        ("{a: &one {b: 1}, c: *one, d: {<<: *one, e: 2}}", {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}),
    ],
)
def test_values_are_what_people_mean(text, value):
    assert yamlio.parse(text, "x") == value


NINES = "9" * 5000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 40)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr: {{ x }}", "x:1:6: not valid YAML: a key is a list or a mapping"),
        ("? [a]", "x:1:3: not valid YAML: a key is a list or a mapping"),
        ("a: !!int abc", "x:1:4: not valid YAML: 'abc' cannot be read as int"),
        ("a: !!bool abc", "x:1:4: not valid YAML: 'abc' cannot be read as bool"),
        ("a: !!float ''", "x:1:4: not valid YAML: '' cannot be read as float"),
        ("a: !!map [b]", "x:1:4: not valid YAML: expected a mapping"),
        ("a: !!timestamp 2026-13-45", "x:1:4: not valid YAML: could not determine a constructor"),
        ("a: !!set {b}", "x:1:4: not valid YAML: could not determine a constructor"),
        ("[010]", "x:1:2: not valid YAML: '010' is an octal number for some readers"),
        ("-0_7", "x:1:1: not valid YAML: '-0_7' is an octal number for some readers"),
        ("1:20", "x:1:1: not valid YAML: '1:20' is a number to base 60 for some readers"),
        ("a: 1:20.5", "x:1:4: not valid YAML: '1:20.5' is a number to base 60 for some readers"),
        (f"a: {NINES}", "is too large: whole numbers have at most 100 digits"),
        (f"a: 0x{NINES}", "is too large: whole numbers have at most 100 digits"),
        (r'"\ud800"', "has half of a surrogate pair, which is not a character"),
        ("&a [*a]", "x:1:5: not valid YAML: an alias stands for something that contains it"),
        ("[" * 100_000, "x:1:41: not valid YAML: nested deeper than 40"),
        ("- " * 5000 + "a", "x:1:81: not valid YAML: nested deeper than 40"),
        (BOMB, "aliases repeat so much that there are more than 100,000 values"),
        (MERGED, "aliases repeat so much that there are more than 100,000 values"),
        (f"? x{NINES}\n: 1\n? x{NINES}\n: 2", "is listed twice"),
    ],
)
def test_what_is_no_plain_value_is_refused_in_one_line(text, said):
    with pytest.raises(UserError) as caught:
        yamlio.parse(text, "x")
    assert said in str(caught.value)
    assert len(str(caught.value)) <= LONGEST and str(caught.value).isprintable()


def test_a_file_without_end_is_not_read_to_its_end(tmp_path):
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="larger than 10,000,000 bytes"):
        yamlio.read(tmp_path / "zeros.yaml")


def test_messages_have_lines_of_bounded_length_that_a_terminal_only_shows():
    lines = str(UserError(f"first{NINES}last\n\x1b[2Jsecond\r\udcff")).split("\n")
    assert lines[0].startswith("first99") and lines[0].endswith("99last") and len(lines[0]) == LONGEST
    assert lines[1:] == [r"\x1b[2Jsecond\r\udcff"]


def test_a_long_place_takes_nothing_from_what_is_said_of_it():
    place, said = f"/{'folder/' * 40}x.yaml", "a" * 280
    assert str(UserError(f"{place}: {said}")) == f"{place}: {said}"
    assert len(str(UserError(f"{place}: {said}b"))) == len(f"{place}: {said}")
