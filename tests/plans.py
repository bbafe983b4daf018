"""Plans of the experiments that tests ask about."""

from conftest import ROOT

from ayt.experiment import load
from ayt.plan.plan import Plan


def plan(tiny, **overrides):
    return Plan(load([tiny], overrides))


def config(name, **overrides):
    return Plan(load([ROOT / "config" / f"{name}.yaml"], overrides))


def cifar(**evaluation):
    return config("batch_size_ablation", evaluation=evaluation)


def score_names(plan):
    return [score.name for score in plan.scores_of("")]
