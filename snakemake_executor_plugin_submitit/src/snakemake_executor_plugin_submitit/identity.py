"""What a job is, from one Snakemake to the next: its name, what it makes, and all that decides how."""

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
"""Of a job's name, which becomes a part of file names; these may have 255."""
SMALL_FILE = 100_000
"""Up to so many bytes an input is known by its content, as Snakemake itself does; above, by its time and size."""


@dataclass(frozen=True)
class Identity:
    """What a job is.

    Attributes:
        products: what it makes, as absolute paths; of a job without outputs, its rule and wildcards.
        fingerprint: of code, params, inputs, outputs and resources. Jobs that agree in it would do the same.
    """

    products: frozenset[str]
    fingerprint: str


def identify(job: JobExecutorInterface) -> Identity:
    """What a job is; of a group, what its jobs are together."""
    members = parts(job)
    products = frozenset(product for part in members for product in _products(part))
    described = [_describe(part, products) for part in members]
    return Identity(products, _digest(json.dumps(described, sort_keys=True)))


def parts(job: JobExecutorInterface) -> Sequence[Any]:
    """The jobs of a group in a lasting order, or the job itself."""
    if job.is_group():
        return sorted(cast(Any, job).jobs, key=lambda part: (part.rule.name, sorted(_products(part))))
    return [job]


def rules(job: JobExecutorInterface) -> str:
    """The names of the job's rules."""
    return shorten("+".join(sorted({part.rule.name for part in parts(job)})))


def name(job: JobExecutorInterface) -> str:
    """The rules and what their wildcards are, as the queue shows it."""
    values = dict.fromkeys(str(value) for part in parts(job) for value in part.wildcards_dict.values())
    return shorten(".".join([rules(job), *values]))


def shorten(text: str) -> str:
    """A text as a part of a file's name; what is too long for one ends with a digest of the whole."""
    plain = re.sub(r"[^\w.+=-]+", "-", text)
    if len(plain.encode()) <= NAME_BYTES:
        return plain
    return f"{plain.encode()[: NAME_BYTES - 9].decode(errors='ignore')}-{_digest(plain)[:8]}"


def is_up_to_date(job: JobExecutorInterface) -> bool:
    """Whether a job's outputs are there and none of its inputs is newer."""
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
    """The script or notebook that a rule runs, with its content where it is a file of this machine."""
    script = part.rule.script or part.rule.notebook
    if not script:
        return ""
    try:
        source = part.rule.basedir.join(part.format_wildcards(str(script)))
        path = source.get_path_or_uri(secret_free=True)
        return f"{script} {_content(path, frozenset())}"
    except Exception:  # whatever Snakemake's sources are: then its name will do
        return str(script)


def _content(path: str, products: frozenset[str]) -> str:
    """What tells a file's content from another; nothing for what the job itself makes, or is not there yet."""
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
    """A text that equal values share, from one process to the next."""
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
    except Exception:  # whatever a workflow may hold
        return repr(value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
