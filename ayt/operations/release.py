"""A snapshot as a folder of its own: weights, configuration and a model card, to give away and to load anywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import ayt
from ayt.training import work as models
from ayt.base import paths
from ayt.base import weights
from ayt.assets.table import read_table
from ayt.datasets.base import facts
from ayt.base.errors import UserError
from ayt.base.files import write_text, written_beside
from ayt.networks.modules.precond import EDMPrecond
from ayt.plan.records import ConsistencySpec, PretrainSpec, read_record

WEIGHTS = "model.safetensors"
RECORD = "run.yaml"
CARD = "README.md"

EXAMPLE = """\
import torch
from PIL import Image
from ayt.operations.release import image_shape, load
from ayt.evaluation.sampling import sample, to_uint8

network, spec = load("{folder}")
noise = torch.randn(1, 16, *image_shape(spec))  # steps, images, channels, height, width
images = to_uint8(sample(network, noise))
for number, image in enumerate(images):
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(f"{{number:02d}}.png")
"""


def load(folder: Path | str) -> tuple[EDMPrecond, ConsistencySpec | PretrainSpec]:
    """The network D(x; sigma) of a folder made by `export`, on the CPU in eval mode, and how it was trained.

    Raises:
        UserError: a file is missing or damaged, or the folder is of another version or kind.
    """
    folder = Path(folder)
    spec = read_record(folder / RECORD)
    network = models.build(spec)
    if not isinstance(network, EDMPrecond) or not isinstance(spec, ConsistencySpec | PretrainSpec):
        raise UserError(f"{folder / RECORD}: is a classifier; only denoisers can be sampled")
    models.load_snapshot(network, folder / WEIGHTS, spec.name)
    return network.eval().requires_grad_(False), spec


def image_shape(spec: ConsistencySpec | PretrainSpec) -> tuple[int, int, int]:
    """(C, H, W) of the images that a network makes."""
    return facts(spec.dataset).shape


def export(record: Path, iteration: int, folder: Path, table: Path = paths.ASSET_TABLE) -> None:
    """Write a snapshot of a run as a folder: its weights, the run's record, and a card with scores and provenance.

    Args:
        record: ``run.yaml`` of the run.
        iteration: of the snapshot.
        folder: to write; may exist if it is empty.
        table: of published files, for the licences of those that the run was made from.

    Raises:
        UserError: the snapshot is missing or damaged, the run is a classifier's, or the folder has something in it.
    """
    spec = read_record(record)
    snapshot = paths.snapshot(record.parent, iteration)
    if not isinstance(spec, ConsistencySpec | PretrainSpec):
        raise UserError(f"{record}: is a classifier; only denoisers can be exported")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; name a new folder")
    _, metadata = weights.read(snapshot, "snapshot", spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in ((snapshot, WEIGHTS), (record, RECORD)):
        with written_beside(folder / name) as beside:
            shutil.copyfile(source, beside)
    write_text(folder / CARD, _card(spec, metadata, _scores(record.parent, iteration), folder, table))
    load(folder)


def _scores(run: Path, iteration: int) -> list[dict[str, Any]]:
    """The score files of a snapshot, one for each evaluation."""
    files = sorted((run / "scores").glob(f"*/{iteration:07d}.json"))
    return [json.loads(file.read_text()) for file in files]


def _card(
    spec: ConsistencySpec | PretrainSpec,
    metadata: dict[str, Any],
    scores: list[dict[str, Any]],
    folder: Path,
    table: Path,
) -> str:
    method = spec.loss.name if isinstance(spec, ConsistencySpec) else "a diffusion model, EDM's denoising loss"
    sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    lines = [
        f"# {spec.name}, {metadata['iteration']:,} iterations",
        "",
        f"- method: {method}",
        f"- dataset: {spec.dataset.name}; batch size {spec.batch_size}, seed {spec.seed}",
        f"- weights: averaged, float32, `{WEIGHTS}`, SHA-256 `{sha256}`",
        f"- every number of the training: `{RECORD}`",
        f"- written by ayt {metadata['versions']['ayt']} with torch {metadata['versions']['torch']}, exported by ayt"
        f" {ayt.__version__}",
        *_origin(spec, table),
        "",
        "## Scores",
        "",
        *_score_table(scores),
        "",
        "## Use",
        "",
        f"`ayt sample --model {folder} --steps 1 --samples 16 --output samples.png`, or:",
        "",
        "```python",
        *EXAMPLE.format(folder=folder).splitlines(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _origin(spec: ConsistencySpec | PretrainSpec, table: Path) -> list[str]:
    """The published weights that a run is made from, with their licences."""
    assets = read_table(table) if table.exists() else {}
    lines = []
    for name, sha256 in models.origin(spec).items():
        licence = assets[name].licence if name in assets else "see where it comes from"
        lines.append(
            f"- made from {name} (licence: {licence}), SHA-256 `{sha256}`: its terms hold for these weights too"
        )
    return lines


def _score_table(scores: list[dict[str, Any]]) -> list[str]:
    if not scores:
        return ["Not scored."]
    lines = ["| metric | steps | mean | std over repeats | samples |", "|---|---:|---:|---:|---:|"]
    for score in scores:
        evaluation = score["evaluation"]
        for name, metric in score["metrics"].items():
            std = "" if metric["std"] is None else f"{metric['std']:.3g}"
            samples = f"{evaluation['repeats']} x {evaluation['samples']:,}"
            mean = "failed" if metric["mean"] is None else f"{metric['mean']:.4g}"
            lines.append(f"| {name} | {evaluation['steps']} | {mean} | {std} | {samples} |")
    return lines
