"""Experiment files: what every mistake is answered."""

import pytest
from experiment_files import changed, load_changed, write

from ayt.base.errors import AFTER_PLACE, LONGEST, UserError
from ayt.experiment import load

MISTAKES = {
    "word where true and false stand too": (
        {"execution": {"compile": "atuo"}},
        "execution.compile = 'atuo': unknown; did you mean auto? choose from auto, true, false",
    ),
    "anchor without steps": ({"anchors": {"a": {}}}, "anchors.a.steps: is missing"),
    "anchor in no step": ({"anchors": {"a": {"steps": 0}}}, "anchors.a.steps = 0: must be greater than or equal to 1"),
    "anchor by an unknown sampler": (
        {"anchors": {"a": {"steps": 1, "sampler": "euler"}}},
        "anchors.a.sampler = 'euler': unknown; choose from heun, consistency",
    ),
    "anchor in steps without middle times": (
        {"anchors": {"a": {"steps": 3, "sampler": "consistency", "checkpoint": "x"}}},
        "anchors.a.steps = 3: is none of evaluation.steps; choose from 1, 2",
    ),
    "diffusion model sampled as a consistency model": (
        {"anchors": {"a": {"steps": 1, "sampler": "consistency"}}},
        "anchors.a.sampler = 'consistency': training starts from these weights, a diffusion model's",
    ),
    "anchor that is a classifier": (
        {
            "classifiers": {"transformations": {"checkpoint": "x"}},
            "anchors": {"a": {"steps": 1, "checkpoint": "x"}},
        },
        "anchors.a.checkpoint = 'x': is the classifier transformations; an anchor is a denoiser",
    ),
    "anchor called as a method": (
        {"anchors": {"a": {"steps": 1, "label": "ECT"}}},
        "anchors.a.label = 'ECT': is the label of ect too; set another",
    ),
    "unknown key": ({"trainig": {}}, "trainig = {}: unknown key; did you mean training? choose from training, batch"),
    "unknown key below": ({"evaluation": {"step": [1]}}, "evaluation.step = [1]: unknown key; did you mean steps?"),
    "unknown key far below": (
        {"start": {"pretrain": {"sigma": 1.0}}},
        "start.pretrain.sigma = 1.0: unknown key; did you mean ",
    ),
    "option of another method": ({"methods": {"ayt": {"c": 0.1}}}, "methods.ayt.c = 0.1: unknown key"),
    "unknown key in training": ({"training": {"lrr": 1}}, "training.lrr = 1: unknown key; did you mean lr?"),
    "wrong type": ({"training": {"lr": "fast"}}, "training.lr = 'fast': must be a valid number"),
    "number as text": ({"training": {"lr": "0.1"}}, "training.lr = '0.1': must be a valid number"),
    "flag as number": ({"training": {"iterations": True}}, "training.iterations = True: must be a valid integer"),
    "no flag": ({"methods": {"scd": {"adaptive": "maybe"}}}, "methods.scd.adaptive = 'maybe': must be true or false"),
    "which averages": (
        {"figures": {"curves": {"kind": "curves", "ema": "last"}}},
        "figures.curves.ema = 'last': unknown; choose from first, all, or give a list",
    ),
    "negative size": ({"batch_sizes": [-4]}, "batch_sizes.0 = -4: must be greater than or equal to 1"),
    "zero iterations": ({"training": {"iterations": 0}}, "training.iterations = 0: must be greater than or equal to 1"),
    "no learning": ({"training": {"lr": 0.0}}, "training.lr = 0.0: must be greater than 0"),
    "empty list": ({"batch_sizes": []}, "batch_sizes = []: the list is empty"),
    "empty seeds": ({"seeds": []}, "seeds = []: the list is empty"),
    "no methods": ({"methods": None}, "methods = None: must be a mapping"),
    "duplicate seeds": ({"seeds": [0, 1, 0]}, "seeds: 0 is listed twice"),
    "duplicate methods": ({"methods": ["ect", "ect"]}, "methods = ['ect', 'ect']: ect is listed twice"),
    "segment": (
        {"training": {"iterations": 100, "segment": 30}},
        "methods.ect: segment 30 does not divide iterations 100",
    ),
    "snapshots": (
        {"training": {"iterations": 100, "segment": 50, "snapshot_every": 20}},
        "methods.ect: snapshot_every 20 does not divide segment 50",
    ),
    "unknown method": ({"methods": {"aty": {}}}, "methods.aty: unknown method; did you mean ayt? choose from adv"),
    "unknown loss": ({"methods": {"mine": {"loss": "aty"}}}, "methods.mine.loss = 'aty': unknown method; did you mean"),
    "unknown dataset": (
        {"dataset": "cifar"},
        "dataset.name = 'cifar': unknown dataset; did you mean cifar10? choose from cifar10, digits, photos",
    ),
    "two starts": (
        {"start": {"pretrain": {}, "checkpoint": "edm"}},
        "start: names both pretrain and checkpoint; choose one",
    ),
    "unknown family": (
        {"classifiers": {"transformations": {"family": "resnt"}}},
        "classifiers.transformations.family = 'resnt': unknown family; did you mean resnet?",
    ),
    "option of another family": (
        {"classifiers": {"transformations": {"family": "vit", "widths": [8]}}},
        "classifiers.transformations.widths = [8]: unknown key",
    ),
    "patches": (
        {"classifiers": {"vit": {"family": "vit", "patch": 3}}, "methods": {"ayt": {"classifier": "vit"}}},
        "classifiers.vit.patch = 3: does not divide the resolution 8",
    ),
    "class-label features without channels": (
        {
            "classifiers": {"tokens": {"family": "vit", "task": "labels", "patch": 2, "dim": 8}},
            "methods": {"label_features": {"classifier": "tokens"}},
        },
        "methods.label_features.classifier = 'tokens': is a vit",
    ),
    "one label for two methods": (
        {"methods": {"a": {"loss": "ect", "c": 0.5}}},
        "methods.a.label = 'ECT': is the label of ect too; set another",
    ),
    "published numbers of another dataset": (
        {"tables": {"others": {"kind": "published"}}},
        "tables.others.kind = 'published': what is published is of cifar10",
    ),
    "tangents of a method that is not there": (
        {"figures": {"a": {"kind": "tangents", "method": "l1"}}},
        "figures.a.method = 'l1': not in this experiment; choose from ayt, ect",
    ),
    "tangents of a batch size that is not there": (
        {"figures": {"a": {"kind": "tangents", "batch_size": 5}}},
        "figures.a.batch_size = 5: not in this experiment; choose from ",
    ),
    "tangents through a class-label network": (
        {"figures": {"a": {"kind": "tangents", "classifier": "labels"}}},
        "figures.a.classifier = 'labels': its task is not 'transformations'; choose from transformations",
    ),
    "a noise level below 0": (
        {"figures": {"a": {"kind": "tangents", "times": [-1.0]}}},
        "figures.a.times.0 = -1.0: must be greater than 0",
    ),
    "as many directions as neighbours": (
        {"figures": {"a": {"kind": "oscillation", "neighbours": 8, "dimensions": 8}}},
        "figures.a.dimensions = 8: must be below neighbours = 8",
    ),
    "a band of what has none": (
        {"figures": {"a": {"kind": "final", "band": "seeds"}}},
        "figures.a.band = 'seeds': unknown key; choose from kind, title, metric, methods, batch_sizes, ema, steps",
    ),
    "more neighbours than images": (
        {"figures": {"a": {"kind": "oscillation", "neighbours": 5000}}},
        "figures.a.neighbours = 5000: more than the dataset has (1797 images)",
    ),
    "a batch size and a seed that no run has together": (
        {
            "methods": {"ect": {"batch_sizes": [4], "seeds": [1]}},
            "figures": {"a": {"kind": "oscillation", "batch_size": 4, "seed": 0}},
        },
        "figures.a.batch_size = 4: no method has it together with seed 0",
    ),
    "speed over a method that the table has not": (
        {"tables": {"a": {"kind": "speed", "methods": ["ayt"]}}},
        "tables.a.reference: is missing; choose from ayt",
    ),
    "one value of several": (
        {
            "evaluation": {"metrics": ["frechet", "denoised_frechet"]},
            "tables": {"a": {"kind": "reach", "targets": [1.0], "metric": "denoised_frechet"}},
        },
        "tables.a.metric = 'denoised_frechet': has a value for each of evaluation.denoise",
    ),
    "unknown band": (
        {"figures": {"a": {"kind": "curves", "band": "runs"}}},
        "figures.a.band = 'runs': unknown; choose from seeds, repeats",
    ),
    "speed over a method that is not there": (
        {"figures": {"a": {"kind": "curves", "reference": "l1"}}},
        "figures.a.reference = 'l1': not in this experiment; choose from ect, ayt",
    ),
    "unknown toy": (
        {"toys": {"line": {}}, "figures": {"a": {"kind": "toy", "toy": "lines"}}},
        "figures.a.toy = 'lines': not in this experiment; did you mean line? choose from line",
    ),
    "unknown manifold": (
        {"toys": {"line": {"manifold": "curv"}}},
        "toys.line.manifold = 'curv': unknown; did you mean curve? choose from curve, surface",
    ),
    "measurements": (
        {"toys": {"line": {"iterations": 100, "measure_every": 30}}},
        "toys.line: measure_every 30 does not divide iterations 100",
    ),
    "no scores to reach": ({"tables": {"a": {"kind": "reach"}}}, "tables.a.targets: is missing"),
    "table of a method that is not there": (
        {"tables": {"a": {"kind": "methods", "methods": ["act"]}}},
        "tables.a.methods = 'act': not in this experiment; did you mean ect?",
    ),
    "training of a checkpoint": (
        {"classifiers": {"transformations": {"checkpoint": "published", "lr": 0.1}}},
        "classifiers.transformations.checkpoint = 'published': is not trained here, so lr means nothing",
    ),
    "features of a checkpoint": (
        {"classifiers": {"labels": {"task": "labels", "checkpoint": "published"}}},
        "evaluation.features = 'labels': is a published checkpoint",
    ),
    "colour networks on grey images": (
        {"evaluation": {"features": "inception"}},
        "evaluation.features = 'inception': needs images of 3 channels; digits has 1",
    ),
    "LPIPS on grey images": ({"methods": ["lpips"]}, "methods.lpips.loss = 'lpips': needs images of 3 channels"),
    "statistics of other features": (
        {"evaluation": {"reference": "edm-cifar10-32x32-reference"}},
        "evaluation.reference = 'edm-cifar10-32x32-reference': published statistics are those of Inception features",
    ),
    "unknown metric": (
        {"evaluation": {"metrics": ["frechett"]}},
        "evaluation.metrics = 'frechett': unknown metric; did you mean frechet? choose from",
    ),
    "a key of the command line": (
        {"results": "/large/disk"},
        "results: is no part of an experiment: snakemake --config results=FOLDER, or export AYT_RESULTS=FOLDER",
    ),
    "a key of older versions": (
        {"evaluation": {"kept": 500}},
        "evaluation.kept: is no choice any more: metrics that compare features one by one always see up to 10,000",
    ),
    "extensions that are none": ({"extensions": "mine.py"}, "extensions = 'mine.py': must be a list of Python files"),
    "metric of a figure": (
        {"figures": {"a": {"kind": "final", "metric": "kid"}}},
        "figures.a.metric = 'kid': not in this experiment; choose from frechet",
    ),
    "metric of a table": (
        {"tables": {"a": {"metric": "kid"}}},
        "tables.a.metric = 'kid': not in this experiment; choose from frechet",
    ),
    "unknown table": ({"tables": {"a": {"kind": "score"}}}, "tables.a.kind = 'score': unknown table; did you mean"),
    "unknown precision": (
        {"training": {"precision": "fp16"}},
        "training.precision = 'fp16': unknown; did you mean bf16? choose from fp32, tf32, bf16",
    ),
    "unknown group": (
        {"classifiers": {"transformations": {"group": "geo_dge"}}},
        "classifiers.transformations.group = 'geo_dge': unknown; did you mean geo_deg?",
    ),
    "unknown figure": ({"figures": {"a": {"kind": "pie"}}}, "figures.a.kind = 'pie': unknown figure; choose from"),
    "unknown classifier": (
        {"methods": {"ayt": {"classifier": "mine"}}},
        "methods.ayt.classifier = 'mine': unknown classifier; choose from transformations",
    ),
    "classifier of another task": (
        {"evaluation": {"features": "transformations"}},
        "evaluation.features = 'transformations': its task is not 'labels'; choose from inception, labels",
    ),
    "unknown network key": ({"network": {"depth": 3}}, "network.depth = 3: unknown key; choose from family, condit"),
    "odd channels": ({"network": {"channels": 18}}, "network: channels 18 is not a multiple of 4"),
    "odd channels of a wide network": (
        {"network": {"channels": 48, "channel_mult": [2]}},
        "network: channels 48 is not a multiple of 32",
    ),
    "network too deep": (
        {"network": {"channel_mult": [1, 1, 1, 1, 1]}},
        "network.channel_mult = [1, 1, 1, 1, 1]: 4 halvings do not divide the resolution 8 of digits",
    ),
    "batch too large": ({"batch_sizes": [8, 4000]}, "batch_sizes = 4000: larger than the dataset (1797 images)"),
    "no middle time": (
        {"evaluation": {"steps": [1, 3]}},
        "evaluation: steps 3 needs 2 middle times in mids.3, not 0",
    ),
    "stages without end": (
        {"training": {"iterations": 400, "stage_iterations": 100}},
        "training.stage_iterations = 100: reaches stage 3, where q 256 makes r equal t in float32",
    ),
    "a power average without width": (
        {"training": {"ema": {"power": 0.0}}},
        "training.ema.power = 0.0: must be greater than 0",
    ),
    "an average of another kind": (
        {"training": {"ema": {"powr": 0.1}}},
        "training.ema.powr = 0.1: unknown key; did you mean power?",
    ),
    "a decay that is none": ({"training": {"ema": 1.5}}, "training.ema = 1.5: must be less than 1"),
    "no average in a list": ({"training": {"ema": []}}, "training.ema = []: the list is empty"),
    "a wrong average in a list": (
        {"training": {"ema": [0.9, {"power": 0}]}},
        "training.ema.1.power = 0: must be greater than 0",
    ),
    "an average twice": (
        {"methods": {"ect": {"ema": [0.9, {"power": 0.1}, {"power": 0.10}]}}},
        "methods.ect.ema: power0.1 is listed twice",
    ),
    "none among averages": (
        {"training": {"ema": [0.9, 0]}},
        "training.ema: 0 keeps no average; remove it, or give it alone",
    ),
    "averages of a diffusion model": (
        {"start": {"pretrain": {"ema": [0.9, 0.5]}}},
        "start.pretrain.ema = [0.9, 0.5]: must be a valid number",
    ),
    "an average that no method keeps": (
        {"training": {"ema": [0.9, 0.5]}, "figures": {"a": {"kind": "final", "ema": [0.5, {"power": 0.1}]}}},
        "figures.a.ema = 'power0.1': not in this experiment; choose from 0.9, 0.5",
    ),
    "averages by another word": (
        {"figures": {"a": {"kind": "final", "ema": "both"}}},
        "figures.a.ema = 'both': unknown; choose from first, all",
    ),
    "rising middle times": (
        {"evaluation": {"steps": [3], "mids": {3: [0.5, 5.0]}}},
        "evaluation: mids.3 = [0.5, 5.0]: must decrease, between 80 and 0.002",
    ),
    "device": ({"execution": {"device": "gpu"}}, "execution.device = 'gpu'"),
    "a kind that is no name": ({"figures": {"a": {"kind": ["curves"]}}}, "figures.a.kind = ['curves']: unknown figure"),
    "a table that is a list": ({"tables": {"a": ["scores"]}}, "tables.a = ['scores']: must be a mapping of options"),
    "a loss that is a mapping": ({"methods": {"a": {"loss": {"ect": 1}}}}, "methods.a.loss = {'ect': 1}: unknown"),
    "a family that is a list": (
        {"classifiers": {"labels": {"family": ["vgg"]}}},
        "classifiers.labels.family = ['vgg']: unknown family",
    ),
    "a mean that is no number": ({"training": {"t_mean": float("nan")}}, "training.t_mean = nan: must be a finite"),
    "a label of two lines": (
        {"methods": {"ect": {"label": "a\n\n.. include:: /etc/passwd"}}},
        "methods.ect.label = 'a\\n\\n.. include:: /etc/passwd': must be one line of visible characters",
    ),
    "a title that moves the cursor": (
        {"figures": {"a": {"kind": "curves", "title": "\x1b[2J"}}},
        "figures.a.title = '\\x1b[2J': must be one line",
    ),
    "a label around nothing": ({"methods": {"ect": {"label": " "}}}, "methods.ect.label = ' ': begins or ends with"),
    "a name that no file can have": ({"name": "x" * 300}, "name = 'xxxxx"),
    "more crops than anybody wants": (
        {"dataset": {"name": "photos", "crops": 10**12}},
        "dataset.crops = 1000000000000: must be less than or equal to 1000000",
    ),
    "more samples than anybody wants": (
        {"evaluation": {"samples": 10**15}},
        "evaluation.samples = 1000000000000000: must be less than or equal to 10000000",
    ),
    "wider than any network": (
        {"network": {"channels": 10**11}},
        "network.channels = 100000000000: must be less than or equal to 10000",
    ),
    "a job for each iteration": (
        {"training": {"iterations": 10**8, "segment": 1}},
        "methods.ect: asks for 300,000,000 training jobs and scores; if they are meant, set execution.max_jobs",
    ),
    "a job too many": (
        {"seeds": [0, 1], "execution": {"max_jobs": 14}},
        "methods: the experiment asks for 15 training jobs and scores; if they are meant, set execution.max_jobs",
    ),
    "mid-training in a job for each iteration": (
        {"start": {"mid_train": {"iterations": 10**8, "segment": 1, "distance": "features"}}},
        "start.mid_train: asks for 100,000,000 training jobs; if they are meant, set execution.max_jobs as high",
    ),
    "a million of one method": (
        {"training": {key: [k / 100 for k in range(1, 101)] for key in ("lr", "t_mean", "dropout")}},
        "methods.ect: asks for 1,000,000 methods, one for each combination of its lists; if they are meant, set",
    ),
    "more seeds than jobs": (
        {"seeds": list(range(500)), "execution": {"max_jobs": 1000}},
        "methods.ect: asks for 1,500 training jobs and scores; if they are meant, set execution.max_jobs as high",
    ),
    "reserved name": ({"name": "runs"}, "name = 'runs': is the name of a folder of the workflow"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_that_says_where(tmp_path, mistake):
    change, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        load_changed(tmp_path, change)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{tmp_path}/x.yaml: {expected}") for line in lines), lines
    place = f"{tmp_path}/x.yaml: "
    assert all(line.startswith(place) and len(line) <= max(LONGEST, len(place) + AFTER_PLACE) for line in lines)


def test_as_many_jobs_as_are_meant_may_be_asked_for(tmp_path):
    assert load_changed(tmp_path, {"seeds": [0, 1], "execution": {"max_jobs": 15}}).seeds() == [0, 1]


def test_of_many_mistakes_the_first_are_told(tmp_path):
    with pytest.raises(UserError) as caught:
        load_changed(tmp_path, {"seeds": [-seed for seed in range(1, 1001)]})
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (21, f"{tmp_path}/x.yaml: and 980 more mistakes")


def test_a_mistake_in_an_override_names_the_override(tmp_path):
    with pytest.raises(UserError, match=r"^--config: training.lr = 'x': must be a valid number"):
        load([write(tmp_path / "x.yaml", changed({}))], {"training": {"lr": "x"}})
