"""Rules by which trainings are stopped: what may be asked for, what is told of mistakes, and what they rename."""

import pytest
import yaml

from ayt.base.errors import UserError
from ayt.experiment import load
from ayt.plan.plan import Plan

THREE = {"iterations": 12, "segment": 4, "snapshot_every": 2}


@pytest.fixture
def ruled(tiny, tmp_path):
    """The tiny experiment with a rule."""

    def load_it(rule, training=THREE, **more):
        content = yaml.safe_load(tiny.read_text())
        content |= {"figures": {"curves": {"kind": "curves"}}, **more}
        content["training"] |= {**training, "stop": rule}
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
        return load([tmp_path / "x.yaml"])

    return load_it


def test_a_rule_renames_nothing(ruled):
    without, within = (Plan(ruled(rule)) for rule in (None, {"worse_than": 1.0, "diverged": True}))
    assert list(without.runs) == list(within.runs)
    assert [run.record.text for run in without.trained] == [run.record.text for run in within.trained]
    assert without.scores() == within.scores()
    assert without.digest() != within.digest()  # figures and tables are made anew


@pytest.mark.parametrize(
    ("rule", "more", "problem"),
    [
        ({"worse_than": 1, "metric": "fréchet"}, {}, "stop.metric = 'fréchet': is none of evaluation.metrics; did you"),
        ({"worse_than": 1, "steps": 3}, {}, "stop.steps = 3: is none of evaluation.steps; choose from 1, 2"),
        ({"worse_than": 1, "after": 3}, {}, "stop.after = 3: snapshots are every 2 iterations, and the last segment"),
        ({"worse_than": 1, "after": 10}, {}, "stop.after = 10: snapshots are every 2 iterations, and the last segment"),
        ({"plateau": 4}, {}, "stop.plateau = 4: only 4 snapshots lie before the last segment"),
        ({"plateau": 1}, {"training": {"iterations": 4}}, "stop: looks at scores between segments, and there is one"),
        ({"plateau": 0}, {}, "stop.plateau = 0: must be greater than or equal to 1"),
        ({"metric": "frechet"}, {}, "stop: does not say when; set worse_than, plateau or diverged: true"),
        ({"worse_then": 1}, {}, "stop.worse_then = 1: unknown key; did you mean worse_than?"),
        (
            {"worse_than": 1},
            {"evaluation": {"metrics": ["denoised_frechet"]}},
            "stop.metric = 'denoised_frechet': has a value for each of evaluation.denoise",
        ),
        (
            {"worse_than": 1, "steps": 2},
            {"evaluation": {"metrics": ["denoised_frechet"], "denoise": [0.4]}},
            "stop.steps = 2: means nothing: denoised_frechet is of images denoised in one step",
        ),
        (
            {"diverged": True},
            {"figures": {"tangents": {"kind": "tangents"}}},
            "figures.tangents.method = 'ayt': may be given up before its end",
        ),
        (
            {"diverged": True},
            {"figures": {"turns": {"kind": "oscillation", "methods": ["ect"]}}},
            "figures.turns.methods = 'ect': may be given up before its end",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(ruled, rule, more, problem):
    training = {**THREE, **more.pop("training", {})}
    with pytest.raises(UserError) as error:
        ruled(rule, training, **more)
    assert all("x.yaml: " in line and len(line) < 400 for line in str(error.value).splitlines())
    assert problem in str(error.value)
