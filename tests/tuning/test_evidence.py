"""Gains are paired, clustered by user, and of users that the settings were not chosen on."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_tasks.models import Predictions
from mtl_tasks.models.calibration import clustered_mean
from mtl_tasks.tuning.evidence import confirmed_gain, task_gains
from mtl_tasks.tuning.objective import Objective
from tests.tuning.sample import drawn_objective, drawn_scenario

SCENARIO = drawn_scenario()


@pytest.fixture(scope="module")
def objective() -> Objective:
    return drawn_objective(SCENARIO)


def row_values(objective: Objective, seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {task: np.where(np.isnan(label), 0.0, rng.random(len(label))) for task, label in fold.labels.items()}
        for fold in objective.folds
    ]


def by_user(objective: Objective, rows: list[dict[str, np.ndarray]]) -> list[Predictions]:
    return [
        {task: fold.sums(values) for task, values in made.items()}
        for fold, made in zip(objective.folds, rows, strict=True)
    ]


def test_the_gain_of_a_task_is_the_clustered_mean_over_the_other_users_rows(objective: Objective) -> None:
    before, after = row_values(objective, 1), row_values(objective, 2)
    found = list(task_gains(objective, by_user(objective, before), by_user(objective, after)))
    for one in found:
        number = [fold.as_of for fold in objective.folds].index(one.as_of)
        fold = objective.folds[number]
        held = np.isin(fold.users, fold.user_ids[~fold.chosen_on]) & ~np.isnan(fold.labels[one.task])
        difference = (before[number][one.task] - after[number][one.task])[held]
        mean, error = clustered_mean(difference, fold.users[held])
        assert (one.gain.mean, one.gain.standard_error) == pytest.approx((mean, error))
        assert one.before - one.after == pytest.approx(mean)
    assert len(found) == 2 * len(SCENARIO.tasks)


def test_the_whole_gain_is_the_weighted_sum_of_the_tasks_gains(objective: Objective) -> None:
    before, after = by_user(objective, row_values(objective, 1)), by_user(objective, row_values(objective, 2))
    gains = {(one.as_of, one.task): one.gain.mean for one in task_gains(objective, before, after)}
    expected = sum(
        weight * gains[fold.as_of, task] / len(objective.folds)
        for number, fold in enumerate(objective.folds)
        for task, weight in objective.weights(number).items()
    )
    assert confirmed_gain(objective, before, after).mean == pytest.approx(expected)


def test_users_that_settings_were_chosen_on_change_nothing(objective: Objective) -> None:
    before, after = by_user(objective, row_values(objective, 1)), by_user(objective, row_values(objective, 2))
    plain = confirmed_gain(objective, before, after)
    for fold, losses in zip(objective.folds, after, strict=True):
        for values in losses.values():
            values[fold.chosen_on] -= 100.0
    assert confirmed_gain(objective, before, after) == plain
    for fold, losses in zip(objective.folds, after, strict=True):
        for values in losses.values():
            values[~fold.chosen_on] -= 100.0
    assert confirmed_gain(objective, before, after).mean > plain.mean + 1


def test_a_user_is_in_the_same_half_as_of_every_day(objective: Objective) -> None:
    halves = [dict(zip(fold.user_ids.tolist(), fold.chosen_on.tolist(), strict=True)) for fold in objective.folds]
    both = set(halves[0]) & set(halves[1])
    assert len(both) > 20
    assert {user: halves[0][user] for user in both} == {user: halves[1][user] for user in both}


def test_a_gain_within_noise_is_not_significant(objective: Objective) -> None:
    before = by_user(objective, row_values(objective, 1))
    noise = by_user(objective, row_values(objective, 2))
    assert not confirmed_gain(objective, before, noise).significant
    better = [{task: values * 0.5 for task, values in losses.items()} for losses in before]
    gain = confirmed_gain(objective, before, better)
    assert gain.significant
    assert gain.interval[0] > 0
