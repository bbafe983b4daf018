"""The one place that names the files of the workflow.

Paths are relative to the working directory; the environment variable `RESULTS_VARIABLE` can name another folder for
results.

For the pattern of a Snakemake rule, pass ``{dataset}``, ``{run}`` or ``{experiment}`` as arguments: they remain as
wildcards.
"""

import os
from pathlib import Path

RESULTS_VARIABLE = "AYT_RESULTS"
"""The environment variable that names the folder of all results; the workflow passes it on to its jobs."""

RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or "results").expanduser()
RUNS = RESULTS / "runs"
LOGS = RESULTS / "logs"
ASSETS = RESULTS / "assets"
REFERENCES = RESULTS / "references"
ANALYSES = RESULTS / "analyses"
ANCHORS = RESULTS / "anchors"

ASSET_TABLE = Path("config/assets.yaml")
"""Addresses and hashes of published files, unless an experiment names another table."""

TORCH_HOME = ASSETS / "torch"
"""Where torch.hub, torchvision and pytorch-fid look for files; set by the environment variable of that name."""

INCEPTION = TORCH_HOME / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
"""The weights of pytorch-fid's Inception network; the table of assets puts them here."""

VGG16 = TORCH_HOME / "hub" / "checkpoints" / "vgg16-397923af.pth"
"""The weights of torchvision's VGG16; the table of assets puts them here."""

PUBLISHED_NETWORKS = {INCEPTION: "pytorch-fid-inception", VGG16: "torchvision-vgg16"}
"""Their names in the table of assets."""

RESERVED_NAMES = (RUNS.name, LOGS.name, ASSETS.name, REFERENCES.name, ANALYSES.name, ANCHORS.name)
"""Names that an experiment cannot have because the workflow uses folders of these names."""


def run_folder(dataset: str, run: str) -> Path:
    """The folder of one run, shared by all experiments that include the same training run."""
    return RUNS / dataset / run


def sibling_folder(folder: Path, run: str) -> Path:
    """The folder of another run on the same dataset: where upstream weights are."""
    return folder.parent / run


def run_record(folder: Path) -> Path:
    """``run.yaml``: the whole resolved configuration of the run."""
    return folder / "run.yaml"


def snapshot(folder: Path, iteration: int | str, average: str = "") -> Path:
    """The EMA weights after ``iteration`` iterations: the run's first average, or another one by name."""
    return numbered_file(average_folder(folder / "snapshots", average), iteration, "safetensors")


AVERAGE = "ema-"
"""Prefix of the folders with the files of a run's averages after the first."""


def average_folder(folder: Path, average: str) -> Path:
    """The folder of an average's files: ``folder`` itself for the first average, a subfolder for any other."""
    return folder / f"{AVERAGE}{average}" if average else folder


def average_of_path(path: Path) -> str:
    """The average that a file belongs to, as its folder says; empty: the first."""
    folder = path.parent.name
    return folder.removeprefix(AVERAGE) if folder.startswith(AVERAGE) else ""


def snapshots(folder: Path) -> list[int]:
    """The iterations of the existing snapshots."""
    return sorted(int(path.stem) for path in (folder / "snapshots").glob("[0-9]*.safetensors"))


def state(folder: Path, iteration: int) -> Path:
    """The training state at the end of the segment that stops at ``iteration``."""
    return numbered_file(folder / "states", iteration, "safetensors")


def training_log(folder: Path, stop: int) -> Path:
    """The training log of the segment that stops at iteration ``stop``."""
    return numbered_file(folder / "logs", stop, "csv")


def resume_folder(folder: Path) -> Path:
    """What a running segment keeps: lease, resume state, unpublished snapshots. Never a declared output."""
    return folder / "resume"


def failure(folder: Path) -> Path:
    """When and why training failed numerically."""
    return resume_folder(folder) / "failure.json"


def going_on(folder: Path) -> Path:
    """There while a workflow has a stopped training go on."""
    return resume_folder(folder) / "goes_on"


def dataset(name: str) -> Path:
    """A downloaded dataset, as arrays of images and labels."""
    return ASSETS / "datasets" / f"{name}.npz"


def checkpoint(name: str) -> Path:
    """Foreign weights, converted."""
    return ASSETS / "checkpoints" / f"{name}.safetensors"


def reference(dataset: str, name: str, suffix: str) -> Path:
    """Features of real images (npz), and their record (yaml)."""
    return REFERENCES / dataset / f"{name}.{suffix}"


def anchor(dataset: str, name: str, suffix: str) -> Path:
    """Scores of weights that were not trained here (json), and their record (yaml)."""
    return ANCHORS / dataset / f"{name}.{suffix}"


def analysis(name: str) -> Path:
    """The folder of one analysis: its record and its results."""
    return ANALYSES / name


def numbered_file(folder: Path, iteration: int | str, suffix: str) -> Path:
    """The file for the snapshot after ``iteration`` iterations; a wildcard stays as it is."""
    return folder / f"{_digits(iteration)}.{suffix}"


def experiment_folder(experiment: str) -> Path:
    """Scores, figures, tables and report of one experiment."""
    return RESULTS / experiment


def partial_name(experiment: str) -> str:
    """The name that replaces the experiment's while its figures are drawn from incomplete results.

    It gives them a separate folder: the workflow would take files in the usual one for finished.
    """
    return f"{experiment}/so_far"


def resolved_experiment(experiment: str) -> Path:
    """The experiment as it was run, with all defaults."""
    return experiment_folder(experiment) / "experiment.yaml"


def scores_table(experiment: str) -> Path:
    """All scores of one experiment, one row per run, iteration, number of steps and metric."""
    return experiment_folder(experiment) / "scores.csv"


FIGURE_FILES = ("png", "pdf", "csv", "html")
"""Suffixes of a figure's files; csv: the plotted numbers."""

TABLE_FILES = ("csv", "md", "tex", "html")
"""Suffixes of a table's files."""


def figure(experiment: str, name: str, suffix: str) -> Path:
    """One figure, or the table of its numbers."""
    return experiment_folder(experiment) / "figures" / f"{name}.{suffix}"


def table(experiment: str, name: str, suffix: str) -> Path:
    """One table in one format."""
    return experiment_folder(experiment) / "tables" / f"{name}.{suffix}"


def about(experiment: str) -> Path:
    """The first page of the report: what was run and what was not."""
    return experiment_folder(experiment) / "about.rst"


def report(experiment: str) -> Path:
    """The self-contained page made by ``snakemake --report``."""
    return experiment_folder(experiment) / "report.html"


def job_log(*parts: str) -> Path:
    """The log of one job; log folders mirror those of the results."""
    return LOGS.joinpath(*parts).with_suffix(".log")


def _digits(iteration: int | str) -> str:
    """Seven digits; a wildcard stays as it is."""
    return iteration if isinstance(iteration, str) else f"{iteration:07d}"
