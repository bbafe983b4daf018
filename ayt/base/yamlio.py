"""The package's only reader and writer of YAML.

YAML 1.1 as people mean it: ``1e-4`` is a number, a date is text, and what some readers take for an octal or sexagesimal
number is refused. Files not written by this package may be hostile: depth, size and aliases are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ayt.base.errors import UserError, shorten

TAG = "tag:yaml.org,2002:"
NUMBER = re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$")
"""A number that YAML 1.1 takes for text because it lacks a decimal point or a sign."""

LARGEST_FILE = 10_000_000
"""The largest file, in bytes."""
DEEPEST = 40
"""The deepest nesting of mappings and lists."""
MOST_VALUES = 100_000
"""The most values in a document with aliases, counting each repetition; without aliases there is no limit."""
MOST_DIGITS = 100
"""The most digits of a whole number."""


class _Loader(yaml.SafeLoader):
    """Safe YAML of plain values; duplicate keys are errors."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._most = max(MOST_VALUES, len(text))
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        alias = isinstance(event, yaml.AliasEvent)
        before = self._values
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {DEEPEST}", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            problem = "an alias stands for something that contains it"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._values += self._sizes[id(node)] if alias else 1
        if self._values > self._most:
            problem = f"aliases repeat so much that there are more than {self._most:,} values"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        if not alias:
            self._sizes[id(node)] = self._values - before
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError):  # a tag that does not fit its value
            problem = f"{_shorten(node)} cannot be read as {node.tag.removeprefix(TAG)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
        if isinstance(value, str) and not value.isascii() and re.search(r"[\ud800-\udfff]", value):
            problem = f"{_shorten(node)} has half of a surrogate pair, which is not a character"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        pairs = node.value if node.id == "mapping" else []  # a tag may make it a list; the parent class refuses that
        for key_node, _ in pairs:
            if key_node.tag == f"{TAG}merge":  # << merges the keys of another mapping
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                twice = f"key {key!r} is listed twice"
                problem = twice if isinstance(key, Hashable) else "a key is a list or a mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """An integer or a float."""
        text = str(self.construct_scalar(node))
        problem = ""
        if ":" in text:
            problem = "is a number to base 60 for some readers, and text for others; put it in quotes"
        elif re.fullmatch(r"[-+]?0[\d_]*[1-9][\d_]*", text):
            problem = "is an octal number for some readers, and a decimal for others; write it without the leading zero"
        elif node.tag == f"{TAG}int" and len(text) > MOST_DIGITS:
            problem = f"is too large: whole numbers have at most {MOST_DIGITS} digits"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, f"{_shorten(node)} {problem}", node.start_mark)
        return self.construct_yaml_int(node) if node.tag == f"{TAG}int" else self.construct_yaml_float(node)


_Loader.add_implicit_resolver(f"{TAG}float", NUMBER, list("-+0123456789"))
# Dates are text, and so is =, for which YAML 1.1 has a special type.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{TAG}timestamp", f"{TAG}value")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: made
    for tag, made in _Loader.yaml_constructors.items()
    if tag is None or tag.removeprefix(TAG) in ("null", "bool", "str", "seq", "map")
}
for _number in ("int", "float"):
    _Loader.add_constructor(f"{TAG}{_number}", _Loader.construct_number)


class _Dumper(yaml.SafeDumper):
    """Quotes text wherever `_Loader`, or another reader, would take it for something else."""

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = super().analyze_scalar(scalar)
        if re.search("[\x85\u2028\u2029]", scalar):  # line breaks for YAML alone: escaped, as folding makes them spaces
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis


_Dumper.add_implicit_resolver(f"{TAG}float", NUMBER, list("-+0123456789"))


def _shorten(node: yaml.Node) -> str:
    """The node's text in the file, shortened."""
    return repr(shorten(str(node.value), 40)) if isinstance(node, yaml.ScalarNode) else "this"


def parse(text: str, source: str) -> Any:
    """Parse one YAML document; ``source`` names it in errors.

    Raises:
        UserError: the text is not YAML, a key is listed twice in one mapping, a value is not plain (text, numbers,
            true, false, null, lists, mappings), or aliases expand too far.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}: not valid YAML: {problem}") from None


def read(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        UserError: the file is missing, too large, not text, or not YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{path}: larger than {LARGEST_FILE:,} bytes, more than any such file has")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return parse(text, str(path))


def dump(value: Any) -> str:
    """Write plain containers as YAML, keeping their order; `parse` reads back the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
