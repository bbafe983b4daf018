"""What an experiment file may say, and every default; of figures and tables `ayt.experiment.outputs` says it.

An experiment states only what differs from the defaults below. Sizes are counts, ``lr`` is per iteration of the
optimiser, noise levels ``t`` and ``sigma`` are in the units of the images in [-1, 1], lengths of schedules are in
iterations. What changes the weights of a run is copied by `ayt.plan.plan` into the run's specification.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ayt.base.sections import (
    Choices,
    Count,
    Counts,
    FileName,
    Fraction,
    Groups,
    Metric,
    Name,
    NonNegative,
    Positive,
    Probability,
    Section,
    Whole,
    check_divides,
)
from ayt.experiment.outputs import AnyFigure, AnyTable, Toy
from ayt.base.paths import ASSET_TABLE


class Dataset(Section):
    """What is learnt. The file may give the name alone."""

    name: Literal["digits", "photos", "cifar10"]
    crops: Count = 6000
    """`photos`: how many 32x32 crops are cut."""


class UNet(Section):
    """The DDPM++ U-Net; the defaults are EDM's network for CIFAR-10 (55.7M parameters)."""

    channels: Count = 128
    channel_mult: Annotated[list[Count], Field(min_length=1)] = [2, 2, 2]
    blocks: Count = 4
    attention: list[Count] = [16]
    """Resolutions that have self-attention."""

    @model_validator(mode="after")
    def _whole_groups(self) -> UNet:
        # Group norms have groups of 4 channels, and at most 32 groups; skips make stages twice as wide.
        unit = 4 if 2 * self.channels * max(self.channel_mult) <= 128 else 32
        if self.channels % unit:
            raise ValueError(f"channels {self.channels} is not a multiple of {unit}, as its group norms need")
        return self


class Optimisation(Section):
    """What every training has."""

    iterations: Count
    segment: Count | None = None
    """Iterations trained by one job; absent: all."""
    lr: Positive
    warmup: Whole = 0
    """Iterations over which the learning rate rises linearly from 0."""
    ema: Fraction = 0.0
    """Decay of the exponential moving average of the weights, for each iteration; 0: the weights themselves."""
    precision: Literal["fp32", "tf32", "bf16"] = "tf32"
    """`tf32`: PyTorch's default on a GPU, convolutions in TF32 and matrix products in float32, as in the paper; `fp32`:
    everything in float32; `bf16`: the trained network in bfloat16, weights and losses in float32."""

    @model_validator(mode="after")
    def _whole_segments(self) -> Optimisation:
        check_divides(self.segment, self.iterations, "segment", "iterations")
        return self


class Pretraining(Optimisation):
    """A diffusion model trained with EDM's denoising loss, where no published checkpoint is used."""

    iterations: Count = 200_000
    batch_size: Count = 512
    lr: Positive = 1e-3
    warmup: Whole = 200
    decay: bool = True
    """The learning rate falls linearly to 0 at the end: another number of iterations is then another run."""
    ema: Fraction = 0.999
    dropout: Fraction = 0.13
    sigma_mean: float = -1.2
    """Mean of ln sigma."""
    sigma_std: Positive = 1.2
    seed: Whole = 0


class Start(Section):
    """Where consistency training starts: a published checkpoint, or a diffusion model pretrained here."""

    pretrain: Pretraining | None = None
    """Absent, and no checkpoint: the defaults."""
    checkpoint: FileName | None = None
    """An asset of the table of assets, or the name of a file imported by `ayt import-checkpoint`."""

    @model_validator(mode="after")
    def _one_start(self) -> Start:
        if self.pretrain and self.checkpoint:
            raise ValueError("names both pretrain and checkpoint; choose one")
        return self

    @property
    def pretraining(self) -> Pretraining | None:
        """How to pretrain; None where a checkpoint is the start."""
        return None if self.checkpoint else self.pretrain or Pretraining()


class Classifier(Optimisation):
    """A feature network; the defaults are the training of the paper's transformation classifier."""

    checkpoint: FileName | None = None
    """Published weights instead of a training: an asset, or the name of a file imported by `ayt import-checkpoint`."""
    task: Literal["transformations", "labels"] = "transformations"
    group: Groups = "geo_clr_deg"
    probability: Probability = 0.15
    """Of each transformation being applied."""
    ramp: Whole | None = None
    """Iterations over which the probability rises from 0; absent: an eighth of all."""
    iterations: Count = 400_000
    batch_size: Count = 512
    lr: Positive = 1e-4
    decay: bool = False
    seed: Whole = 0

    @model_validator(mode="after")
    def _no_training_of_a_checkpoint(self) -> Classifier:
        trained = {*Classifier.model_fields, *Optimisation.model_fields} - {"checkpoint", "task", "group"}
        useless = sorted(self.model_fields_set & trained) if self.checkpoint else []
        if useless:
            raise ValueError(
                f"checkpoint {self.checkpoint}: is not trained here, so {', '.join(useless)} means nothing"
            )
        return self


class VGGClassifier(Classifier):
    """Stages of 3x3 convolutions; the defaults are the paper's network (VGG16 for 32x32)."""

    family: Literal["vgg"] = "vgg"
    widths: Annotated[list[Count], Field(min_length=1)] = [64, 128, 256, 512, 512]
    convs: Annotated[list[Count], Field(min_length=1)] = [2, 2, 3, 3, 3]
    batch_norm: bool = True
    pool: bool = True
    """Max-pools halve the resolution; without, each stage's last convolution does."""

    @model_validator(mode="after")
    def _same_length(self) -> VGGClassifier:
        if len(self.widths) != len(self.convs):
            raise ValueError(f"widths has {len(self.widths)} entries, convs {len(self.convs)}: one each a stage")
        return self


class ResNetClassifier(Classifier):
    """Groups of residual blocks; the defaults are ResNet-18 with a stem for 32x32."""

    family: Literal["resnet"] = "resnet"
    widths: Annotated[list[Count], Field(min_length=1)] = [64, 128, 256, 512]
    blocks: Count = 2
    """Of each group."""


class DenseNetClassifier(Classifier):
    """Bottleneck DenseNet."""

    family: Literal["densenet"] = "densenet"
    growth: Count = 16
    blocks: Annotated[list[Count], Field(min_length=1)] = [3, 6, 12, 8]
    compression: Annotated[float, Field(gt=0, le=1)] = 0.5


class ViTClassifier(Classifier):
    """A small vision transformer."""

    family: Literal["vit"] = "vit"
    patch: Count = 4
    dim: Count = 256
    depth: Count = 3
    heads: Count = 8
    head_dim: Count = 64
    mlp: Count = 2048


CLASSIFIERS: dict[str, type[VGGClassifier | ResNetClassifier | DenseNetClassifier | ViTClassifier]] = {
    "vgg": VGGClassifier,
    "resnet": ResNetClassifier,
    "densenet": DenseNetClassifier,
    "vit": ViTClassifier,
}
AnyClassifier = VGGClassifier | ResNetClassifier | DenseNetClassifier | ViTClassifier


class Method(Optimisation):
    """One way of consistency training; the defaults are the paper's settings for CIFAR-10."""

    label: str | None = None
    """How figures and tables call it; absent: the loss's usual name."""
    batch_sizes: Counts
    seeds: Annotated[list[Whole], Field(min_length=1), Choices] = [0]
    snapshot_every: Count | None = None
    """Iterations between snapshots; absent: one at the end of each segment."""
    iterations: Count = 400_000
    lr: Positive = 1e-4
    ema: Fraction = 0.9999
    dropout: Fraction = 0.2
    t_mean: float = -1.1
    """Mean of ln t."""
    t_std: Positive = 2.0
    q: Annotated[float, Field(gt=1)] = 256.0
    """r = t (1 - n(t) / q^(stage + 1))."""
    n: Literal["sigmoid", "const"] = "sigmoid"
    k: NonNegative = 8.0
    b: NonNegative = 1.0
    stage_iterations: Count | None = None
    """Iterations for which a stage lasts; absent: one stage for the whole run."""

    @model_validator(mode="after")
    def _whole_snapshots(self) -> Method:
        check_divides(self.snapshot_every, self.segment or self.iterations, "snapshot_every", "segment")
        return self

    @model_validator(mode="after")
    def _r_below_t(self) -> Method:
        last = (self.iterations - 1) // self.stage_iterations if self.stage_iterations else 0
        if self.q ** -(last + 1) < 2.0**-23:
            raise ValueError(
                f"stage_iterations {self.stage_iterations} reaches stage {last}, where q {self.q:g} makes r equal t in "
                f"float32 and the weight 1 / (t - r) infinite"
            )
        return self


class Ect(Method):
    """Easy Consistency Tuning: the pseudo-Huber distance of pixels."""

    loss: Literal["ect"] = "ect"
    c: NonNegative = 0.0


class L1(Method):
    """Unit steps along the gradient of the L1 distance of pixels."""

    loss: Literal["l1"] = "l1"


class L2(Method):
    """Unit steps along the gradient of the squared L2 distance of pixels."""

    loss: Literal["l2"] = "l2"


class Ayt(Method):
    """Align Your Tangent: unit steps along the gradient of the manifold feature distance."""

    loss: Literal["ayt"] = "ayt"
    classifier: Name = "transformations"


class Lpips(Method):
    """Unit steps along the gradient of LPIPS (VGG16, the lpips package)."""

    loss: Literal["lpips"] = "lpips"


class LabelFeatures(Method):
    """Unit steps along an LPIPS-like distance in a class-label network's features; not LPIPS itself."""

    loss: Literal["label_features"] = "label_features"
    classifier: Name = "labels"


class Hybrid(Method):
    """ECT's loss + lambda * ramp * AYT's loss."""

    loss: Literal["hybrid"] = "hybrid"
    classifier: Name = "transformations"
    c: NonNegative = 0.0
    lambda_: Annotated[float, Field(gt=0, alias="lambda")] = 1.0
    ramp: Whole = 5000
    """Iterations over which AYT's part rises from 0."""


METHODS: dict[str, type[Ect | L1 | L2 | Ayt | Lpips | LabelFeatures | Hybrid]] = {
    "ect": Ect,
    "ayt": Ayt,
    "lpips": Lpips,
    "label_features": LabelFeatures,
    "l1": L1,
    "l2": L2,
    "hybrid": Hybrid,
}
METHOD_LABELS = {
    "ect": "ECT",
    "ayt": "AYT",
    "lpips": "LPIPS",
    "label_features": "class-label features",
    "l1": "L1",
    "l2": "L2",
    "hybrid": "ECT + AYT",
}


def base_name(method: str) -> str:
    """The experiment's name of a method, without the variant of a sweep."""
    return method.split(" ", maxsplit=1)[0]


class Evaluation(Section):
    """How snapshots are scored."""

    steps: Counts = [1, 2]
    mids: dict[Count, list[Positive]] = {2: [0.821]}
    """For each number of steps above 1, the noise levels between the steps, falling."""
    samples: Annotated[int, Field(ge=2)] = 50_000
    repeats: Count = 3
    batch_size: Count = 500
    metrics: Annotated[list[Metric], Field(min_length=1), Choices] = ["frechet"]
    features: Name = "labels"
    """The network in whose features images are compared: `inception` (then `frechet` is FID), or a classifier."""
    reference: FileName = "dataset"
    """Where the mean and covariance of the features of real images come from: `dataset`, or an asset."""
    kept: Annotated[int, Field(ge=2)] = 10_000
    """Features that KID, precision, recall, density and coverage compare, of samples and of real images."""
    denoise: Annotated[list[Positive], Field(min_length=1), Choices] = [0.2, 0.4, 0.8]
    """Noise levels of `denoised_frechet` and `lpips`: real images are noised to t and denoised in one step."""
    convention: Literal["ayt", "ect"] = "ayt"
    """`ayt`: steps end at noise level 0.002; `ect`: they end at the denoised image."""
    seed: Whole = 0
    grid: Count = 64
    """Samples kept as images."""

    @model_validator(mode="after")
    def _middle_times(self) -> Evaluation:
        if {"denoised_frechet", "lpips"} & set(self.metrics) and 1 not in self.steps:
            raise ValueError("denoised_frechet and lpips are scores of one step: add 1 to steps")
        for steps in self.steps:
            mids = self.mids.get(steps, [])
            if len(mids) != steps - 1:
                raise ValueError(f"steps {steps} needs {steps - 1} middle times in mids.{steps}, not {len(mids)}")
            if sorted(mids, reverse=True) != mids or any(not 0.002 < mid < 80 for mid in mids):
                raise ValueError(f"mids.{steps} = {mids}: must fall, between 80 and 0.002")
        return self


class Execution(Section):
    """Where and how jobs run; nothing here changes weights or scores, so nothing here makes anything rerun."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    log_every: Count = 100
    """Iterations between rows of the training log."""
    resume_seconds: Positive = 120.0
    """Seconds between resume states."""
    threads: Count = 1
    """CPU threads of a process that trains or scores."""
    processes: Count = 1
    """Processes that share a training or a scoring, each with a GPU where there are GPUs; more than one need
    Snakemake's executor submitit. Batch sizes stay those of the whole."""
    nodes: Count = 1
    """Machines that the processes are spread over."""
    sinks: list[Literal["tensorboard", "wandb"]] = []
    """Where training logs also go."""
    compile: bool = False
    """Trained networks go through torch.compile."""
    channels_last: bool = True
    """Images lie in memory with channels last."""
    microbatch: Count | None = None
    """Images that go through a denoiser at a time, where a batch does not fit: gradients are summed. Absent: the
    batch. Classifiers always see the whole batch, as batch norm and the transformations need."""


class Assets(Section):
    """Where published files come from."""

    table: str = str(ASSET_TABLE)
    """The table of assets: addresses and hashes."""
    prefetched: str | None = None
    """A folder of files fetched before, looked at first."""


class Experiment(Section):
    """One experiment file, with every default filled in and every sweep spelt out."""

    name: Name
    dataset: Dataset
    network: UNet = UNet()
    start: Start = Start()
    classifiers: dict[Name, Annotated[AnyClassifier, Field(discriminator="family")]]
    methods: dict[str, Annotated[Ect | L1 | L2 | Ayt | Lpips | LabelFeatures | Hybrid, Field(discriminator="loss")]]
    evaluation: Evaluation = Evaluation()
    toys: dict[Name, Toy] = {}
    figures: dict[Name, AnyFigure]
    tables: dict[Name, AnyTable]
    assets: Assets = Assets()
    execution: Execution = Execution()
