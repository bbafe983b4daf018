"""Settings: pydantic models that reject unknown keys, define what names a result, and report mistakes in one line."""

from __future__ import annotations

import difflib
import itertools
import types
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


class Unnamed:
    """Marks a field that does not affect results: it is in neither names nor records."""


UNNAMED = Unnamed()

Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=10_000)]
"""A size of a network or a part of it; a number of threads, processes or machines."""
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=100)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=150)]


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of visible characters")
    if value != value.strip():
        raise ValueError("begins or ends with a space")
    return value


LONGEST_LINE, LONGEST_PATH = 200, 1000

Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_line)]
"""Text for readers, in any script: a label, a title."""
Place = Annotated[str, Field(min_length=1, max_length=LONGEST_PATH), AfterValidator(_line)]
"""The path of a file or a folder."""


def find_repeated(values: Iterable[Any]) -> list[Any]:
    """The values that occur more than once, each listed once; lists and mappings are compared by content."""
    seen, found = set(), {}
    for value in values:
        known = value if isinstance(value, Hashable) else repr(value)
        if known in seen:
            found[known] = value
        seen.add(known)
    return list(found.values())


def _require_unique(values: list[Any]) -> list[Any]:
    for value in find_repeated(values):
        raise ValueError(f"{value} is listed twice")
    return values


Choices = AfterValidator(_require_unique)
Counts = Annotated[list[Count], Field(min_length=1), Choices]
Seeds = Annotated[list[Whole], Field(min_length=1), Choices]
NoiseLevels = Annotated[list[Positive], Field(min_length=1), Choices]


class Section(BaseModel):
    """A group of settings: unknown keys and wrong types are errors, and instances are immutable.

    Attributes:
        version: raised by hand when a code change changes the results of these settings; part of every name that
            depends on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: ClassVar[int] = 1

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results."""
        return {name for name, field in type(self).model_fields.items() if UNNAMED in field.metadata}

    def identity(self) -> dict[str, Any]:
        """What distinguishes results of these settings from others, as plain containers.

        Fields at their defaults are left out: a new field with a default renames nothing.
        """
        named = self.model_dump(mode="json", exclude_defaults=True, exclude=self.unhashed_fields())
        return {"version": self.version, **named}

    def settings(self) -> dict[str, Any]:
        """All that `identity` depends on, defaults included: what a record holds."""
        return self.model_dump(mode="json", by_alias=True, exclude=self.unhashed_fields())


LISTED = 200
"""The longest a list of choices may be, in characters."""
MOST_COMPARED = 1000
"""The most choices that are searched for a guess at what was meant."""


def check_divides(part: int | None, whole: int | None, part_name: str, whole_name: str) -> None:
    """Raise ValueError unless ``part`` divides ``whole``; None is not checked."""
    if part and whole and whole % part:
        raise ValueError(f"{part_name} {part} does not divide {whole_name} {whole}")


def choices(value: Any, known: Iterable[Any]) -> str:
    """``choose from a, b, c``, with a guess at what was meant; a long list is cut to the first few and a count."""
    names = [str(name) for name in known]
    if not names:
        return "there are none to choose from"
    close = difflib.get_close_matches(str(value)[:LISTED], names[:MOST_COMPARED], n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    ends = itertools.accumulate(len(name) + 2 for name in names)
    shown = names[: max(1, sum(end <= LISTED for end in ends))]
    more = len(names) - len(shown)
    return f"{guess}choose from {', '.join(shown)}{f' and {more:,} more' if more else ''}"


def keys(model: type[BaseModel]) -> dict[str, Any]:
    """The keys that a file may use for a model's fields, with their types."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def takes_list(annotation: Any) -> bool:
    """Whether a field of this type may be a list."""
    if get_origin(annotation) is Annotated:
        return takes_list(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(takes_list(part) for part in get_args(annotation))
    return get_origin(annotation) is list


class Absent:
    """Marks a missing value."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = Absent()


def problems(
    model: type[BaseModel], error: ValidationError, more_keys: Iterable[str] = ()
) -> Iterator[tuple[tuple[Any, ...], Any, str]]:
    """Pydantic's errors: location, value (`ABSENT` if showing it would not help), and what is wrong with it.

    Args:
        model: the model that was validated.
        error: the error it raised.
        more_keys: keys that the file may have besides the model's own.
    """
    for detail in error.errors(include_url=False):
        loc = tuple(part for part in detail["loc"] if not str(part).startswith("["))  # names the member of a union
        whole = detail["type"] == "value_error" and isinstance(detail["input"], dict | list | BaseModel)
        value = ABSENT if whole or detail["type"] == "missing" else detail["input"]
        yield loc, value, _problem(model, loc, detail, more_keys)


def kind_of(value: Any) -> str:
    """What messages call a value from a YAML file."""
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _problem(model: type[BaseModel], loc: Sequence[Any], detail: Any, more_keys: Iterable[str]) -> str:
    """One phrase for one of pydantic's errors."""
    kind, context = detail["type"], detail.get("ctx", {})
    known = {
        "missing": "is missing",
        "too_short": "the list is empty",
        "bool_type": "must be true or false",
        "model_type": f"must be a mapping of options, not {kind_of(detail['input'])}",
        "string_type": "must be text" + ("; put it in quotes" if isinstance(detail["input"], int | float) else ""),
    }
    if kind in known:
        return known[kind]
    if kind == "extra_forbidden":
        own = list(keys(_model_at(model, loc)))
        return f"unknown key; {choices(loc[-1], [*(more_keys if len(loc) == 1 else ()), *own])}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        field = _model_at(model, loc).model_fields.get(str(loc[-1]))
        options = _literals(field.annotation) if field else []
        listed = ", or give a list" if field and takes_list(field.annotation) else ""
        return f"unknown; {choices(detail['input'], options)}{listed}" if options else f"must be {context['expected']}"
    message = str(detail["msg"])
    shortened = message.removeprefix("Input should be ").removeprefix("String should ")
    return f"must be {shortened}" if shortened != message else message


def _model_at(model: type[BaseModel], loc: Sequence[Any]) -> type[BaseModel]:
    """The section that holds the last key of ``loc``."""
    for key in loc[:-1]:
        field = model.model_fields.get(str(key))
        annotation = field.annotation if field else None
        for part in map(_strip_notes, (annotation, *get_args(annotation))):  # a section, or one of several types
            if isinstance(part, type) and issubclass(part, BaseModel):
                model = part
    return model


def _strip_notes(annotation: Any) -> Any:
    """A type without its annotations."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        # As a file spells them.
        return [str(value).lower() if isinstance(value, bool) else value for value in get_args(annotation)]
    return [value for part in get_args(annotation) for value in _literals(part)]
