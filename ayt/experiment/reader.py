"""From experiment files and overrides to a validated `Experiment`; each mistake becomes one line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from ayt.base import yamlio
from ayt.base.errors import UserError, shorten
from ayt.base.kinds import Kind, Registry, load_extensions
from ayt.base.sections import (
    ABSENT,
    LONGEST_LINE,
    LONGEST_PATH,
    Section,
    choices,
    find_repeated,
    keys,
    kind_of,
    problems,
    takes_list,
)
from ayt.datasets.base import DATASETS
from ayt.experiment import schema
from ayt.experiment.checks import CONFIRM, check_size, cross_check
from ayt.experiment.outputs import FIGURES, TABLES
from ayt.experiment.schema import Experiment
from ayt.methods.base import METHODS, Method
from ayt.methods.classification import ClassifierTraining
from ayt.networks.base import DENOISERS, FEATURE_NETWORKS, Task, family_for

SHARED = ("training", "batch_sizes", "seeds")
"""Top-level keys that apply to every method."""

DEFAULT_CLASSIFIERS: dict[str, Any] = {task: {"task": task} for task in get_args(Task)}
"""One per task, named after it."""

MOST_MISTAKES = 20
"""The most lines of a message."""
LONGEST_KEY, LONGEST_VALUE = 80, 60
"""The most characters shown of a key, and of its value."""

GONE = {
    ("evaluation", "kept"): "is no choice any more: metrics that compare features one by one always see up to 10,000",
    ("results",): "is no part of an experiment: snakemake --config results=FOLDER, or export AYT_RESULTS=FOLDER",
}
"""Keys of older versions, or that belong elsewhere, with what to say about them."""

S = TypeVar("S", bound=Section)
K = TypeVar("K", bound=Kind)


def load(files: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment.

    Args:
        files: experiment files; later ones override individual keys.
        overrides: the value of ``--config`` as parsed by Snakemake; text inside is read as YAML.

    Raises:
        UserError: one line per mistake, naming file, key, value and choices.
    """
    if not files:
        raise UserError("no experiment: name one with --configfile, for example config/embedded.yaml")
    layers: list[tuple[str, dict[str, Any]]] = []
    for file in files:
        content = yamlio.read(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: must be a mapping of keys to values, not {kind_of(content)}")
        layers.append((str(file), content))
    if overrides:
        layers.append(("--config", _retype(dict(overrides))))
    return _Reader(layers).experiment(default_name=Path(files[0]).stem)


class _Reader:
    """Collects the mistakes of one experiment while its sections are built."""

    def __init__(self, layers: list[tuple[str, dict[str, Any]]]) -> None:
        self.layers = layers
        self.raw: dict[str, Any] = {}
        for _, layer in layers:
            self.raw = _merge(self.raw, layer)
        self.mistakes: list[str] = []
        self.max_jobs = schema.MAX_JOBS

    def experiment(self, default_name: str) -> Experiment:
        known = [*SHARED, *keys(Experiment)]
        for key in self.raw:
            if key not in known and (key,) not in GONE:
                self.mistake((key,), self.raw[key], f"unknown key; {choices(key, known)}")
        for where, problem in GONE.items():
            if _has(self.raw, where):
                self.mistake(where, ABSENT, problem)
        extensions = self.raw.get("extensions") or []
        if not isinstance(extensions, list) or not all(
            isinstance(file, str) and file.isprintable() and len(file) <= LONGEST_PATH for file in extensions
        ):
            self.mistake(("extensions",), extensions, "must be a list of Python files")
        self.stop_if_mistaken()
        load_extensions(extensions)
        dataset = self.raw.get("dataset")
        execution = self.section(schema.Execution, self.raw.get("execution", {}), ("execution",))
        self.max_jobs = execution.max_jobs if execution else schema.MAX_JOBS
        sections: dict[str, Any] = {
            "name": self.raw.get("name", default_name),
            "extensions": extensions,
            "dataset": self.kind(
                DATASETS, {DATASETS.key: dataset} if isinstance(dataset, str) else dataset, ("dataset",)
            ),
            "network": self.kind(DENOISERS, self.raw.get("network", {}), ("network",)),
            "start": self.section(schema.Start, self.raw.get("start", {}), ("start",)),
            "classifiers": self.read_named(
                "classifiers", {**DEFAULT_CLASSIFIERS, **self.mapping("classifiers")}, self.classifier
            ),
            "methods": self.methods(),
            "evaluation": self.section(schema.Evaluation, self.raw.get("evaluation", {}), ("evaluation",)),
            "anchors": self.read_named("anchors", self.mapping("anchors"), self.anchor),
            "toys": self.read_named("toys", self.mapping("toys"), self.toy),
            "figures": self.outputs("figures", FIGURES),
            "tables": self.outputs("tables", TABLES),
            "assets": self.section(schema.Assets, self.raw.get("assets", {}), ("assets",)),
            "execution": execution,
        }
        self.stop_if_mistaken()
        experiment = self.section(Experiment, sections, ())
        self.stop_if_mistaken()
        if experiment is not None:
            check_size(experiment, self.mistake)
            self.stop_if_mistaken()
            cross_check(experiment, self.mistake_of_method)
        self.stop_if_mistaken()
        if experiment is None:
            raise UserError(f"{self.layers[0][0]}: is not an experiment")
        return experiment

    def stop_if_mistaken(self) -> None:
        lines = list(dict.fromkeys(self.mistakes))
        if len(lines) > MOST_MISTAKES:
            lines[MOST_MISTAKES:] = [f"{self.layers[0][0]}: and {len(lines) - MOST_MISTAKES:,} more mistakes"]
        if lines:
            raise UserError("\n".join(lines))

    def mistake(self, where: Sequence[Any], value: Any, problem: str) -> None:
        key = shorten(".".join(map(str, where)), LONGEST_KEY)
        shown = "" if value is ABSENT else f" = {shorten(repr(value), LONGEST_VALUE)}"
        self.mistakes.append(f"{self.source(where)}: {key}{shown}: {problem}")

    def source(self, where: Sequence[Any]) -> str:
        """The file, or --config, that determines this key or its nearest parent."""
        for depth in range(len(where), 0, -1):
            for name, layer in reversed(self.layers):
                if _has(layer, where[:depth]):
                    return str(name)
        return self.layers[0][0]

    def mistake_of_method(self, where: Sequence[Any], value: Any, problem: str) -> None:
        """Note a mistake; one in settings that methods inherit is reported once, where they were given."""
        own = self.raw["methods"]
        if where[0] == "methods" and not (isinstance(own, dict) and where[2] in (own.get(where[1]) or {})):
            where = (
                where[2:]
                if where[2] in SHARED
                else ("training", *where[2:])
                if _has(self.raw, ("training", where[2]))
                else where
            )
        self.mistake(where, value, problem)

    def mapping(self, key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        value = self.raw.get(key, default if default is not None else {})
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            for item in find_repeated(value):
                self.mistake((key,), value, f"{item} is listed twice")
            value = dict.fromkeys(value)
        if not isinstance(value, dict):
            self.mistake((key,), value, f"must be a mapping of names to options, not {kind_of(value)}")
            return {}
        return value

    def read_named(
        self, key: str, raws: dict[str, Any], build: Callable[[Any, tuple[str, ...]], Section | None]
    ) -> dict[str, Section]:
        """Build a mapping of named sections."""
        built = {name: build({} if raw is None else raw, (key, name)) for name, raw in raws.items()}
        return {name: section for name, section in built.items() if section is not None}

    def kind(self, registry: Registry[K], raw: Any, where: tuple[str, ...]) -> K | None:
        """A section whose class is chosen by one of its keys."""
        if raw is None:
            self.report_missing(where)
            return None
        if isinstance(raw, str):
            raw = {registry.key: raw}
        if not isinstance(raw, dict):
            self.mistake(where, raw, f"must be a mapping of options, not {kind_of(raw)}")
            return None
        own = dict(raw)
        name = own.pop(registry.key, registry.default)
        model = registry.get(name)
        if model is None:
            at_hand = name if name is not None else ABSENT
            self.mistake(
                (*where, registry.key),
                at_hand,
                registry.describe_unknown(name) if name else f"is missing; {choices('', registry.kinds)}",
            )
            return None
        return self.section(model, own, where, more_keys=(registry.key,))

    def outputs(self, key: str, registry: Registry[K]) -> dict[str, Section]:
        """Figures or tables by name; without such a key in the file, the usual ones, named after their kinds."""
        usual = {name: {registry.key: name} for name in registry.defaults}
        return self.read_named(key, self.mapping(key, usual), lambda raw, where: self.kind(registry, raw, where))

    def anchor(self, raw: Any, where: tuple[str, ...]) -> schema.AnchorSettings | None:
        return self.section(schema.AnchorSettings, raw, where)

    def toy(self, raw: Any, where: tuple[str, ...]) -> schema.Toy | None:
        return self.section(schema.Toy, raw, where)

    def classifier(self, raw: Any, where: tuple[str, ...]) -> schema.Classifier | None:
        """A feature network and its training, whose settings are in the same mapping."""
        if not isinstance(raw, dict):
            self.mistake(where, raw, f"must be a mapping of options, not {kind_of(raw)}")
            return None
        own = dict(raw)
        family = own.pop(FEATURE_NETWORKS.key, None) or family_for(own.get("task"))
        checkpoint = own.pop("checkpoint", None)
        model = FEATURE_NETWORKS.get(family)
        if model is None:
            self.mistake((*where, FEATURE_NETWORKS.key), family, FEATURE_NETWORKS.describe_unknown(family))
            return None
        of_network = {key: own.pop(key) for key in list(own) if key in keys(model)}
        if checkpoint is not None:
            meaningless = sorted(set(own) - {"task", "group"})
            if meaningless:
                problem = f"is not trained here, so {', '.join(meaningless)} means nothing"
                self.mistake((*where, "checkpoint"), checkpoint, problem)
                return None
        network = self.section(model, of_network, where)
        more = (FEATURE_NETWORKS.key, "checkpoint", *keys(model))
        training = self.section(ClassifierTraining, own, where, more_keys=more)
        if network is None or training is None:
            return None
        return self.section(
            schema.Classifier, {"network": network, "training": training, "checkpoint": checkpoint}, where
        )

    def methods(self) -> dict[str, Method]:
        """Every method, with sweeps expanded: an option given as a list makes one method per value."""
        raws = self.mapping("methods")
        if not raws:
            self.mistake(("methods",), self.raw.get("methods", ABSENT), "no method is given")
        training = self.shared_training()
        methods: dict[str, Method] = {}
        for name, options in raws.items():
            where = ("methods", str(name))
            if options is not None and not isinstance(options, dict):
                self.mistake(where, options, f"must be a mapping of options, not {kind_of(options)}")
                continue
            own = dict(options or {})
            loss = own.pop(METHODS.key, name)
            model = METHODS.get(loss)
            if model is None:
                stated = METHODS.key in (options or {})
                hint = "" if stated else " (or name one of these as its loss)"
                place = (*where, METHODS.key) if stated else where
                self.mistake(place, loss if stated else ABSENT, METHODS.describe_unknown(loss) + hint)
                continue
            fields = keys(model)
            inherited = {key: value for key, value in training.items() if key in fields}
            inherited |= {key: self.raw[key] for key in ("batch_sizes", "seeds") if key in self.raw}
            raw_variants, many = _sweep({**inherited, **own}, fields)
            if many + len(methods) > self.max_jobs:
                self.mistake(
                    where, ABSENT, f"asks for {many:,} methods, one for each combination of its lists; {CONFIRM}"
                )
                continue
            for variant, raw in raw_variants:
                method = self.section(
                    model, raw, where, inherited=frozenset(inherited) - set(own), more_keys=(METHODS.key,)
                )
                if method is not None:
                    label = method.label or method.usual_label
                    label = f"{label} ({variant})" if variant else label
                    if variant and len(label) > LONGEST_LINE:
                        problem = f"with what the sweep changes it has {len(label)} characters; choose a shorter one"
                        self.mistake((*where, "label"), label, problem)
                    methods[f"{name} {variant}".strip()] = method.model_copy(update={"label": label})
        return methods

    def shared_training(self) -> dict[str, Any]:
        """The file's ``training`` section: settings for all methods."""
        training = self.raw.get("training") or {}
        if not isinstance(training, dict):
            self.mistake(("training",), training, f"must be a mapping, not {kind_of(training)}")
            return {}
        known = set().union(*(keys(model) for model in METHODS.kinds.values())) - {"label", "batch_sizes", "seeds"}
        for key in training:
            if key not in known:
                self.mistake(("training", key), training[key], f"unknown key; {choices(key, sorted(known))}")
        return training

    def report_missing(self, where: tuple[str, ...]) -> None:
        self.mistake(where, ABSENT, "is missing" if where[0] not in self.raw else "is empty")

    def section(
        self,
        model: type[S],
        raw: Any,
        where: tuple[str, ...],
        inherited: frozenset[str] = frozenset(),
        more_keys: Iterable[str] = (),
    ) -> S | None:
        """Build one section, or note its mistakes.

        Args:
            model: the section's class.
            raw: its content.
            where: its location.
            inherited: keys that came from ``training`` or the top.
            more_keys: keys allowed besides the section's own.
        """
        if raw is None and where:
            self.report_missing(where)
            return None
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for loc, value, problem in problems(model, error, more_keys):
                place = (*where, *loc)
                if loc and loc[0] in inherited:
                    place = loc if loc[0] in ("batch_sizes", "seeds") else ("training", *loc)
                self.mistake(place, value, problem)
            return None


def _has(node: Any, path: Sequence[Any]) -> bool:
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def _retype(value: Any) -> Any:
    """Read text inside ``--config`` values as YAML: Snakemake leaves nested numbers and keys as strings."""
    if isinstance(value, str):
        return yamlio.parse(value, f"--config value {value!r}")
    if isinstance(value, Mapping):
        return {_retype(key): _retype(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_retype(item) for item in value]
    return value


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; anything else in ``top`` replaces."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _sweep(raw: dict[str, Any], fields: dict[str, Any]) -> tuple[Iterator[tuple[str, dict[str, Any]]], int]:
    """Expand options given as lists where one value is expected: (name of the variant, options), and their number."""
    swept = [
        key
        for key, value in raw.items()
        if isinstance(value, list) and value and key in fields and not takes_list(fields[key])
    ]

    def variants() -> Iterator[tuple[str, dict[str, Any]]]:
        for values in itertools.product(*(raw[key] for key in swept)):
            chosen = dict(zip(swept, values, strict=True))
            yield " ".join(f"{key}={value}" for key, value in chosen.items()), {**raw, **chosen}

    return variants(), math.prod(len(raw[key]) for key in swept)
