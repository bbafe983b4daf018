"""The reference of experiment files, in Markdown: every key with its values, default and meaning, from the schema."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ayt.base.errors import UserError
from ayt.base.kinds import Kind, Registry
from ayt.base.sections import Section
from ayt.datasets.base import DATASETS, Dataset
from ayt.experiment import schema
from ayt.experiment.outputs import FIGURES, TABLES, Figure, Table
from ayt.methods.base import METHODS, Method
from ayt.methods.classification import ClassifierTraining
from ayt.methods.mid_training import MidTraining
from ayt.methods.pretraining import Pretraining
from ayt.metrics.base import METRICS, Metric
from ayt.networks.base import DENOISERS, FEATURE_NETWORKS, Denoiser, FeatureNetwork

PARTS: tuple[tuple[str, Registry[Any] | None, type[Section], str], ...] = (
    ("dataset", DATASETS, Dataset, "`dataset: NAME`, or a mapping whose key `name` is one of these."),
    ("network", DENOISERS, Denoiser, "The denoiser that is trained; its key `family` is one of these."),
    ("start", None, schema.Start, ""),
    ("start.pretrain", None, Pretraining, ""),
    ("start.mid_train", None, MidTraining, ""),
    (
        "classifiers",
        FEATURE_NETWORKS,
        FeatureNetwork,
        "Feature networks by names of your choice. Each entry has a `family`, one of these, with that family's keys;"
        " and beside them either `checkpoint` (published weights) or the keys of its training.",
    ),
    ("classifiers: training", None, ClassifierTraining, ""),
    (
        "methods",
        METHODS,
        Method,
        "Methods by names of your choice. The key `loss` is one of these; absent, the entry's name is. The keys of"
        " every method may also stand under `training` (`batch_sizes` and `seeds` at the top of the file), for all"
        " methods at once. A list where one value is expected makes a method of each value.",
    ),
    ("evaluation", None, schema.Evaluation, ""),
    ("evaluation.metrics", METRICS, Metric, "`metrics` is a list of these names."),
    ("anchors", None, schema.AnchorSettings, ""),
    ("toys", None, schema.Toy, "Toy experiments by names of your choice."),
    ("figures", FIGURES, Figure, "Figures by names of your choice; the key `kind` is one of these."),
    ("tables", TABLES, Table, "Tables by names of your choice; the key `kind` is one of these."),
    ("assets", None, schema.Assets, ""),
    ("execution", None, schema.Execution, ""),
)
"""Heading, the kinds that may stand there, what they have in common, and what to say first."""


MARK = "<!-- The rest is made by `ayt keys --into FILE`: what is written here by hand is lost. -->"
"""Ends what was written by hand in a page that has the reference below it."""


def replace_reference(page: str) -> str:
    """A page with the reference below its `MARK` as it is now.

    Raises:
        UserError: it has no such line.
    """
    head, mark, _ = page.partition(MARK + "\n")
    if not mark:
        raise UserError(f"no line says where the reference begins: {MARK}")
    return f"{head}{mark}\n{describe_keys()}"


def describe_keys() -> str:
    """The reference in Markdown; with extensions loaded, their kinds too."""
    return "\n\n".join(paragraph for part in PARTS for paragraph in _part(*part)) + "\n"


def _part(heading: str, registry: Registry[Any] | None, base: type[Section], text: str) -> Iterator[str]:
    yield f"## {heading}"
    yield text or plain(base.__doc__)
    if registry is None:
        yield from _table(base, base.model_fields)
        return
    if base.model_fields:
        yield "Each of them has the keys"
        yield from _table(base, base.model_fields)
    alone = [kind for kind in registry.kinds.values() if not _own(kind, base)]
    if alone:
        yield "\n".join(f"- `{kind.name}`{_usual(kind, registry)}: {plain(kind.__doc__)}" for kind in alone)
    for kind in registry.kinds.values():
        if kind not in alone:
            yield f"### {registry.what} `{kind.name}`"
            yield plain(kind.__doc__) + (" Where nothing else is said." if _usual(kind, registry) else "")
            yield from _table(kind, _own(kind, base))


def _usual(kind: type[Kind], registry: Registry[Any]) -> str:
    return " (where nothing else is said)" if registry.default == kind.name else ""


def _own(kind: type[Kind], base: type[Section]) -> list[str]:
    """The fields that a kind adds to those in common, or gives another default."""
    return [
        name
        for name, field in kind.model_fields.items()
        if name not in base.model_fields or field.default != base.model_fields[name].default
    ]


def _table(model: type[BaseModel], fields: Iterable[str]) -> Iterator[str]:
    properties, texts = _properties(model), explanations(model)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name in fields:
        field = model.model_fields[name]
        cells = (f"`{field.alias or name}`", values(properties[field.alias or name]), _default(field), texts[name])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if len(rows) > 2:
        yield "\n".join(rows)


OUT_OF_REACH = 10**9


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema(by_alias=True)["properties"]
    return found


def explanations(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field's definition, in the class itself or the nearest base that has one; else empty."""
    texts = dict.fromkeys(model.model_fields, "")
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner.__module__.partition(".")[0] != "pydantic":
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, below in zip(body.body, body.body[1:], strict=False):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                        if name in texts:
                            texts[name] = plain(text)
    return texts


def plain(text: str | None) -> str:
    """The first paragraph of a docstring on one line, as Markdown."""
    first = inspect.cleandoc(text or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    if field.default is None:
        return "absent"
    return f"`{json.dumps(field.default)}`"


def values(schema: Mapping[str, Any]) -> str:
    """The values that a part of a JSON schema admits, in words."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(values(option) for option in options if option.get("type") != "null")
    if "const" in schema or "enum" in schema:
        found = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{choice if isinstance(choice, str) else json.dumps(choice)}`" for choice in found)
    kind = schema.get("type")
    if kind == "array":
        return f"list: {values(schema['items'])}"
    if kind == "object":
        return f"mapping: {values(schema['additionalProperties'])}"
    names = {"boolean": "`true`, `false`", "string": "text", "integer": "whole number", "number": "number"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    # Bounds that only slips of the keyboard reach are not worth a reader's time.
    bounds = [
        f"{sign} {schema[bound]:,}" for bound, sign in signs.items() if schema.get(bound, OUT_OF_REACH) < OUT_OF_REACH
    ]
    return f"{names.get(str(kind), 'mapping')} {', '.join(bounds)}".strip()
