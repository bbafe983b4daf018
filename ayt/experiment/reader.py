"""From experiment files and overrides to a validated `Experiment`; every mistake becomes one line."""

from __future__ import annotations

import itertools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ayt.base import yamlio
from ayt.experiment import outputs
from ayt.experiment import schema
from ayt.base.sections import Section
from ayt.experiment.checks import choices, cross_check
from ayt.experiment.schema import Experiment
from ayt.base.errors import UserError

TOP_KEYS = (
    "name",
    "dataset",
    "network",
    "start",
    "classifiers",
    "training",
    "batch_sizes",
    "seeds",
    "methods",
    "evaluation",
    "toys",
    "figures",
    "tables",
    "assets",
    "execution",
)
DEFAULT_CLASSIFIERS: dict[str, Any] = {"transformations": {}, "labels": {"task": "labels"}}
DEFAULT_FIGURES: dict[str, Any] = {
    "curves": {"kind": "curves"},
    "final": {"kind": "final"},
    "samples": {"kind": "samples"},
    "transformations": {"kind": "transformations"},
}
DEFAULT_TABLES: dict[str, Any] = {"scores": {"kind": "scores"}}
FIGURES: dict[str, type[Section]] = {
    "curves": outputs.CurvesFigure,
    "final": outputs.FinalFigure,
    "samples": outputs.SamplesFigure,
    "transformations": outputs.TransformationsFigure,
    "tangents": outputs.TangentsFigure,
    "oscillation": outputs.OscillationFigure,
    "manifold": outputs.ManifoldFigure,
    "toy": outputs.ToyFigure,
}

TABLES: dict[str, type[Section]] = {
    "scores": outputs.ScoreTable,
    "methods": outputs.MethodsTable,
    "published": outputs.PublishedTable,
    "speed": outputs.SpeedTable,
    "reach": outputs.ReachTable,
    "cost": outputs.CostTable,
}


def load(files: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment.

    Args:
        files: experiment files; a later one changes single keys of those before it.
        overrides: what ``--config`` says, as Snakemake parsed it; text inside is read as YAML.

    Raises:
        UserError: one line for each mistake, naming file, key, value and the choices.
    """
    if not files:
        raise UserError("no experiment: name one with --configfile, for example config/embedded.yaml")
    layers: list[tuple[str, dict[str, Any]]] = []
    for file in files:
        content = yamlio.read(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: must be a mapping of keys to values, not {_kind(content)}")
        layers.append((str(file), content))
    if overrides:
        layers.append(("--config", _retype(dict(overrides))))
    reader = _Reader(layers)
    return reader.experiment(default_name=Path(files[0]).stem)


def dataset(value: Any, source: str) -> schema.Dataset:
    """A dataset from its name, or from a mapping of its name and options.

    Raises:
        UserError: it is unknown, or an option is.
    """
    reader = _Reader([(source, {"dataset": {"name": value} if isinstance(value, str) else value})])
    section = reader.section(schema.Dataset, reader.raw["dataset"], ("dataset",))
    reader.stop_if_mistaken()
    assert isinstance(section, schema.Dataset)
    return section


def toy(value: Any, source: str) -> outputs.Toy:
    """A toy experiment from its options.

    Raises:
        UserError: an option is unknown, or has a value that it cannot have.
    """
    reader = _Reader([(source, {"toy": value})])
    section = reader.section(outputs.Toy, value, ("toy",))
    reader.stop_if_mistaken()
    assert isinstance(section, outputs.Toy)
    return section


def check_machine(experiment: Experiment) -> None:
    """Make sure that jobs of the experiment can run as plain processes on this machine.

    Raises:
        UserError: the device is not there, or jobs have several processes, which need a launcher.
    """
    device, processes = experiment.execution.device, experiment.execution.processes
    if processes > 1:
        raise UserError(
            f"execution.processes = {processes}: this executor starts one process for each job; choose --profile slurm,"
            " or --executor submitit --submitit-cluster local for the GPUs of this machine"
        )
    present = _gpus_here()
    index = 0 if device in ("auto", "cpu", "cuda") else int(device.partition(":")[2])
    if device not in ("auto", "cpu") and index >= present:
        raise UserError(
            f"execution.device = {device!r}: this machine has {present} CUDA devices; choose from "
            + ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(present))])
        )


def gpus_per_job(experiment: Experiment, here: bool) -> int:
    """How many GPUs each process of a job that computes asks for: 0 or 1; ``here``: jobs are this machine's."""
    device = experiment.execution.device
    if device == "auto":
        return 1 if not here else min(1, _gpus_here())
    return 0 if device == "cpu" else 1


def _gpus_here() -> int:
    """NVIDIA's driver lists its devices here; asking PyTorch would take seconds at every start of Snakemake."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


class _Reader:
    """Collects the mistakes of one experiment while its sections are built."""

    def __init__(self, layers: list[tuple[str, dict[str, Any]]]) -> None:
        self.layers = layers
        self.raw: dict[str, Any] = {}
        for _, layer in layers:
            self.raw = _merge(self.raw, layer)
        self.mistakes: list[str] = []

    def experiment(self, default_name: str) -> Experiment:
        for key in self.raw:
            if key not in TOP_KEYS:
                self.mistake((key,), self.raw[key], f"unknown key; {choices(key, TOP_KEYS)}")
        dataset = self.raw.get("dataset")
        if isinstance(dataset, str):
            dataset = {"name": dataset}
        sections: dict[str, Any] = {
            "name": self.raw.get("name", default_name),
            "dataset": self.section(schema.Dataset, dataset, ("dataset",)),
            "network": self.section(schema.UNet, self.raw.get("network", {}), ("network",)),
            "start": self.section(schema.Start, self.raw.get("start", {}), ("start",)),
            "classifiers": self.named(
                "classifiers",
                {**DEFAULT_CLASSIFIERS, **self.mapping("classifiers")},
                self.classifier_family,
            ),
            "methods": self.methods(),
            "evaluation": self.section(schema.Evaluation, self.raw.get("evaluation", {}), ("evaluation",)),
            "toys": self.named("toys", self.mapping("toys"), lambda raw, where: outputs.Toy),
            "figures": self.named("figures", self.mapping("figures", DEFAULT_FIGURES), self.figure_kind),
            "tables": self.named("tables", self.mapping("tables", DEFAULT_TABLES), self.table_kind),
            "assets": self.section(schema.Assets, self.raw.get("assets", {}), ("assets",)),
            "execution": self.section(schema.Execution, self.raw.get("execution", {}), ("execution",)),
        }
        self.stop_if_mistaken()
        experiment = self.section(Experiment, sections, ())
        self.stop_if_mistaken()
        assert isinstance(experiment, Experiment)
        cross_check(experiment, self.mistake_of_method)
        self.stop_if_mistaken()
        return experiment

    def stop_if_mistaken(self) -> None:
        if self.mistakes:
            raise UserError("\n".join(dict.fromkeys(self.mistakes)))

    def mistake(self, where: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, where))
        shown = "" if value is _ABSENT else f" = {value!r}"
        self.mistakes.append(f"{self.source(where)}: {key}{shown}: {problem}")

    def source(self, where: Sequence[Any]) -> str:
        """The file, or --config, that has the last word on this key or on its nearest parent."""
        for depth in range(len(where), 0, -1):
            for name, layer in reversed(self.layers):
                if _has(layer, where[:depth]):
                    return str(name)
        return self.layers[0][0]

    def mistake_of_method(self, where: Sequence[Any], value: Any, problem: str) -> None:
        """Note a mistake; one in what methods inherit is reported where it was said, and once."""
        own = self.raw["methods"]
        if where[0] == "methods" and not (isinstance(own, dict) and where[2] in (own.get(where[1]) or {})):
            where = where[2:] if where[2] in ("batch_sizes", "seeds") else where
        self.mistake(where, value, problem)

    def mapping(self, key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        value = self.raw.get(key, default if default is not None else {})
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            for item in sorted({item for item in value if value.count(item) > 1}):
                self.mistake((key,), value, f"{item} stands twice")
            value = dict.fromkeys(value)
        if not isinstance(value, dict):
            self.mistake((key,), value, f"must be a mapping of names to options, not {_kind(value)}")
            return {}
        return value

    def named(self, key: str, raws: dict[str, Any], kind: Any) -> dict[str, Section]:
        """Build a mapping of named sections; ``kind(raw, where)`` says of which class each is."""
        sections = {}
        for name, raw in raws.items():
            model = kind(raw, (key, name))
            section = self.section(model, raw or {}, (key, name)) if model else None
            if section is not None:
                sections[name] = section
        return sections

    def classifier_family(self, raw: Any, where: tuple[str, ...]) -> type[Section] | None:
        family = raw.get("family", "vgg") if isinstance(raw, dict) else "vgg"
        if family not in schema.CLASSIFIERS:
            self.mistake((*where, "family"), family, f"unknown family; {choices(family, schema.CLASSIFIERS)}")
            return None
        return schema.CLASSIFIERS[family]

    def figure_kind(self, raw: Any, where: tuple[str, ...]) -> type[Section] | None:
        kind = raw.get("kind") if isinstance(raw, dict) else raw
        if kind not in FIGURES:
            self.mistake((*where, "kind"), kind, f"unknown figure; {choices(kind, FIGURES)}")
            return None
        return FIGURES[kind]

    def table_kind(self, raw: Any, where: tuple[str, ...]) -> type[Section] | None:
        kind = raw.get("kind", "scores") if isinstance(raw, dict) else raw or "scores"
        if kind not in TABLES:
            self.mistake((*where, "kind"), kind, f"unknown table; {choices(kind, TABLES)}")
            return None
        return TABLES[kind]

    def methods(self) -> dict[str, Section]:
        """Every method, swept: an option given as a list stands for one method for each of its values."""
        raws = self.mapping("methods")
        if not raws:
            self.mistake(("methods",), self.raw.get("methods", _ABSENT), "no method is asked for")
        training = self.raw.get("training") or {}
        if not isinstance(training, dict):
            self.mistake(("training",), training, f"must be a mapping, not {_kind(training)}")
            training = {}
        shared_fields = set.union(*(set(_fields(model)) for model in schema.METHODS.values()))
        shared_fields -= {"loss", "label", "batch_sizes", "seeds"}
        for key in training:
            if key not in shared_fields:
                self.mistake(("training", key), training[key], f"unknown key; {choices(key, sorted(shared_fields))}")
        methods: dict[str, Section] = {}
        for name, options in raws.items():
            where = ("methods", name)
            if options is not None and not isinstance(options, dict):
                self.mistake(where, options, f"must be a mapping of options, not {_kind(options)}")
                continue
            own = dict(options or {})
            loss = own.setdefault("loss", name)
            if loss not in schema.METHODS:
                key = "loss" if "loss" in (options or {}) else None
                self.mistake(
                    (*where, key) if key else where,
                    loss if key else _ABSENT,
                    f"unknown method; {choices(loss, schema.METHODS)}"
                    + ("" if key else " (or name one of these as its loss)"),
                )
                continue
            model = schema.METHODS[loss]
            fields = _fields(model)
            inherited = {key: value for key, value in training.items() if key in fields}
            for key in ("batch_sizes", "seeds"):
                if key in self.raw:
                    inherited[key] = self.raw[key]
            for variant, raw in _sweep({**inherited, **own}, fields):
                method = self.section(model, raw, where, inherited=frozenset(inherited) - set(own))
                if method is not None:
                    label = method.label or schema.METHOD_LABELS[loss]  # type: ignore[attr-defined]
                    label = f"{label} ({variant})" if variant else label
                    key = f"{name} {variant}".strip()
                    methods[key] = method.model_copy(update={"label": label})
        return methods

    def section(
        self, model: type[Section], raw: Any, where: tuple[str, ...], inherited: frozenset[str] = frozenset()
    ) -> Section | None:
        """Build one section, or note its mistakes; ``inherited`` keys came from ``training`` or the top."""
        if raw is None and where:
            self.mistake(where, _ABSENT, "is missing" if where[0] not in self.raw else "is empty")
            return None
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                loc = tuple(part for part in detail["loc"] if part != "[key]")
                place = (*where, *loc)
                if loc and loc[0] in inherited:
                    place = loc if loc[0] in ("batch_sizes", "seeds") else ("training", *loc)
                value = _ABSENT if detail["type"] in ("missing", "value_error") else detail["input"]
                self.mistake(place, value, _problem(model, loc, detail))
            return None


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT: Any = _Absent()


def _has(node: Any, keys: Sequence[Any]) -> bool:
    for key in keys:
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


def _sweep(raw: dict[str, Any], fields: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Spell out options given as lists where one value is expected: (name of the variant, options)."""
    swept = [
        key
        for key, value in raw.items()
        if isinstance(value, list) and value and key in fields and not _takes_list(fields[key])
    ]
    variants = []
    for values in itertools.product(*(raw[key] for key in swept)):
        chosen = dict(zip(swept, values, strict=True))
        variants.append((" ".join(f"{key}={value}" for key, value in chosen.items()), {**raw, **chosen}))
    return variants


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """The names that a file may use, with their types."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _takes_list(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _takes_list(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_takes_list(part) for part in get_args(annotation))
    return get_origin(annotation) is list


def _model_at(model: type[BaseModel], loc: Sequence[Any]) -> type[BaseModel]:
    """The section that holds the last key of ``loc``."""
    for key in loc[:-1]:
        field = model.model_fields.get(str(key))
        annotation = field.annotation if field else None
        for part in (annotation, *get_args(annotation)):  # a section, or a section that may be absent
            if isinstance(part, type) and issubclass(part, BaseModel):
                model = part
    return model


def _problem(model: type[BaseModel], loc: Sequence[Any], detail: Any) -> str:
    """One phrase for one of pydantic's complaints."""
    kind, context = detail["type"], detail.get("ctx", {})
    known = {
        "missing": "is missing",
        "too_short": "the list is empty",
        "model_type": f"must be a mapping of options, not {_kind(detail['input'])}",
    }
    if kind in known:
        return known[kind]
    if kind == "extra_forbidden":
        return f"unknown key; {choices(loc[-1], _fields(_model_at(model, loc)))}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        field = _model_at(model, loc).model_fields.get(str(loc[-1]))
        options = _literals(field.annotation) if field else []
        return f"unknown; {choices(detail['input'], options)}" if options else f"must be {context['expected']}"
    message = str(detail["msg"])
    message = message.removeprefix("Input should be ").removeprefix("String should ")
    return f"must be {message}" if message != detail["msg"] else message


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
