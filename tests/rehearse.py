"""Rehearse a CIFAR-10 experiment with made-up files of the published formats, served from this machine.

    python tests/rehearse.py FOLDER                    the batch-size experiment with the paper's networks, minutes
    python tests/rehearse.py FOLDER --size tiny        the same with a small U-Net, a minute or two

The experiment is the file itself; iterations, samples and, if tiny, the U-Net and batch sizes are cut by --config.
What comes out says whether the chain works, and nothing else: images and weights are made up.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from misbehaving import Reply, Server
from published import write_cifar_archive, write_edm_pickle, write_inception, write_reference, write_vgg16
from recipe import load_recipe

from ayt.base import yamlio
from ayt.networks.denoisers.ddpmpp import DDPMpp as Sizes
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond

ROOT = Path(__file__).parents[1]
SIZES = {
    "paper": {
        "classifiers": {"iterations": 2, "segment": 2, "batch_size": 32},
        "training": {"iterations": 2, "segment": 1, "snapshot_every": 1},
        "evaluation": {"samples": 20, "repeats": 1, "grid": 10, "batch_size": 20},
        "execution": {"log_every": 1, "microbatch": 16},
    },
    "tiny": {
        "network": {"channels": 32, "channel_mult": [1, 1], "blocks": 1},
        "classifiers": {"iterations": 2, "segment": 2, "batch_size": 4, "widths": [8, 8], "convs": [1, 1]},
        "training": {"iterations": 2, "segment": 2, "snapshot_every": 2},
        "batch_sizes": [2, 4],
        "evaluation": {"samples": 6, "repeats": 1, "grid": 10, "batch_size": 10},
        "execution": {"log_every": 1},
    },
}
"""What ``--config`` cuts; ``classifiers``: each that the experiment trains."""
FIGURES = {
    "tangents": {"images": 2, "times": [0.1, 5.0]},
    "oscillation": {"iterations": 2, "images": 2, "times": [1.0], "neighbours": 8, "dimensions": 4},
    "manifold": {"images": 2},
}
"""What is cut of figures of these kinds."""
TOY = {"seeds": [0], "iterations": 20, "pretrain_iterations": 20, "classifier_iterations": 20, "measure_every": 10}


def images(count):
    """Flat colours with a brighter square: they compress to little, as an archive of noise would not."""
    random = np.random.default_rng(0)
    pixels = np.repeat(random.integers(0, 200, (count, 3, 1, 1), dtype=np.uint8), 32, axis=2).repeat(32, axis=3)
    pixels[:, :, 8:24, 8:24] += 50
    return pixels, (np.arange(count) % 10).tolist()


def make_files(folder, network):
    """Write every file that the batch-size experiment downloads; the checkpoint is of this U-Net."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sizes = Sizes(**network)
    write_cifar_archive(folder / "cifar-10-python.tar.gz", *images(50_000))
    unet = DDPMpp(32, 3, sizes.channels, sizes.channel_mult, sizes.blocks, sizes.attention, augment_labels=9)
    write_edm_pickle(folder / "edm-cifar10-32x32-uncond-vp.pkl", load_recipe(EDMPrecond(unet)))
    points = np.random.default_rng(0).standard_normal((2100, 2048))
    write_reference(folder / "cifar10-32x32.npz", points.mean(0), np.cov(points, rowvar=False))
    write_inception(folder / "pt_inception-2015-12-05-6726825d.pth")
    write_vgg16(folder / "vgg16-397923af.pth")


def make_table(folder, address):
    """The project's table of assets, with these files' addresses, sizes and hashes."""
    table = {}
    for name, asset in yamlio.read(ROOT / "config" / "assets.yaml").items():
        file = folder / asset["file"]
        if file.exists():
            kept = {key: asset[key] for key in ("file", "folder", "licence", "used_for", "note") if key in asset}
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            table[name] = {**kept, "url": address(file.name), "size": file.stat().st_size, "sha256": digest}
    return table


def snakemake(arguments, environment):
    """Run Snakemake in the foreground."""
    command = [Path(sys.executable).parent / "snakemake", *arguments]
    return subprocess.run([*map(str, command)], check=False, env=environment)


def rehearse(folder, size, experiment="batch_size_ablation", more=(), run=snakemake):
    """Run the workflow in ``folder``; returns what ``run`` returns and the server, with the requests it has seen."""
    files = folder / "published"
    if not files.exists():
        make_files(files, SIZES[size].get("network", {}))
    with Server() as server:
        for file in files.iterdir():
            server.script[f"/{file.name}"] = [Reply(file.read_bytes())]
        (folder / "assets.yaml").write_text(yaml.safe_dump(make_table(files, lambda name: server.url(f"/{name}"))))
        content = yamlio.read(ROOT / "config" / f"{experiment}.yaml")
        there = content.get("classifiers") or {}
        trained = [name for name, options in there.items() if "checkpoint" not in (options or {})]
        overrides = {**SIZES[size], "assets": {"table": "assets.yaml"}}
        overrides["classifiers"] = dict.fromkeys(trained, SIZES[size]["classifiers"])
        kinds = {name: figure["kind"] for name, figure in content["figures"].items()}
        overrides["figures"] = {name: FIGURES[kind] for name, kind in kinds.items() if kind in FIGURES}
        overrides["toys"] = dict.fromkeys(content.get("toys", {}), TOY)
        values = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in overrides.items()]
        where = ["--directory", folder, "--profile", ROOT / "local"]
        files = ["--snakefile", ROOT / "workflow" / "Snakefile", "--configfile", ROOT / "config" / f"{experiment}.yaml"]
        # Whatever asks for another machine meets a proxy that is not there.
        nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
        done = run([*more, *where, *files, "--config", *values], {**os.environ, **nowhere})
        return done, server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where files, results and logs go")
    parser.add_argument("--size", choices=SIZES, default="paper", help="default: %(default)s")
    parser.add_argument("--experiment", default="batch_size_ablation", help="default: %(default)s")
    options = parser.parse_args()
    begin = time.monotonic()
    done, _ = rehearse(options.folder.resolve(), options.size, options.experiment)
    print(f"{time.monotonic() - begin:.0f} s; results in {options.folder / 'results'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
