"""Scoring a snapshot compared with writing its samples as PNG and calling pytorch-fid, in one run.

Both sample the same images with the same network (the paper's, or a narrower one, with fresh weights): on a CPU the
paper's takes longer to sample than Inception takes to look, and as long in both ways. Ours rounds, featurises and
accumulates batch by batch; theirs writes files, then runs `python -m pytorch_fid` on the folder and the same
reference statistics. Each runs in a process of its own, so that its peak memory can be told. The weights of the
Inception network are random unless --inception names pytorch-fid's file: its time does not depend on them.

    python benchmarks/score.py --samples 200
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from ayt.base import paths
from ayt.base.images import to_uint8
from ayt.base.progress import ProgressLine
from ayt.datasets.base import DATASETS
from ayt.evaluation.extractors import build_extractor, read_real_features
from ayt.evaluation.sampling import draw_samples
from ayt.evaluation.score import Scorer, cut
from ayt.methods.formulas.objective import Sampled
from ayt.methods.pretraining import Pretraining
from ayt.networks.base import DENOISERS
from ayt.networks.modules.inception import structure
from ayt.networks.modules.precond import EDMPrecond, bind
from ayt.plan.evaluations import Sampling, Score
from ayt.plan.references import FeatureSpace, Reference
from ayt.plan.runs import RunRecord
from ayt.training.work import build_denoiser

CPU = torch.device("cpu")
ONE_STEP = Sampling(mids=(), convention="ayt", seed=0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200, help="images (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=50, help="images at a time (default: %(default)s)")
    parser.add_argument(
        "--channels",
        type=int,
        default=128,
        help="the U-Net's, as in network.channels (default: the paper's %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn (default: %(default)s)")
    parser.add_argument("--inception", type=Path, help="pytorch-fid's file of weights (default: random weights)")
    parser.add_argument("--part", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> None:
    """Write weights and reference statistics for both into the current folder."""
    paths.INCEPTION.parent.mkdir(parents=True)
    if options.inception:
        paths.INCEPTION.symlink_to(options.inception.resolve())
    else:
        network = structure()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
        torch.save(network.state_dict(), paths.INCEPTION)
    points = np.random.default_rng(0).standard_normal((4096, 2048))
    np.savez(
        "reference.npz", mu=points.mean(0), sigma=np.cov(points, rowvar=False), kept=points[:1000].astype(np.float32)
    )


def describe_run(options: argparse.Namespace) -> RunRecord:
    """The run whose network is sampled."""
    network = DENOISERS.kinds["ddpmpp"](channels=options.channels)
    return RunRecord(DATASETS.kinds["cifar10"](), network, Pretraining(), batch_size=1, seed=0)


def build(run: RunRecord, device: torch.device = CPU) -> EDMPrecond:
    torch.manual_seed(0)
    return build_denoiser(run).to(device)


def denoiser(run: RunRecord, device: torch.device = CPU) -> Sampled:
    network = build(run, device)
    return lambda labels: bind(network, labels)


def score_here(options: argparse.Namespace, device: torch.device = CPU) -> float:
    run = describe_run(options)
    reference = Reference(run.dataset, FeatureSpace(None), "reference")
    score = Score(run.name, ONE_STEP, options.samples, 1, reference)
    with ProgressLine("ours", options.samples) as line:
        real = read_real_features(Path("reference.npz")).to(device)
        scorer = Scorer(
            run.dataset, run.classes, build_extractor(reference, device), real, options.batch_size, device, line
        )
        return scorer.score(denoiser(run, device), score)()["frechet"][0]


def score_with_pytorch_fid(options: argparse.Namespace) -> float:
    folder = Path("png")
    folder.mkdir(exist_ok=True)
    run = describe_run(options)
    network = denoiser(run)
    for places in cut(options.samples, options.batch_size):
        batch = to_uint8(draw_samples(network, ONE_STEP, 0, places, run.dataset.shape, 0, CPU))
        for index, image in zip(places, batch.permute(0, 2, 3, 1).numpy(), strict=True):
            Image.fromarray(image).save(folder / f"{index:06d}.png")
    command = [sys.executable, "-m", "pytorch_fid", str(folder), "reference.npz", "--device", "cpu"]
    environment = {**os.environ, "TORCH_HOME": str(paths.TORCH_HOME.resolve())}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"FID:\s+(\S+)", done.stdout)
    assert found
    return float(found[1])


def measure(options: argparse.Namespace, part: str) -> tuple[float, float, float]:
    """Seconds, peak memory in GB of the largest process, and the FID."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part]
    for name in ("samples", "batch_size", "channels"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fid, peak = map(float, done.stdout.split()[-2:])
    return time.perf_counter() - begin, peak, fid


def main() -> None:
    options = parse()
    if options.part:
        fid = {"ours": score_here, "theirs": score_with_pytorch_fid}[options.part](options)
        usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(fid, max(usage) / 2**20)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads ({platform.machine()})")
    print(f"{options.samples} samples in one step, a U-Net of {options.channels} channels; ", end="")
    print(f"{options.rounds} rounds in turn\n")
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare(options)
        rounds = [(measure(options, "ours"), measure(options, "theirs")) for _ in range(options.rounds)]
    for name, column in (("ours", 0), ("PNG + pytorch-fid", 1)):
        seconds = statistics.median(pair[column][0] for pair in rounds)
        peak, fid = max(pair[column][1] for pair in rounds), rounds[0][column][2]
        print(f"{name:18} {options.samples / seconds:6.2f} images/s  peak {peak:.2f} GB  FID {fid:.6f}")
    ratios = sorted(their[0] / our[0] for our, their in rounds)
    print(f"\nours is {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
