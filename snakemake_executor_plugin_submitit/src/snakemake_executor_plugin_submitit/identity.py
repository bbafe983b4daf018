"""A job's identity across Snakemake runs: its name, what it makes, and everything that determines how."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

NAME_BYTES = 150
"""The longest name of a job in bytes, as part of file names, which may have 255."""
SMALL_FILE = 100_000
"""Inputs up to this many bytes are identified by content, as in Snakemake; larger ones by time and size."""


@dataclass(frozen=True)
class Identity:
    """A job's identity.

    Attributes:
        products: the absolute paths it makes; for a job without outputs, its rule and wildcards.
        fingerprint: of code, params, inputs, outputs and resources. Jobs with equal fingerprints would do the same.
    """

    products: frozenset[str]
    fingerprint: str


def identify(job: JobExecutorInterface) -> Identity:
    """The identity of a job, or of all jobs of a group together."""
    members = parts(job)
    products = frozenset(product for part in members for product in _products(part))
    described = [_describe(part, products) for part in members]
    return Identity(products, _digest(json.dumps(described, sort_keys=True)))


def parts(job: JobExecutorInterface) -> Sequence[Any]:
    """The jobs of a group in a reproducible order, or the job itself."""
    if job.is_group():
        return sorted(cast(Any, job).jobs, key=lambda part: (part.rule.name, sorted(_products(part))))
    return [job]


def rules(job: JobExecutorInterface) -> str:
    """The names of the job's rules."""
    return shorten("+".join(sorted({part.rule.name for part in parts(job)})))


def name(job: JobExecutorInterface) -> str:
    """The rules and their wildcards, as shown in the queue."""
    values = dict.fromkeys(str(value) for part in parts(job) for value in part.wildcards_dict.values())
    return shorten(".".join([rules(job), *values]))


def shorten(text: str) -> str:
    """Make a text part of a file name; one that is too long ends with a digest of the whole."""
    plain = re.sub(r"[^\w.+=-]+", "-", text)
    if len(plain.encode()) <= NAME_BYTES:
        return plain
    return f"{plain.encode()[: NAME_BYTES - 9].decode(errors='ignore')}-{_digest(plain)[:8]}"


def is_up_to_date(job: JobExecutorInterface) -> bool:
    """Whether a job's outputs exist and none of its inputs is newer."""
    for part in parts(job):
        outputs = [Path(str(file)) for file in part.output]
        inputs = [Path(str(file)) for file in part.input]
        if not all(file.exists() for file in (*outputs, *inputs)):
            return False
        oldest = min((file.stat().st_mtime for file in outputs), default=0.0)
        if any(file.stat().st_mtime > oldest for file in inputs):
            return False
    return True


def _products(part: Any) -> list[str]:
    outputs = [str(Path(str(file)).absolute()) for file in part.output]
    return outputs or [f"{part.rule.name} {sorted(map(str, part.wildcards_dict.items()))}"]


def _describe(part: Any, products: frozenset[str]) -> dict[str, Any]:
    rule = part.rule
    resources = {key: value for key, value in part.resources.items() if key != "tmpdir"}
    return {
        "rule": rule.name,
        "wildcards": sorted((key, str(value)) for key, value in part.wildcards_dict.items()),
        "code": [rule.shellcmd, part.shellcmd, rule.run_func_src, _script(part), rule.wrapper, str(rule.norun)],
        "params": [_canonical(value) for value in part.non_derived_params],
        "inputs": [[str(file), _content(str(file), products)] for file in part.input],
        "outputs": [*map(str, part.output), *map(str, part.log), str(part.benchmark)],
        "resources": sorted((key, _canonical(value)) for key, value in resources.items()),
    }


def _script(part: Any) -> str:
    """The script or notebook that a rule runs, with its content if it is a local file."""
    script = part.rule.script or part.rule.notebook
    if not script:
        return ""
    try:
        source = part.rule.basedir.join(part.format_wildcards(str(script)))
        path = source.get_path_or_uri(secret_free=True)
        return f"{script} {_content(path, frozenset())}"
    except Exception:  # any kind of source that Snakemake knows: then its name will do
        return str(script)


def _content(path: str, products: frozenset[str]) -> str:
    """Identifies a file's content; empty for files that the job itself makes, or that do not exist yet."""
    file = Path(path)
    if str(file.absolute()) in products:
        return ""
    try:
        status = file.stat()
    except OSError:
        return ""
    if not file.is_file():
        return str(status.st_mtime_ns) if file.is_dir() else ""
    return _fingerprint(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)
def _fingerprint(path: str, size: int, modified: int) -> str:
    if size > SMALL_FILE:
        return f"{size} {modified}"
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return f"{size} {modified}"


def _canonical(value: Any) -> str:
    """A text that is the same for equal values, across processes."""
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes() | range():
            return repr(value)
        case set() | frozenset():
            return f"{{{', '.join(sorted(map(_canonical, value)))}}}"
        case dict():
            return f"{{{', '.join(f'{_canonical(key)}: {_canonical(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_canonical, value))}]"
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # anything that a workflow may contain
        return repr(value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
