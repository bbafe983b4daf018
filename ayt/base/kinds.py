"""Kinds (methods, datasets, networks, metrics, figures, tables): found by name, each in its own module.

A kind is a class of settings in a `Registry`. Each registry has a folder of the package, whose modules define its
built-in kinds; nothing else lists them. More kinds come from extensions, Python files that register them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from ayt.base.errors import UserError
from ayt.base.sections import Section, choices, kind_of, problems

EXTENSIONS = "AYT_EXTENSIONS"
"""The environment variable that names extension files, separated by colons. For Snakemake's jobs it is set from the
experiment's key ``extensions``."""


class Kind(Section):
    """The settings of one kind: a subclass, registered under its ``name``.

    Attributes:
        by_default: whether it is used if an experiment does not choose.
    """

    name: ClassVar[str]
    by_default: ClassVar[bool] = False


K = TypeVar("K", bound=Kind)


class Registry(Generic[K]):
    """All kinds of one category, such as methods or datasets, by name.

    Args:
        what: what messages call such a kind, for example ``method``.
        key: the key under which a file names it, for example ``loss``.
        package: the package whose modules define the built-in kinds.
    """

    def __init__(self, what: str, key: str, package: str) -> None:
        self.what, self.key = what, key
        self._package = package
        self._kinds: dict[str, type[K]] = {}
        self._discovered = False

    def register(self, kind: type[K]) -> type[K]:
        """Add a kind; a class decorator.

        Raises:
            UserError: it has no name, its name is taken, or it does not define an abstract method.
        """
        here = f"{_source(kind)}: {self.what} {kind.__name__}"
        if not hasattr(kind, "name"):
            raise UserError(f"{here} has no name")
        if inspect.isabstract(kind):
            raise UserError(f"{here} does not define {', '.join(sorted(kind.__abstractmethods__))}")
        if not kind.__module__.startswith(f"{self._package}."):
            self._discover()  # a built-in kind's name is taken
        other = self._kinds.setdefault(kind.name, kind)
        if (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise UserError(f"{here}: the name {kind.name!r} is taken by {_source(other)}")
        self._kinds[kind.name] = kind
        return kind

    @property
    def kinds(self) -> dict[str, type[K]]:
        """All kinds by name."""
        self._discover()
        return dict(sorted(self._kinds.items()))

    @property
    def defaults(self) -> list[str]:
        """The names of those used if an experiment does not choose."""
        return [name for name, kind in self.kinds.items() if kind.by_default]

    @property
    def default(self) -> str | None:
        """The kind that is used if a file names none; None: a file must name one."""
        return self.defaults[0] if len(self.defaults) == 1 else None

    def get(self, name: Any) -> type[K] | None:
        """The kind with this name; None if there is none."""
        return self.kinds.get(name) if isinstance(name, str) else None

    def describe_unknown(self, name: Any) -> str:
        """Error text for a name that no kind has."""
        return f"unknown {self.what}; {choices(name, self.kinds)}"

    def _discover(self) -> None:
        """Import the modules of the package, once."""
        if self._discovered:
            return
        self._discovered = True
        found = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(found.__path__):
            if not module.ispkg:
                importlib.import_module(f"{self._package}.{module.name}")

    def dump(self, kind: K) -> dict[str, Any]:
        """A kind as a record stores it: its name, its version, and `Section.settings`."""
        return {self.key: kind.name, "version": kind.version, **kind.settings()}

    def identity(self, kind: K) -> dict[str, Any]:
        """`Section.identity` with the kind's name."""
        return {self.key: kind.name, **kind.identity()}

    def parse(self, content: Any, source: str) -> K:
        """A kind from a record, as `dump` wrote it.

        Raises:
            UserError: the kind is unknown, has a different version, or has invalid settings.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"{source}: must be a mapping of settings, not {kind_of(content)}")
        settings = dict(content)
        name, version = settings.pop(self.key, None), settings.pop("version", None)
        model = self.get(name)
        if model is None:
            hint = f"; if an extension defines it, {EXTENSIONS} must name its file"
            raise UserError(f"{source}: {self.key} = {name!r}: {self.describe_unknown(name)}{hint}")
        if version != model.version:
            raise UserError(
                f"{source}: was written for version {version} of the {self.what} {name!r}; this is version"
                f" {model.version}, whose results differ"
            )
        return validate(model, settings, source)


def _source(kind: type[Kind]) -> str:
    """The file that defines a kind, or its module if there is no file."""
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or kind.__module__


S = TypeVar("S", bound=Section)


def validate(model: type[S], content: Any, source: str) -> S:
    """Validate a section read from a record.

    Raises:
        UserError: it is invalid; names the first mistake.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        where, _, problem = next(problems(model, error))
        raise UserError(f"{source}: {'.'.join(map(str, where)) or 'the whole'}: {problem}") from None


def load_extensions(files: Iterable[str]) -> None:
    """Run Python files that register kinds, each once.

    Raises:
        UserError: one is missing, or fails.
    """
    for file in files:
        path = Path(file).resolve()
        if os.pathsep in str(path):
            raise UserError(f"extension {file}: {str(path)!r} has a {os.pathsep!r}, which separates paths; rename it")
        # Files in different folders may have the same name.
        name = f"ayt_extension_{path.stem}_{zlib.crc32(bytes(path)):08x}"
        if name in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        if path.suffix != ".py" or not path.is_file() or spec is None or spec.loader is None:
            raise UserError(f"extension {file}: no Python file {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except UserError:
            del sys.modules[name]
            raise
        except Exception as error:
            del sys.modules[name]
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"extension {file}: cannot be loaded: {told}") from None


def load_extensions_of_environment() -> None:
    """Run the files that the environment variable `EXTENSIONS` names.

    Raises:
        UserError: one is missing, or fails.
    """
    load_extensions(list_extensions_of_environment())


def list_extensions_of_environment() -> list[str]:
    """The files that the environment variable `EXTENSIONS` names."""
    return [file for file in os.environ.get(EXTENSIONS, "").split(os.pathsep) if file]
