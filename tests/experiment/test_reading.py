"""What experiment files say: defaults, sweeps, several files; and files that cannot be read."""

from pathlib import Path

import pytest
import yaml
from experiment_files import changed, load_changed, write

from ayt.base.errors import UserError
from ayt.experiment import load, resolved


def test_an_experiment_states_only_what_differs(tmp_path):
    experiment = load_changed(tmp_path, {"training": {"lr": 3e-4}})
    assert experiment.name == "x"
    assert experiment.methods["ect"].lr == 3e-4
    assert experiment.methods["ect"].ema == 0.9999
    assert experiment.methods["ayt"].seeds == [0]
    assert experiment.evaluation.mids == {2: [0.821]}
    assert set(experiment.figures) == {"curves", "final", "samples", "transformations"}


def test_own_options_beat_inherited_ones(tmp_path):
    change = {"training": {"lr": 1e-3}, "methods": {"ect": {"lr": 2e-3, "batch_sizes": [16]}}}
    experiment = load_changed(tmp_path, change)
    assert experiment.methods["ect"].lr == 2e-3
    assert experiment.methods["ect"].batch_sizes == [16]
    assert experiment.methods["ayt"].lr == 1e-3


def test_a_list_is_a_sweep(tmp_path):
    change = {"training": {"lr": [1e-3, 1e-4]}, "methods": {"ect": {"c": [0.0, 0.06]}}}
    experiment = load_changed(tmp_path, change)
    assert sorted(experiment.methods) == sorted(
        [f"ect lr={lr} c={c}" for lr in (0.001, 0.0001) for c in (0.0, 0.06)] + ["ayt lr=0.001", "ayt lr=0.0001"]
    )
    assert experiment.methods["ect lr=0.001 c=0.06"].label == "ECT (lr=0.001 c=0.06)"


def test_numbers_in_every_notation_are_numbers(tmp_path):
    text = yaml.safe_dump(changed({})) + "training: {lr: 1e-3, t_mean: -1}\n"
    experiment = load([write(tmp_path / "x.yaml", text)])
    assert experiment.methods["ect"].lr == 0.001
    assert experiment.methods["ect"].t_mean == -1.0


def test_nested_overrides_are_read_as_what_they_are(tmp_path):
    # as Snakemake hands over --config 'training={lr: 1e-3, iterations: 500}' 'evaluation={mids: {2: [0.5]}}'
    overrides = {
        "training": {"lr": "1e-3", "iterations": "500"},
        "evaluation": {"mids": {"2": ["0.5"]}},
        "seeds": ["3", "4"],
    }
    experiment = load([write(tmp_path / "x.yaml", changed({}))], overrides)
    assert experiment.methods["ect"].lr == 0.001
    assert experiment.methods["ect"].iterations == 500
    assert experiment.methods["ect"].seeds == [3, 4]
    assert experiment.evaluation.mids == {2: [0.5]}


def test_one_mapping_may_take_over_the_keys_of_another(tmp_path):
    text = yaml.safe_dump({key: value for key, value in changed({}).items() if key != "methods"})
    text += "methods:\n  ect: &one {seeds: [5], lr: 0.5}\n  ayt: {<<: *one, lr: 0.25}\n"
    methods = load([write(tmp_path / "x.yaml", text)]).methods
    assert (methods["ayt"].seeds, methods["ayt"].lr, methods["ect"].lr) == ([5], 0.25, 0.5)


def test_later_files_change_single_keys(tmp_path):
    first = write(tmp_path / "x.yaml", changed({"training": {"lr": 1e-3, "ema": 0.9}}))
    experiment = load([first, write(tmp_path / "y.yaml", {"training": {"lr": 5e-4}})])
    assert (experiment.methods["ect"].lr, experiment.methods["ect"].ema) == (5e-4, 0.9)


def test_resolved_experiment_survives_writing_and_reading(tmp_path):
    experiment = load_changed(tmp_path, {"methods": {"hybrid": {"lambda": 2.0}}, "seeds": [1, 2]})
    resolved.write(tmp_path / "experiment.yaml", experiment)
    assert resolved.read(tmp_path / "experiment.yaml") == experiment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("methods: [ect", "x.yaml:1:14: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3:1: not valid YAML: key 'a' is listed twice"),
        ("- ect\n", "x.yaml: must be a mapping of keys to values, not a list"),
        ("", "x.yaml: must be a mapping of keys to values, not nothing"),
    ],
)
def test_broken_files(tmp_path, text, expected):
    with pytest.raises(UserError) as caught:
        load([write(tmp_path / "x.yaml", text)])
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_file_and_no_file():
    with pytest.raises(UserError, match=r"^nowhere.yaml: no such file$"):
        load([Path("nowhere.yaml")])
    with pytest.raises(UserError, match="name one with --configfile"):
        load([])
