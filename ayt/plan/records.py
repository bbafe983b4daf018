"""What a run is: every number that changes its weights, and the name that follows from it.

A run's record (``run.yaml``) holds one of these specifications. Its name ends in eight digits of a hash over the
whole of it, everything upstream included, so that two experiments that ask for the same training share it and no
two trainings share a folder.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ayt.base import yamlio
from ayt.experiment.schema import Dataset
from ayt.base.errors import UserError

TRAINING_VERSION = 2
"""Raise it by hand when a change of the code changes the weights that some specification leads to."""

EVALUATION_VERSION = 3
"""Raise it by hand when a change of the code changes the scores of some snapshot."""

ANALYSIS_VERSION = 1
"""Raise it by hand when a change of the code changes what an analysis or a toy experiment finds."""

RECORD_FORMAT = 2
"""Of ``run.yaml``; a newer one is refused."""


def digest(value: object) -> str:
    """Eight hexadecimal digits of the SHA-256 of ``value`` as JSON; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UNetSpec(_Spec):
    """The DDPM++ U-Net of `ayt.networks.modules.ddpmpp`."""

    channels: int
    channel_mult: list[int]
    blocks: int
    attention: list[int]


class VGGSpec(_Spec):
    """The network of `ayt.networks.modules.vgg`."""

    family: Literal["vgg"] = "vgg"
    widths: list[int]
    convs: list[int]
    batch_norm: bool
    pool: bool


class ResNetSpec(_Spec):
    """The network of `ayt.networks.modules.resnet`."""

    family: Literal["resnet"] = "resnet"
    widths: list[int]
    blocks: int


class DenseNetSpec(_Spec):
    """The network of `ayt.networks.modules.densenet`."""

    family: Literal["densenet"] = "densenet"
    growth: int
    blocks: list[int]
    compression: float


class ViTSpec(_Spec):
    """The network of `ayt.networks.modules.vit`."""

    family: Literal["vit"] = "vit"
    patch: int
    dim: int
    depth: int
    heads: int
    head_dim: int
    mlp: int


FeatureNetworkSpec = Annotated[VGGSpec | ResNetSpec | DenseNetSpec | ViTSpec, Field(discriminator="family")]


class Optimiser(_Spec):
    """RAdam without weight decay, and what surrounds it. ``decay``: iterations after which lr is 0, or None."""

    lr: float
    warmup: int
    decay: int | None
    ema: float
    precision: Literal["fp32", "tf32", "bf16"]


class _RunSpec(_Spec, ABC):
    version: int = TRAINING_VERSION
    dataset: Dataset
    batch_size: int
    seed: int
    optimiser: Optimiser

    @property
    def name(self) -> str:
        """``{loss}-bs{batch}-seed{seed}-{hash8}`` for a consistency model; others begin with their kind."""
        return f"{self.stem}-bs{self.batch_size}-seed{self.seed}-{digest(self.model_dump())}"

    @property
    @abstractmethod
    def stem(self) -> str:
        """What the run's name begins with."""


class PretrainSpec(_RunSpec):
    """A diffusion model."""

    kind: Literal["pretrain"] = "pretrain"
    network: UNetSpec
    dropout: float
    sigma_mean: float
    sigma_std: float

    @property
    def stem(self) -> str:
        """What the run's name begins with."""
        return self.kind


class ClassifierSpec(_RunSpec):
    """A transformation classifier (``group``, ``probability`` and ``ramp`` given), or a class-label network."""

    kind: Literal["classifier"] = "classifier"
    task: Literal["transformations", "labels"]
    network: FeatureNetworkSpec
    group: str | None = None
    probability: float | None = None
    ramp: int | None = None

    @property
    def stem(self) -> str:
        """What the run's name begins with."""
        return f"classifier_{self.group or self.task}"


class PretrainUpstream(_Spec):
    """Weights taken from a pretraining at one iteration."""

    iteration: int
    run: PretrainSpec


class ClassifierUpstream(_Spec):
    """Weights taken from a classifier's training at one iteration."""

    iteration: int
    run: ClassifierSpec


class DenoiserCheckpoint(_Spec):
    """A denoiser's published weights: the name of the asset or of the imported file, and the network they fill."""

    checkpoint: str
    network: UNetSpec


class ClassifierCheckpoint(_Spec):
    """A feature network's published weights. ``group``: what it recognises, for a transformation classifier."""

    checkpoint: str
    network: FeatureNetworkSpec
    group: str | None = None


class Times(_Spec):
    """How t and r are drawn: ln t ~ N(mean, std^2); r = t (1 - n(t) / q^(stage+1)), clipped at 0."""

    mean: float
    std: float
    q: float
    n: Literal["sigmoid", "const"]
    k: float
    b: float
    stage_iterations: int | None


class LossSpec(_Spec):
    """The loss, with the options it reads: ``c`` of pseudo-Huber, ``lambda_`` and ``ramp`` of a hybrid."""

    name: Literal["ect", "l1", "l2", "ayt", "lpips", "label_features", "hybrid"]
    c: float | None = None
    lambda_: float | None = None
    ramp: int | None = None


class ConsistencySpec(_RunSpec):
    """A consistency model. ``start`` and ``classifier`` are the weights that it is made from."""

    kind: Literal["train"] = "train"
    loss: LossSpec
    dropout: float
    times: Times
    start: PretrainUpstream | DenoiserCheckpoint
    classifier: ClassifierUpstream | ClassifierCheckpoint | None = None

    @property
    def stem(self) -> str:
        """What the run's name begins with."""
        return self.loss.name

    @property
    def network(self) -> UNetSpec:
        """The network of the weights it starts from."""
        return self.start.run.network if isinstance(self.start, PretrainUpstream) else self.start.network


RunSpec = Annotated[PretrainSpec | ClassifierSpec | ConsistencySpec, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[PretrainSpec | ClassifierSpec | ConsistencySpec] = TypeAdapter(RunSpec)


def record_text(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> str:
    """The text of a run's record."""
    record = {"format": RECORD_FORMAT, "name": spec.name, "spec": spec.model_dump(mode="json")}
    return (
        "# Every number that changes this run's weights. Written by the workflow; changing it makes it useless.\n"
        + (yamlio.dump(record))
    )


def parse_spec(value: object, source: str) -> PretrainSpec | ClassifierSpec | ConsistencySpec:
    """Check a specification read from ``source``.

    Raises:
        UserError: it is not one that this version understands.
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"]))
        raise UserError(f"{source}: not the specification of a run: {key}: {detail['msg']}") from None


def read_record(path: Path) -> PretrainSpec | ClassifierSpec | ConsistencySpec:
    """Read ``run.yaml``.

    Raises:
        UserError: the file is missing, not a run's record, of a newer format, or was edited.
    """
    record = yamlio.read(path)
    if not isinstance(record, dict) or not {"format", "name", "spec"} <= set(record):
        raise UserError(f"{path}: not a run's record (run.yaml)")
    if record["format"] != RECORD_FORMAT:
        raise UserError(f"{path}: format {record['format']!r} is not known here; this version reads {RECORD_FORMAT}")
    spec = parse_spec(record["spec"], str(path))
    if spec.name != record["name"]:
        raise UserError(f"{path}: was edited: its numbers belong to {spec.name}, not to {record['name']}")
    return spec
