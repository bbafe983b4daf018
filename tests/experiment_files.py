"""Experiment files with something changed."""

import yaml

from ayt.experiment import load

MINIMAL = {"dataset": "digits", "network": {"channel_mult": [1]}, "batch_sizes": [8], "methods": {"ect": {}, "ayt": {}}}
SMALL_CLASSIFIERS = {
    name: {"task": task, "widths": [4], "convs": [1]}
    for name, task in (("transformations", "transformations"), ("labels", "labels"))
}


def changed(change, base=None):
    merged = dict({**MINIMAL, "classifiers": SMALL_CLASSIFIERS} if base is None else base)
    for key, value in change.items():
        inner = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = changed(value, merged[key]) if inner else value
    return merged


def write(path, content):
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def load_changed(tmp_path, change):
    return load([write(tmp_path / "x.yaml", changed(change))])
