"""The section `tuning` is refused in one line where a key cannot be tuned or a value cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_tasks.core.errors import ConfigError
from tests.support.logs import tiny_scenario


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"boosting.num_leafs": {"low": 7, "high": 31}},
            "'boosting.num_leafs' cannot be tuned, did you mean 'boosting",
        ),
        (
            {"windows.train": {"low": 7, "high": 31}},
            r"'windows.train' cannot be tuned \(tunable: boosting.learning_rate",
        ),
        ({"tasks.rating.weight": {"low": 1, "high": 2}}, r"'tasks.rating.weight' cannot be tuned \(tunable: "),
        ({"boosting.seeds": {"low": 1, "high": 5}}, "'boosting.seeds' cannot be tuned"),
        ({"boosting.num_leaves": {"low": 31, "high": 7}}, "`low` 31 must be below `high` 7"),
        ({"boosting.num_leaves": {"low": 7}}, "give `low` and `high`, or `choices`"),
        ({"boosting.num_leaves": {}}, "give `low` and `high`, or `choices`"),
        ({"boosting.num_leaves": {"low": 7, "high": 9, "choices": [7, 9]}}, "give `low` and `high`, or `choices`"),
        (
            {"boosting.num_leaves": {"low": 7.5, "high": 31}},
            "boosting.num_leaves: low 7.5: Input should be a valid int",
        ),
        ({"boosting.num_leaves": {"low": 1, "high": 31}}, "low 1.0: Input should be greater than or equal to 2"),
        ({"boosting.learning_rate": {"low": 0.1, "high": 2}}, "high 2.0: Input should be less than or equal to 1"),
        ({"boosting.lambda_l2": {"low": 0, "high": 2, "log": True}}, "`low` 0 must be above 0 where `log` is true"),
        ({"boosting.shared.combine": {"choices": ["sum", "add"]}}, "choices 'add': Input should be 'sketch'"),
        ({"boosting.shared.combine": {"choices": ["sum", "sketch"], "log": True}}, "`log` belongs to a range"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_scenario(tuning={"space": space})


def test_a_setting_with_a_value_for_each_task_is_refused() -> None:
    by_task = {"leaf_l2": {"rating": 1.0, "like": 2.0, "purchase": 3.0}}
    space = {"boosting.shared.leaf_l2": {"low": 1, "high": 9}}
    with pytest.raises(ConfigError, match=r"boosting\.shared\.leaf_l2 has a value for each task: give it one number"):
        tiny_scenario(boosting={"shared": by_task}, tuning={"space": space})
