"""The reference of experiment files: every key is there, with its values, default and meaning."""

import pytest

from ayt.base.errors import UserError
from ayt.base.kinds import Kind
from ayt.base.sections import keys
from ayt.experiment import schema
from ayt.operations.reference import MARK, PARTS, describe_keys, explanations, replace_reference

MODELS = [kind for _, registry, base, _ in PARTS for kind in (registry.kinds.values() if registry else [base])]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_meaning(model):
    assert [name for name, text in explanations(model).items() if not text] == []


def test_every_key_and_kind_is_in_it():
    text = describe_keys()
    for model in MODELS:
        assert all(f"| `{key}` |" in text for key in keys(model))
        if issubclass(model, Kind):
            assert f"`{model.name}`" in text or model.name in ("pretrain", "classifier")


@pytest.mark.parametrize(
    "row",
    [
        "| `lr` | number > 0 | `0.0001` | Learning rate of RAdam. |",
        "| `dropout` | number ≥ 0, < 1 | `0.2` | Probability of dropping a feature inside residual blocks. |",
        '| `task` | `transformations`, `labels`, `reconstruction` | `"transformations"` | What it learns to predict:'
        " the parameters of random transformations, class labels, or (`reconstruction`) the images themselves. |",
        '| `mids` | mapping: list: number > 0 | `{"2": [0.821]}` | For each number of steps above 1, the intermediate'
        " noise levels, in decreasing order. |",
        "| `lambda` | number > 0 | `1.0` | Weight of AYT's loss. |",
    ],
)
def test_a_row_says_values_default_and_meaning(row):
    assert row in describe_keys()


def test_every_section_of_a_file_is_in_it():
    headings = {heading.split(":")[0].split(".")[0] for heading, *_ in PARTS}
    assert headings == set(keys(schema.Experiment)) - {"name", "extensions"}


def test_it_replaces_what_a_page_has_below_the_mark():
    assert replace_reference(f"Mine.\n\n{MARK}\nold") == f"Mine.\n\n{MARK}\n\n{describe_keys()}"
    with pytest.raises(UserError, match="no line marks where"):
        replace_reference("Mine.")
