"""Training steps compared with bare passes of the same network, as ratios.

A consistency step against two forward passes (one without gradient) and a backward pass of its U-Net: all the rest,
from drawing noise to RAdam and EMA, is overhead. A classifier step against its network's forward and backward pass.

    python benchmarks/step_time.py --size embedded --batch-size 128

Of several commits of this repository in turn, each with its own script, so that the machine's moods fall on all:

    python benchmarks/step_time.py --commits 8ece5e3 e65cd03 --only AYT --batch-size 8
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ayt.base import paths, weights
from ayt.base.images import Images
from ayt.experiment import load
from ayt.methods.training import Stage
from ayt.plan.plan import Plan
from ayt.plan.runs import Run, Snapshot
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.recording import Trainer
from ayt.training.state import Optimiser, TrainingState

ROOT = Path(__file__).parents[1]

SIZES = {"embedded": "config/embedded.yaml", "paper": "config/batch_size_ablation.yaml"}
# The paper's networks on images that need no download; published numbers would not stand beside theirs.
WITHOUT_DOWNLOADS = {
    "dataset": "photos",
    "start": {"checkpoint": None},
    "methods": {"ect": {}, "ayt": {}, "lpips": {"loss": "l2"}},
    "evaluation": {"features": "labels", "reference": "dataset"},
    "figures": [],
    "tables": [],
}
PASSES: dict[Stage, str] = {"classifier": "forward + backward", "train": "2 forwards + backward"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="embedded", help="whose networks (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="images in a step (default: %(default)s)")
    parser.add_argument("--only", help="one of the rows, as it is printed; the paper's networks are slow on a CPU")
    parser.add_argument("--rounds", type=int, default=10, help="measurements of each (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps in a measurement (default: %(default)s)")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="tf32", help="default: %(default)s")
    parser.add_argument("--compile", action="store_true", help="steps and passes through torch.compile")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--commits", nargs="+", metavar="COMMIT", help="measure these in turn, twice")
    return parser.parse_args()


def prepare(run: Run, root: Path) -> None:
    """Write initial weights where training expects its upstream: their values do not affect the time."""
    for upstream in run.record.upstream.values():
        assert isinstance(upstream, Snapshot)
        network = work.build_network(upstream.run)
        path = paths.snapshot(root / upstream.run.name, upstream.iteration)
        weights.write(path, "snapshot", upstream.run.name, upstream.iteration, network.state_dict())


def training_step(
    run: Run, root: Path, images: Images, options: argparse.Namespace, device: torch.device
) -> Callable[[], None]:
    """One iteration as in the training loop."""
    record = replace(run.record, batch_size=options.batch_size)
    network, called, objective, auxiliary = work.prepare(record, root / run.name, device, compiled=options.compile)
    state = TrainingState(network, Optimiser.of(record.training), run.name, auxiliary=auxiliary)
    whole = [slice(0, options.batch_size)]

    trainer = Trainer(state, Passes(objective, whole, called), record, images)

    def step() -> None:
        trainer.advance()

    return step


def bare_passes(run: Run, images: Images, options: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Only the passes that a step needs."""
    stage, batch_size = run.record.training.stage, options.batch_size
    network = work.build_network(run.record).to(device).to(memory_format=torch.channels_last).train()
    network.bf16 = options.precision == "bf16"
    if options.compile:
        network.compile()
    batch = images.batch(batch_size, 0, 0)[0].contiguous(memory_format=torch.channels_last)
    sigma = torch.rand(batch_size, device=device) + 0.1
    arguments = (batch,) if stage == "classifier" else (batch, sigma)

    def passes() -> None:
        if stage == "train":
            with torch.no_grad():
                network(*arguments)
        network.zero_grad(set_to_none=True)
        network(*arguments).square().mean().backward()

    return passes


def seconds(work: Callable[[], None], steps: int, device: torch.device) -> float:
    begin = time.perf_counter()
    for _ in range(steps):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begin) / steps


def compare(commits: list[str], options: argparse.Namespace) -> None:
    """Print each commit's results for the same arguments, one commit after the other, twice."""
    given = {name: value for name, value in vars(options).items() if name != "commits" and value not in (None, False)}
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items()]
    with TemporaryDirectory() as folder:
        for commit in commits:
            root = Path(folder) / commit
            root.mkdir()
            archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
            subprocess.run(["tar", "x"], cwd=root, input=archive, check=True)
        for commit in 2 * commits:
            root = Path(folder) / commit
            command = [sys.executable, "benchmarks/step_time.py", *flags]
            done = subprocess.run(
                command,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                check=True,
            )
            print(*(f"{commit}  {line}" for line in done.stdout.splitlines() if " x " in line), sep="\n", flush=True)


def main() -> None:
    options = parse()
    if options.commits:
        compare(options.commits, options)
        return
    device = torch.device(options.device)
    torch.set_num_threads(1)
    overrides = {**(WITHOUT_DOWNLOADS if options.size == "paper" else {}), "training": {"precision": options.precision}}
    plan = Plan(load([Path(SIZES[options.size])], overrides))
    runs = {"transformation classifier": plan.classifier("transformations")}
    runs |= {run.label: run for run in reversed(plan.trained)}
    if options.only:
        runs = {options.only: runs[options.only]}
    images = Images.of(plan.experiment.dataset.load()).to(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"torch {torch.__version__}, {device} ({name}), one thread, networks of {SIZES[options.size]}")
    how = f"batch size {options.batch_size}, {options.precision}{', compiled' if options.compile else ''}"
    print(f"{how}; median of {options.rounds} rounds, step and passes in turn\n")
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for label, run in runs.items():
            prepare(run, root)
            step = training_step(run, root, images, options, device)
            passes = bare_passes(run, images, options, device)
            seconds(step, 1, device), seconds(passes, 1, device)
            pairs = [
                (seconds(step, options.steps, device), seconds(passes, options.steps, device))
                for _ in range(options.rounds)
            ]
            ratio = statistics.median(a / b for a, b in pairs)
            spread = statistics.quantiles((a / b for a, b in pairs), n=4)
            base = PASSES[run.record.training.stage]
            print(f"{label:28} {ratio:5.2f} x {base:22} (quartiles {spread[0]:.2f} to {spread[2]:.2f})", flush=True)


if __name__ == "__main__":
    main()
