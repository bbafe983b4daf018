"""When a rule stops a training, and when not."""

import re

import pytest

from ayt.base.errors import UserError
from ayt.base.kinds import validate
from ayt.methods.stopping import Stop


def decide(scores, better="lower", **rule):
    return Stop(**rule).decide([(100 * (place + 1), score) for place, score in enumerate(scores)], "FD", better)


@pytest.mark.parametrize(
    ("scores", "rule", "reason"),
    [
        ([5.0, 7.0], {"worse_than": 6.0}, "FD is 7, worse than 6"),
        ([5.0, 6.0], {"worse_than": 6.0}, None),
        ([7.0, 5.0], {"worse_than": 6.0}, None),
        ([5.0, None], {"worse_than": 6.0}, "FD is not finite"),
        ([7.0], {"worse_than": 6.0, "after": 200}, None),
        ([7.0, 7.0], {"worse_than": 6.0, "after": 200}, "FD is 7, worse than 6"),
        ([4.0, 5.0, 4.0], {"plateau": 2}, "FD has not improved on 4 in 2 snapshots"),
        ([4.0, 5.0, 3.9], {"plateau": 2}, None),
        ([4.0, 5.0], {"plateau": 2}, None),
        ([4.0, 5.0, None], {"plateau": 2}, "FD has not improved on 4 in 2 snapshots"),
        ([None, 5.0], {"plateau": 1}, None),
        ([None, None], {"plateau": 1}, "FD has not improved in 1 snapshot"),
        ([4.0, 5.0, 6.0], {"plateau": 2, "after": 400}, None),
        ([9.0, 4.0], {"plateau": 1, "worse_than": 5.0}, None),
    ],
)
def test_low_scores_are_good(scores, rule, reason):
    assert decide(scores, **rule) == reason


def test_high_scores_are_good_where_the_metric_says_so():
    assert decide([0.5], "higher", worse_than=0.6) == "FD is 0.5, worse than 0.6"
    assert decide([0.7], "higher", worse_than=0.6) is None
    assert decide([0.5, 0.4], "higher", plateau=1) == "FD has not improved on 0.5 in 1 snapshot"
    assert decide([0.4, 0.5], "higher", plateau=1) is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, "does not say when; set worse_than, plateau or diverged: true"),
        ({"diverged": True, "after": 5}, "after means nothing without worse_than or plateau"),
        ({"worst": 5}, "worst: unknown key; did you mean worse_than?"),
    ],
)
def test_a_rule_says_something(rule, problem):
    with pytest.raises(UserError, match=re.escape(problem)):
        validate(Stop, rule, "stop")
