"""The linear member of all features keeps the contract, and learns what a linear model can."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.models import Member, Table, encoding, member_class
from mtl_tasks.models.linear import FILE, PENALTIES, WEIGHTS
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.codecs import pack_arrays, unpack_arrays
from tests.contracts.member import MemberContract, draw_table, member_scenario
from tests.support.logs import tiny_scenario


class TestLinear(MemberContract):
    kind = "linear"
    needed = "taste.dot"

    def test_the_penalty_is_that_of_the_least_loss_on_tune_and_the_refit_keeps_it(self, fitted: Member) -> None:
        refitted = fitted.refit(draw_table(900, 5))
        before, after = (json.loads(member.files()[FILE])["tasks"] for member in (fitted, refitted))
        assert before == after
        for choice in before.values():
            losses = {float(penalty): loss for penalty, loss in choice["tune_losses"].items()}
            assert choice["penalty"] == min(losses, key=losses.__getitem__)
            assert sorted(losses, reverse=True) == list(PENALTIES[: len(losses)])

    def test_its_explanation_names_what_it_learned_from(self, fitted: Member, unseen: Table) -> None:
        explained = fitted.explain(unseen.features, seed=3)
        assert explained == fitted.explain(unseen.features, seed=3)
        assert list(explained) == ["rating", "like", "purchase"]
        assert explained["rating"]["features"][0]["feature"] == "rating.level"
        assert explained["rating"]["features"][0]["direction"] > 0.9
        assert all(part["rows"] == len(unseen) for part in explained.values())

    def test_contributions_add_up_to_the_distance_from_the_mean(self, fitted: Member, unseen: Table) -> None:
        rows = unseen.features
        score = fitted.predict(rows)["like"]
        log_odds = np.log(score / (1 - score))
        matrix = fitted._encoder.one_hot(rows)
        parts = (matrix - fitted._fitted.means) * fitted._fitted.weights[0]
        base = fitted._fitted.means @ fitted._fitted.weights[0] + fitted._fitted.intercepts[0]
        np.testing.assert_allclose(parts.sum(axis=1) + base, log_odds, atol=1e-4)

    @pytest.mark.parametrize("name", ["weights", "means", "encoder.scores"])
    def test_arrays_of_another_shape_are_refused(self, fitted: Member, scenario: Scenario, name: str) -> None:
        files = fitted.files()
        expected = {"encoder.knots": ("f", 1), "encoder.scores": ("f", 1), "weights": ("f", 2)}
        expected |= dict.fromkeys(("intercepts", "means", "spreads"), ("f", 1))
        arrays = unpack_arrays(files[WEIGHTS], expected, WEIGHTS)
        arrays[name] = arrays[name][..., :-1]
        with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: .* --force"):
            type(fitted).load({**files, WEIGHTS: pack_arrays(arrays)}, scenario)


def test_weights_count_as_repeated_rows() -> None:
    scenario, tune, unseen = member_scenario(), draw_table(300, 2), draw_table(200, 3)
    twice, train = np.arange(600) < 200, draw_table(600, 1)
    repeated = np.concatenate([np.arange(600), np.flatnonzero(twice)])
    weights = {task: np.where(twice, 2.0, 1.0).astype(np.float32) for task in scenario.tasks}
    weighted = replace(train, weights=weights)
    copied = Table(
        train.features.iloc[repeated].reset_index(drop=True),
        {task: label[repeated] for task, label in train.labels.items()},
        columns=train.columns,
    )
    member = member_class("linear").fit(weighted, tune, scenario)
    other = member_class("linear").fit(copied, tune, scenario)
    plain = member_class("linear").fit(train, tune, scenario)
    for task, values in member.predict(unseen.features).items():
        apart = np.abs(values - other.predict(unseen.features)[task]).mean()  # the quantiles differ a little
        assert apart < 0.5 * np.abs(values - plain.predict(unseen.features)[task]).mean()


def test_a_fraction_stays_within_its_limits() -> None:
    task = {"kind": "regression", "label": "stars", "range": [4, 6], "loss": "log_loss"}
    scenario = tiny_scenario(tasks__rating=task)
    fitted = member_class("linear").fit(draw_table(600, 1), draw_table(300, 2), scenario)
    predicted = fitted.predict(draw_table(400, 3).features)["rating"]
    assert predicted.min() == 4
    assert predicted.max() == 6


def test_rows_beyond_the_limit_of_memory_are_left_out_and_that_is_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoding, "MATRIX_BYTES", 60_000)
    monkeypatch.setattr(encoding, "CHUNK", 100)
    caplog.set_level(logging.INFO)
    fitted = member_class("linear").fit(draw_table(1500, 1), draw_table(300, 2), member_scenario())
    assert "one row in 4 of 1500 is used" in caplog.text
    assert fitted.describe()["tasks"]["like"]["note"].endswith("fitted on one row in 4")
    monkeypatch.undo()
    part = draw_table(1500, 1)
    part = Table(
        part.features.iloc[::4], {task: label[::4] for task, label in part.labels.items()}, columns=part.columns
    )
    again = member_class("linear").fit(part, draw_table(300, 2), member_scenario())
    for task, values in fitted.predict(draw_table(200, 3).features).items():
        assert np.corrcoef(values, again.predict(draw_table(200, 3).features)[task])[0, 1] > 0.99


def test_a_category_is_learned_and_an_unknown_one_is_scored() -> None:
    train, tune = draw_table(600, 1), draw_table(300, 2)
    rng = np.random.default_rng(5)
    for table in (train, tune):
        color = rng.choice(["red", "blue"], len(table))
        table.features["color"] = pd.Categorical(color)
        table.labels["like"] = (rng.random(len(table)) < np.where(color == "red", 0.9, 0.1)).astype(np.float32)
    fitted = member_class("linear").fit(train, tune, member_scenario())
    unseen = draw_table(30, 3).features
    unseen["color"] = pd.Categorical(["red", "blue", "green"] * 10)
    like = fitted.predict(unseen)["like"].reshape(-1, 3).mean(axis=0)
    assert like[0] > like[2] > like[1]
    assert fitted.explain(unseen, 1)["like"]["features"][0] == {
        "feature": "color",
        "mean_abs": pytest.approx(2.0, abs=1.0),
        "direction": None,
    }
    with pytest.raises(DataError, match="'color' is float32 at prediction and was category in training"):
        fitted.predict(unseen.assign(color=np.float32(1)))


def test_what_cannot_be_learned_from_is_refused() -> None:
    train = draw_table(600, 1)
    train.features.loc[:2, "taste.dot"] = np.inf
    with pytest.raises(DataError, match=r"feature 'taste\.dot': 3 infinite values in 'train'"):
        member_class("linear").fit(train, draw_table(300, 2), member_scenario())
