"""The baseline members keep the contract."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.models import Table, member_class
from mtl_tasks.models.baselines import FILE
from mtl_tasks.scenario import MemberKind
from mtl_tasks.store.artifacts import to_json
from tests.contracts.member import MemberContract, draw_table, member_scenario


class TestPopularity(MemberContract):
    kind = "popularity"
    needed = "item.count"

    def test_it_is_not_personal(self, fitted) -> None:
        table = draw_table(50, 8).features
        other = table.assign(**{name: 0.0 for name in table if name.startswith(("taste.", "user_x_item."))})
        before, after = fitted.predict(table), fitted.predict(other)
        assert all(np.array_equal(before[task], after[task]) for task in before)


class TestAls(MemberContract):
    kind = "als"
    needed = "taste.dot"


def test_a_column_that_is_always_missing_in_training_does_no_harm() -> None:
    train, tune = draw_table(200, 1), draw_table(100, 2)
    for table in (train, tune):
        table.features["taste.recent_cosine"] = np.float32("nan")
    fitted = member_class("als").fit(train, tune, member_scenario())
    for values in fitted.predict(draw_table(50, 3).features).values():
        assert np.isfinite(values).all()


def test_a_rate_is_believed_as_it_is_however_small() -> None:
    train, tune, unseen = (draw_table(rows, seed) for rows, seed in ((20_000, 1), (2_000, 2), (2_000, 3)))
    rng = np.random.default_rng(4)
    for table in (train, tune, unseen):
        rate = np.exp(rng.uniform(np.log(0.001), np.log(0.9), len(table.features)))
        for name in [name for name in table.features if ".like.mean" in name]:
            table.features[name] = rate.astype(np.float32)
        table.labels["like"] = (rng.random(len(rate)) < rate).astype(np.float32)
    predicted = (
        member_class("popularity").fit(train, tune, member_scenario()).predict(unseen.features, ["like"])["like"]
    )
    ratio = predicted / unseen.features["user.like.mean"]
    assert ratio.between(0.7, 1.4).all()


@pytest.mark.parametrize("kind", ["popularity", "als"])
@pytest.mark.parametrize("name", ["counter_offer", "count", "mean", "meantime"])
def test_a_tasks_name_does_not_change_its_predictions(kind: MemberKind, name: str) -> None:
    scenario = member_scenario()
    renamed = scenario.model_copy(
        update={"tasks": {name if task == "like" else task: part for task, part in scenario.tasks.items()}}
    )
    here, there = (
        member_class(kind).fit(_renamed(draw_table(600, 1), to), _renamed(draw_table(300, 2), to), about)
        for to, about in (("like", scenario), (name, renamed))
    )
    unseen = draw_table(200, 3)
    np.testing.assert_array_equal(
        here.predict(unseen.features)["like"], there.predict(_renamed(unseen, name).features)[name]
    )


def _renamed(table: Table, task: str) -> Table:
    def renamed(column: str) -> str:
        return column.replace("like.", f"{task}.")

    labels = {task if one == "like" else one: label for one, label in table.labels.items()}
    declared = [
        replace(column, name=renamed(column.name), task=task if column.task == "like" else column.task)
        for column in table.columns
    ]
    return Table(table.features.rename(columns=renamed), labels, columns=declared)


def test_a_table_that_declares_no_column_of_a_needed_kind_is_refused() -> None:
    table = draw_table(100, 1)
    for members, kind in (("popularity", "baseline"), ("als", "factor_score")):
        bare = replace(table, columns=[column for column in table.columns if column.kind != kind])
        with pytest.raises(DataError, match=rf"none of the \d+ declared features is of kind '{kind}' about 'pair'"):
            member_class(members).fit(bare, bare, member_scenario())


def test_a_model_of_before_transforms_were_stored_is_read_as_it_was_fitted() -> None:
    fitted = member_class("popularity").fit(draw_table(600, 1), draw_table(300, 2), member_scenario())
    models = json.loads(fitted.files()[FILE])
    for model in models.values():
        del model["transforms"]
    earlier = member_class("popularity").load({FILE: to_json(models)}, member_scenario())
    unseen = draw_table(200, 3).features
    for task, values in fitted.predict(unseen).items():
        np.testing.assert_array_equal(values, earlier.predict(unseen)[task])
    models["like"]["columns"][0] = "user.counter_offer.mean"
    with pytest.raises(
        ArtifactError, match=r"user\.counter_offer\.mean: an earlier version treated this column as both a count"
    ):
        member_class("popularity").load({FILE: to_json(models)}, member_scenario())
