"""What an experiment file may say, and every default.

An experiment states only what differs from the defaults. Sizes are counts, ``lr`` is per optimiser iteration, noise
levels ``t`` and ``sigma`` are in units of images in [-1, 1], lengths of schedules are in iterations. The options of
methods, datasets, networks, figures and tables are defined with these kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ayt.base.paths import ASSET_TABLE
from ayt.base.sections import (
    Choices,
    Count,
    Counts,
    FileName,
    Fraction,
    Line,
    Name,
    NoiseLevels,
    Place,
    Positive,
    Section,
    Seeds,
    Whole,
    Width,
    check_divides,
)
from ayt.datasets.base import DATASETS, Dataset
from ayt.experiment.outputs import FIGURES, TABLES, Figure, Table, is_shown
from ayt.methods.base import METHODS, Method, base_name
from ayt.methods.classification import ClassifierTraining
from ayt.methods.mid_training import MidTraining
from ayt.methods.pretraining import Pretraining
from ayt.networks.base import DENOISERS, FEATURE_NETWORKS, Denoiser, FeatureNetwork

MethodName = Annotated[Line, Field(min_length=1)]

MAX_JOBS = 100_000
"""`execution.max_jobs`, unless an experiment sets it."""

INCEPTION = "inception"
"""The name of FID's network in `evaluation.features`."""


class Start(Section):
    """Where consistency training starts: a published checkpoint, or a diffusion model pretrained here."""

    pretrain: Pretraining | None = None
    """How the diffusion model is pretrained; absent, and without a checkpoint: the defaults."""
    checkpoint: FileName | None = None
    """An asset from the table of assets, or the name of a file imported by `ayt import-checkpoint`."""
    mid_train: MidTraining | None = None
    """Training between the diffusion model and consistency training; absent: none."""

    @model_validator(mode="after")
    def _one_start(self) -> Start:
        if self.pretrain and self.checkpoint:
            raise ValueError("names both pretrain and checkpoint; choose one")
        return self

    @property
    def pretraining(self) -> Pretraining | None:
        """How to pretrain; None if a checkpoint is the start."""
        return None if self.checkpoint else self.pretrain or Pretraining()


class Classifier(Section):
    """A feature network and its training; in a file, the settings of both are in the same mapping."""

    network: FeatureNetwork
    training: ClassifierTraining
    checkpoint: FileName | None = None
    """Published weights instead of training: an asset, or the name of a file imported by `ayt import-checkpoint`."""

    @model_validator(mode="after")
    def _learnable(self) -> Classifier:
        if self.training.task not in self.network.tasks:
            tasks = " or ".join(self.network.tasks)
            raise ValueError(f"a network of the family {self.network.name} learns {tasks}, not {self.training.task}")
        return self


class Evaluation(Section):
    """How snapshots are scored."""

    steps: Counts = [1, 2]
    """Numbers of sampling steps; each snapshot is scored with each of them."""
    mids: dict[Count, list[Positive]] = {2: [0.821]}
    """For each number of steps above 1, the intermediate noise levels, in decreasing order."""
    samples: Annotated[int, Field(ge=2, le=10_000_000)] = 50_000
    """Images sampled to compute a metric once."""
    repeats: Width = 3
    """Sampling runs per snapshot; scores are reported as their mean and standard deviation."""
    batch_size: Count = 500
    """Images sampled at a time; scores do not depend on it."""
    metrics: Annotated[list[str], Field(min_length=1), Choices] = ["frechet"]
    """Metrics to show. Metrics of samples are always computed; metrics of denoised images only if listed here."""
    features: Name = "labels"
    """The network whose features are compared: `inception` (then `frechet` is FID), or a classifier's name."""
    reference: FileName = "dataset"
    """Source of the feature statistics (mean and covariance) of real images: `dataset`, or an asset."""
    denoise: NoiseLevels = [0.2, 0.4, 0.8]
    """Noise levels t for `denoised_frechet` and `lpips`: real images are noised to t and denoised in one step."""
    convention: Literal["ayt", "ect"] = "ayt"
    """`ayt`: each step ends at noise level 0.002; `ect`: each step ends at the denoised image."""
    seed: Whole = 0
    """Seed of the sampling noise."""
    precision: Literal["tf32", "bf16"] = "tf32"
    """Precision of the sampled network. `tf32`: PyTorch's default on a GPU, convolutions in TF32; `bf16`: in bfloat16,
    which is faster there, and a different score with its own name. Features are always computed in `tf32`."""
    grid: Width = 64
    """Number of samples kept as images, for sample figures."""

    @model_validator(mode="after")
    def _middle_times(self) -> Evaluation:
        for steps in self.steps:
            mids = self.mids.get(steps, [])
            if len(mids) != steps - 1:
                raise ValueError(f"steps {steps} needs {steps - 1} middle times in mids.{steps}, not {len(mids)}")
            if sorted(mids, reverse=True) != mids or any(not 0.002 < mid < 80 for mid in mids):
                raise ValueError(f"mids.{steps} = {mids}: must decrease, between 80 and 0.002")
        return self


class AnchorSettings(Section):
    """Weights not trained here, scored like snapshots, to check that the evaluation reproduces published numbers.

    Tables `methods` and `scores` have a row for each.
    """

    checkpoint: FileName | None = None
    """An asset from the table of assets, or the name of a file imported by `ayt import-checkpoint`; it must fit the
    experiment's network. Absent: the diffusion model that training starts from."""
    sampler: Literal["heun", "consistency"] = "heun"
    """`heun`: EDM's second-order sampler, for diffusion models; `consistency`: the sampler used for snapshots, for
    consistency models. The weights themselves do not say which kind they are."""
    steps: Annotated[int, Field(ge=1, le=10_000)]
    """Sampling steps. `heun`: n steps evaluate the network 2n - 1 times; `consistency`: one of `evaluation.steps`."""
    label: Line | None = None
    """Name in tables; absent: the anchor's own name. The table `methods` shows beside it what is published for a method
    of this name with the same number of network evaluations."""
    iterations: Count | None = None
    """Training iterations of the weights, to pick the matching one of several published numbers."""


class Toy(Section):
    """Consistency models of points on a manifold that is known exactly, with pixel and feature distances."""

    manifold: Literal["curve", "surface"] = "curve"
    """A closed curve in the plane, or a surface in eight dimensions."""
    seeds: Seeds = [0, 1, 2]
    """One toy experiment per seed; figures show the mean over them."""
    batch_size: Count = 128
    """Points per batch, in all training runs."""
    iterations: Count = 2000
    """Training iterations of each consistency model."""
    lr: Positive = 2e-3
    """Learning rate of all training runs."""
    ema: Fraction = 0.99
    """Decay of the exponential moving average of the weights, per iteration."""
    width: Width = 128
    """Width of the hidden layers, in all networks."""
    depth: Width = 4
    """Number of hidden layers, in all networks."""
    pretrain_iterations: Count = 2000
    """Training iterations of the diffusion model that the consistency models start from."""
    classifier_iterations: Count = 3000
    """Training iterations of the feature network."""
    measure_every: Count = 100
    """Iterations between measurements of the tangents."""

    @model_validator(mode="after")
    def _whole_measurements(self) -> Toy:
        check_divides(self.measure_every, self.iterations, "measure_every", "iterations")
        return self


class Execution(Section):
    """Where and how jobs run. Nothing here changes weights or scores, so changing it reruns nothing."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto`: the first GPU, or the CPU if there is none."""
    log_every: Count = 100
    """Iterations between rows of the training log."""
    resume_seconds: Positive = 120.0
    """Seconds between saved resume states."""
    threads: Width = 1
    """CPU threads of each process that trains or scores."""
    processes: Width = 1
    """Processes that share a training run or a scoring job, each with its own GPU if there are GPUs; more than one
    needs the Snakemake executor `submitit`. Batch sizes are still those of all processes together."""
    nodes: Width = 1
    """Number of machines that the processes are spread over."""
    max_jobs: Annotated[int, Field(ge=1, le=10_000_000)] = MAX_JOBS
    """The most training jobs and scores an experiment may ask for: a guard against mistyped numbers. Raise it if you
    mean to exceed it."""
    sinks: list[Literal["tensorboard", "wandb"]] = []
    """Where training logs are sent as well."""
    compile: Literal["auto", True, False] = "auto"
    """Whether trained and sampled networks go through torch.compile; `auto`: on a GPU, if a segment or a scoring job is
    long enough to benefit."""
    replay: Literal["auto", "never"] = "auto"
    """`auto`: a GPU records an iteration, or a batch of samples, as a CUDA graph and replays it, where possible;
    `never`: each is launched anew, which is slower."""
    data: Literal["auto", "device", "host"] = "auto"
    """Where training keeps the dataset. `device`: whole on the GPU; `host`: in memory or in a memory map, from which
    each batch is copied while the one before is used; `auto`: `host` if it would take a quarter of the GPU's memory."""
    channels_last: bool = True
    """Whether images are stored in channels-last memory format."""
    microbatch: Count | None = None
    """Images that go through a denoiser at a time, if a batch does not fit; gradients are accumulated. Absent: the
    batch. Classifiers always see the whole batch, as batch norm and the transformations require."""


class Assets(Section):
    """Where published files come from."""

    table: Place = str(ASSET_TABLE)
    """The table of assets: download addresses and hashes."""
    prefetched: Place | None = None
    """A folder of files fetched beforehand, searched first."""


class Experiment(Section):
    """One experiment file, with every default filled in and every sweep expanded."""

    name: Name
    extensions: list[Place] = []
    """Python files that define custom methods, datasets, metrics, figures and so on; they are executed."""
    dataset: Dataset
    network: Denoiser
    start: Start
    classifiers: dict[Name, Classifier]
    methods: dict[MethodName, Method]
    evaluation: Evaluation
    anchors: dict[Name, AnchorSettings]
    toys: dict[Name, Toy]
    figures: dict[Name, Figure]
    tables: dict[Name, Table]
    assets: Assets
    execution: Execution

    @property
    def method_names(self) -> list[str]:
        """The names by which figures and tables may choose methods, with and without the variants of sweeps."""
        return sorted({base_name(key) for key in self.methods} | set(self.methods))

    def choose_methods(self, names: Sequence[str]) -> list[str]:
        """The methods with the given names, each variant of a sweep separately; without names, all methods."""
        return [method for method in self.methods if is_shown(names, method, base_name(method))]

    def batch_sizes(self, methods: Sequence[str] | None = None) -> list[int]:
        """The batch sizes of the given methods; None: of all methods."""
        chosen = self.methods if methods is None else methods
        return sorted({size for name in chosen for size in self.methods[name].batch_sizes})

    def seeds(self, methods: Sequence[str] | None = None) -> list[int]:
        """The seeds of the given methods; None: of all methods."""
        chosen = self.methods if methods is None else methods
        return sorted({seed for name in chosen for seed in self.methods[name].seeds})

    def content(self, only_differences: bool = False) -> dict[str, Any]:
        """The experiment as a file spells it; ``only_differences``: without settings at their defaults."""

        def plain(section: Section) -> dict[str, Any]:
            return section.model_dump(by_alias=True, exclude_defaults=only_differences)

        def network(settings: Denoiser | FeatureNetwork, default: str | None, key: str) -> dict[str, Any]:
            family = {} if only_differences and settings.name == default else {key: settings.name}
            return {**family, **plain(settings)}

        def classifier(entry: Classifier) -> dict[str, Any]:
            head = network(entry.network, FEATURE_NETWORKS.default, FEATURE_NETWORKS.key)
            if entry.checkpoint is None:
                return {**head, **plain(entry.training)}
            training = {key: value for key, value in plain(entry.training).items() if key in ("task", "group")}
            return {**head, "checkpoint": entry.checkpoint, **training}

        return {
            "name": self.name,
            **({"extensions": self.extensions} if self.extensions else {}),
            "dataset": {DATASETS.key: self.dataset.name, **plain(self.dataset)},
            "network": network(self.network, DENOISERS.default, DENOISERS.key),
            "start": plain(self.start),
            "classifiers": {name: classifier(entry) for name, entry in self.classifiers.items()},
            "methods": {name: {METHODS.key: method.name, **plain(method)} for name, method in self.methods.items()},
            "evaluation": plain(self.evaluation),
            **({"anchors": {name: plain(anchor) for name, anchor in self.anchors.items()}} if self.anchors else {}),
            "toys": {name: plain(toy) for name, toy in self.toys.items()},
            "figures": {name: {FIGURES.key: figure.name, **plain(figure)} for name, figure in self.figures.items()},
            "tables": {name: {TABLES.key: table.name, **plain(table)} for name, table in self.tables.items()},
            "assets": plain(self.assets),
            "execution": plain(self.execution),
        }
