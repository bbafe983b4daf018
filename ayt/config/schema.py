"""What an experiment file may say, and every default.

An experiment states only what differs from the defaults below. Sizes are counts, ``lr`` is per iteration of the
optimiser, noise levels ``t`` and ``sigma`` are in the units of the images in [-1, 1], lengths of schedules are in
iterations. What changes the weights of a run is copied by `ayt.plan` into the run's specification.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ayt.paths import ASSET_TABLE

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _unique(values: list[Any]) -> list[Any]:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"{twice[0]} stands twice")
    return values


Choices = AfterValidator(_unique)
Counts = Annotated[list[Count], Field(min_length=1), Choices]
Groups = Literal["geo", "deg", "geo_clr", "geo_deg", "geo_clr_deg"]


class Section(BaseModel):
    """A part of an experiment file: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


def check_divides(part: int | None, whole: int | None, part_name: str, whole_name: str) -> None:
    """Raise ValueError unless ``part`` divides ``whole``; absent ones are not checked."""
    if part and whole and whole % part:
        raise ValueError(f"{part_name} {part} does not divide {whole_name} {whole}")


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


Metric = Literal[
    "frechet",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "inception_score",
    "denoised_frechet",
    "lpips",
]


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


class Figure(Section):
    """What figures share."""

    title: str = ""


class ScoreFigure(Figure):
    """What figures of scores share."""

    metric: Metric | None = None
    """Absent: the first of the evaluation's."""
    steps: list[Count] = []
    """Empty: all."""
    methods: list[str] = []
    """Empty: all."""
    batch_sizes: list[Count] = []
    """Empty: all."""


class FinalFigure(ScoreFigure):
    """Scores at the end of training by method and batch size."""

    kind: Literal["final"]


class CurvesFigure(ScoreFigure):
    """Scores over iterations."""

    kind: Literal["curves"]
    band: Literal["seeds", "repeats"] = "seeds"
    """What the bands span: seeds (none where there is one), or sampling runs of all seeds."""
    reference: str | None = None
    """The method that the others' speed is compared with; absent: `ect`, if it is shown."""


class SamplesFigure(Figure):
    """Samples of all runs at their end from the same noise."""

    kind: Literal["samples"]
    steps: Count = 1
    methods: list[str] = []
    """Empty: all."""
    seed: Whole | None = None
    """Of the runs that are shown; absent: each method's first."""
    columns: Count = 10


class TransformationsFigure(Figure):
    """The data, each transformation, and how well the classifier recognises it."""

    kind: Literal["transformations"]
    classifier: Name = "transformations"


Times = Annotated[list[Positive], Field(min_length=1), Choices]


class TangentsFigure(Figure):
    """For some images and noise levels: the noisy image, its denoised one, the tangents of pixels and of features."""

    kind: Literal["tangents"]
    method: str = "ayt"
    """Whose network; of several batch sizes the largest, of several seeds the first, unless the next keys say."""
    batch_size: Count | None = None
    seed: Whole | None = None
    classifier: Name = "transformations"
    images: Count = 64
    """Of which the first few are shown; cosines are means over all."""
    times: Times = [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0]
    """Noise levels t."""


class OscillationFigure(Figure):
    """Tangents of a trajectory over further training from the end: how they turn, how far along the data they point."""

    kind: Literal["oscillation"]
    methods: list[str] = []
    """Empty: all."""
    batch_size: Count | None = None
    """Absent: the smallest that each method has."""
    seed: Whole | None = None
    """Absent: each method's first."""
    iterations: Annotated[int, Field(ge=2)] = 64
    """Trained beyond the end; nothing of them is kept."""
    images: Count = 16
    times: Times = [0.2, 1.0, 5.0]
    neighbours: Annotated[int, Field(ge=2)] = 32
    """Images of the dataset next to the output, whose principal components are taken for the manifold's directions."""
    dimensions: Count = 8
    """How many of these."""


class ManifoldFigure(Figure):
    """A classifier's feature distance against the distance of images: real pairs, transformations, noise."""

    kind: Literal["manifold"]
    classifier: Name = "transformations"
    images: Annotated[int, Field(ge=2)] = 256


class Toy(Section):
    """Consistency models of points on a manifold that is known exactly, in the distance of pixels and of features."""

    manifold: Literal["curve", "surface"] = "curve"
    """A closed curve in the plane, or a surface in eight dimensions."""
    seeds: Annotated[list[Whole], Field(min_length=1), Choices] = [0, 1, 2]
    batch_size: Count = 128
    iterations: Count = 2000
    """Of each consistency model."""
    lr: Positive = 2e-3
    ema: Fraction = 0.99
    width: Count = 128
    """Of the layers of all networks."""
    depth: Count = 4
    pretrain_iterations: Count = 2000
    """Of the diffusion model that they start from."""
    classifier_iterations: Count = 3000
    """Of the feature network."""
    measure_every: Count = 100
    """Iterations between measurements of the tangents."""

    @model_validator(mode="after")
    def _whole_measurements(self) -> Toy:
        check_divides(self.measure_every, self.iterations, "measure_every", "iterations")
        return self


class ToyFigure(Figure):
    """A toy experiment: energy of the tangents along and across its manifold, and pictures of their flow."""

    kind: Literal["toy"]
    toy: Name


AnyFigure = Annotated[
    CurvesFigure
    | FinalFigure
    | SamplesFigure
    | TransformationsFigure
    | TangentsFigure
    | OscillationFigure
    | ManifoldFigure
    | ToyFigure,
    Field(discriminator="kind"),
]


class Table(Section):
    """What tables share."""

    title: str = ""


class _ChosenScores(Table):
    metric: Metric | None = None
    """Absent: the first of the evaluation's."""
    methods: list[str] = []
    """Empty: all."""
    batch_sizes: list[Count] = []
    """Empty: all."""


class ScoreTable(_ChosenScores):
    """The scores at the end of training, by method and batch size."""

    kind: Literal["scores"] = "scores"


class MethodsTable(_ChosenScores):
    """Scores at the end of training and, in columns of their own with their sources, what others have published."""

    kind: Literal["methods"]


class PublishedTable(Table):
    """FIDs that others have published on the dataset, with their sources."""

    kind: Literal["published"]


class SpeedTable(_ChosenScores):
    """How much faster than a reference method the others reach the scores that it ends with."""

    kind: Literal["speed"]
    reference: str = "ect"
    """A method of the experiment."""


class ReachTable(_ChosenScores):
    """Iterations that each method needs to reach given scores."""

    kind: Literal["reach"]
    targets: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), Choices]
    """Values of the metric."""


class CostTable(Table):
    """What training cost: hours, images seen, memory; the classifier's and the start's own cost included."""

    kind: Literal["cost"]


AnyTable = Annotated[
    ScoreTable | MethodsTable | PublishedTable | SpeedTable | ReachTable | CostTable, Field(discriminator="kind")
]


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
