"""The search space: defaults of the members, the scenario's own values always among those searched."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import BOOSTED, TUNABLE, Scenario
from mtl_tasks.scenario.tuning import setting_of
from mtl_tasks.tuning.space import DEFAULTS, search_space, trial_scenario
from tests.support.logs import tiny_scenario


def suggested(scenario: Scenario, trials: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [search_space(scenario).suggest(study.ask()) for _ in range(trials)]


def test_each_default_is_a_tunable_number_of_the_scenario() -> None:
    for key, dimension in DEFAULTS.items():
        scenario = tiny_scenario(tuning={"space": {key: dimension.model_dump()}})
        assert scenario.tuning is not None
        assert TUNABLE[key] <= BOOSTED


def test_without_a_space_each_member_brings_the_settings_that_it_reads() -> None:
    alone = search_space(tiny_scenario(members=["popularity", "independent"]))
    assert {"boosting.learning_rate", "boosting.num_leaves"} < set(alone.dimensions)
    assert [key for key in alone.dimensions if ".shared." in key] == []
    assert alone.kinds == ("independent",)
    shared = search_space(tiny_scenario(members=["popularity", "als", "shared"]))
    assert "boosting.shared.leaf_l2" in shared.dimensions
    assert "boosting.learning_rate" not in shared.dimensions
    assert shared.kinds == ("shared",)


def test_suggestions_are_within_their_ranges_and_of_the_type_of_the_setting() -> None:
    scenario = tiny_scenario(tuning={"space": {}})
    space = search_space(scenario)
    for settings in suggested(scenario):
        for key, value in settings.items():
            low, high = space.dimensions[key].low, space.dimensions[key].high
            assert low is not None
            assert high is not None
            assert isinstance(value, (int, float))
            assert low <= value <= high
            assert type(value) is type(space.shipped[key])
            assert isinstance(value, int) or float(f"{value:.3g}") == value
        document = trial_scenario(scenario, settings).model_dump(mode="json")
        assert {key: setting_of(document, key.split(".")) for key in settings} == settings


def test_choices_are_suggested_as_they_are_written() -> None:
    given = {"boosting.shared.combine": {"choices": ["sketch", "sum"]}, "boosting.num_leaves": {"choices": [7, 15]}}
    made = suggested(tiny_scenario(tuning={"space": given}))
    assert {settings["boosting.shared.combine"] for settings in made} == {"sketch", "sum"}
    assert {settings["boosting.num_leaves"] for settings in made} == {7, 15, 31}  # 31 is the scenario's own
    assert all(isinstance(settings["boosting.num_leaves"], int) for settings in made)


def test_a_range_without_the_scenarios_own_value_is_widened_to_it() -> None:
    poor = {"num_leaves": 4, "min_data_in_leaf": 2000, "lambda_l2": 0.0}
    space = search_space(tiny_scenario(boosting=poor))
    assert (space.dimensions["boosting.num_leaves"].low, space.dimensions["boosting.min_data_in_leaf"].high) == (
        4,
        2000,
    )
    assert (space.dimensions["boosting.lambda_l2"].low, space.dimensions["boosting.lambda_l2"].log) == (0, False)
    assert set(space.widened) == {f"boosting.{key}" for key in poor}
    assert search_space(tiny_scenario()).widened == ()


def test_a_value_for_each_task_is_left_out_of_the_default_space() -> None:
    by_task = {"rating": 1.0, "like": 2.0, "purchase": 3.0}
    space = search_space(tiny_scenario(boosting={"shared": {"leaf_l2": by_task}}))
    assert "boosting.shared.leaf_l2" not in space.dimensions


@pytest.mark.parametrize(
    ("members", "space", "message"),
    [
        (["popularity", "als"], {}, "none of its members has settings to tune: add one of independent"),
        (
            ["popularity", "independent"],
            {"boosting.shared.combine": {"choices": ["sum", "sketch"]}},
            "no member reads boosting.shared.combine: leave it out, or add one of shared, shared_tail",
        ),
        (["popularity", "distilled"], {}, "none of its members has settings to tune: add one of independent"),
        (
            ["popularity", "distilled"],
            {"boosting.num_leaves": {"choices": [7, 15]}},
            "no member reads boosting.num_leaves: leave it out, or add one of cascade, independent",
        ),
    ],
)
def test_a_space_that_no_member_reads_is_refused(members: list[str], space: dict[str, Any], message: str) -> None:
    of_teacher: dict[str, Any] = {}
    if "distilled" in members:
        relative = [{"task": "purchase", "metric": "auc", "margin": 0.01}]
        of_teacher = {"compression": {"teacher": "a" * 64}, "gate__relative": relative}
    with pytest.raises(ConfigError, match=message):
        search_space(tiny_scenario(members=members, tuning={"space": space}, **of_teacher))


def test_trees_of_a_trial_start_from_scratch() -> None:
    scenario = tiny_scenario(boosting={"warm_start": "champion"})
    assert trial_scenario(scenario, {"boosting.num_leaves": 15}).boosting.warm_start == "none"
