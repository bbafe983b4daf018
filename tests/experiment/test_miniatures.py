"""Experiments in miniature: every run of their files, on digits and for two iterations, trained and sampled."""

import itertools

import pytest
import torch
from conftest import ROOT

from ayt.base import paths
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.yamlio import read
from ayt.evaluation.sampling import draw_samples
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.plan.runs import Snapshot
from ayt.training.loop import train
from ayt.training.work import load_denoiser, work_of

CPU = torch.device("cpu")
SHORT = {"iterations": 2, "segment": 2, "batch_size": 8}
CLASSIFIER = {"widths": [8], "convs": [1], **SHORT}


def miniature(name):
    """The plan of an experiment, cut by overrides to what takes seconds; its methods' own settings stay."""
    path = ROOT / "config" / f"{name}.yaml"
    content = read(path)
    methods = {}
    for method, options in content["methods"].items():
        methods[method] = {"iterations": 2, "segment": 2, "snapshot_every": 2, "batch_sizes": [4], "seeds": [0]}
        if (options or {}).get("teacher_batch_size"):
            methods[method]["teacher_batch_size"] = 4
    start = {"checkpoint": None, "pretrain": {"iterations": 2, "batch_size": 8}}
    if "mid_train" in content["start"]:
        start["mid_train"] = {"iterations": 2, "segment": 2, "batch_size": 8, "points": 4}
    overrides = {
        "dataset": "digits",
        "network": {"channels": 16, "channel_mult": [1], "blocks": 1, "attention": []},
        "start": start,
        "classifiers": {
            "transformations": {**CLASSIFIER, "group": "geo_deg"},
            "labels": {**CLASSIFIER, "task": "labels"},
            "denoised": {**CLASSIFIER, "group": "geo_deg"},
            "reconstruction": {"task": "reconstruction", "widths": [8, 8], **SHORT},
        },
        "methods": methods,
        "training": {"iterations": 2, "segment": 2, "snapshot_every": 2},
        "evaluation": {"features": "labels", "reference": "dataset"},
        "tables": {"published": {"kind": "cost"}},
    }
    return Plan(load([path], overrides))


CIFAR = ("one_hour", "truncated", "continuous_time", "mid_training", "averages", "other_distances")


@pytest.mark.parametrize("name", [*CIFAR, "embedded_methods"])
def test_every_run_is_trained_and_sampled(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = miniature(name)
    for run in plan.runs.values():
        write_text(paths.run_record(run.folder), run.record.text)
        for segment in run.segments:
            train(run.record, run.folder, segment, Images.of(run.record.dataset.load()), CPU)
    assert len(plan.trained) == len(plan.experiment.methods)
    for run in plan.trained:
        for average, sampling in itertools.product(run.record.averages, plan.samplings.values()):
            network = load_denoiser(run.record, Snapshot(run.record, run.iterations, average).path)
            sampled = run.record.training.sampled_denoiser(work_of(run.record, run.folder, CPU, network))
            images = draw_samples(sampled, sampling, 0, range(3), run.record.dataset.shape, 0, CPU)
            assert images.isfinite().all()
            assert images.flatten(1).std(1).min() > 0
