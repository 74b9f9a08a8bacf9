"""Behavior of every member kind; a test class of a kind inherits this and names the kind."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Member, Table, member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.scenario import BOOSTED, MemberKind, Scenario
from tests.support.logs import tiny_scenario

COLUMNS = (
    "rating.level",
    "user.like.mean",
    "item.like.mean",
    "item.like.mean_7d",
    "like.level",
    "item.count",
    "item.count_7d",
    "item.count_28d",
    "user.count",
    "taste.dot",
    "taste.cosine",
    "taste.recent_cosine",
    "taste.user_norm",
    "user_x_item.rating.factors",
    "user_x_item.rating.near_residual",
    "user_x_item.like.near_residual",
)
DEEP = {"layers": [16, 8], "batch_rows": 32, "epochs": 4, "learning_rate": 0.01}
TASK_KEYS = {"note", "rounds", "curve", "importance"}
BOOSTED_KEYS = TASK_KEYS | {"rounds_by_seed"}


def member_scenario(**boosting: Any) -> Scenario:
    settings = {"rounds": 30, "patience": 5, "threads": 1, "min_data_in_leaf": 20, "num_leaves": 7, **boosting}
    return tiny_scenario(boosting=settings, deep=DEEP)


def draw_table(count: int, seed: int) -> Table:
    """Draw features, some of them missing, and labels of three tasks that follow from them, each seen in places."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, len(COLUMNS))).astype(np.float32)
    features = pd.DataFrame(values, columns=list(COLUMNS))
    features["rating.level"] += 5
    counts = [name for name in COLUMNS if ".count" in name]
    features[counts] = np.floor(np.exp(features[counts]))
    signal = features["taste.dot"] + features["item.like.mean"] + np.log1p(features["item.count"])
    rating = np.clip(features["rating.level"] + features["taste.dot"] + rng.standard_normal(count), 0, 10)
    like, purchase = (rng.random(count) < 1 / (1 + np.exp(-signal)) for _ in range(2))
    labels = {"rating": rating.to_numpy(), "like": like.to_numpy(), "purchase": purchase.to_numpy()}
    labels = {task: label.astype(np.float32) for task, label in labels.items()}
    labels["rating"][purchase.to_numpy() == 0] = np.nan
    features = features.mask(rng.random(features.shape) < 0.05)
    by_name = {column.name: column for column in declared_columns(member_scenario())}
    declared = [by_name[name] for name in COLUMNS]
    return Table(features, labels, users=rng.integers(0, count // 5, count), columns=declared)


class MemberContract:
    """Inherit, and set ``kind`` and the name of a feature that the kind cannot do without."""

    kind: ClassVar[MemberKind]
    needed: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def scenario(cls) -> Scenario:
        return member_scenario()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, scenario: Scenario) -> Member:
        return cls.fit(scenario)

    @classmethod
    def fit(cls, scenario: Scenario, rows: int = 600) -> Member:
        return member_class(cls.kind).fit(draw_table(rows, 1), draw_table(300, 2), scenario)

    @pytest.fixture(scope="class")
    @classmethod
    def unseen(cls) -> Table:
        return draw_table(400, 3)

    def test_it_is_a_whole_member_of_its_kind(self) -> None:
        assert not inspect.isabstract(member_class(self.kind))
        assert member_class(self.kind).kind == self.kind

    def test_it_predicts_every_task_within_its_range(self, fitted: Member, scenario: Scenario, unseen: Table) -> None:
        predictions = fitted.predict(unseen.features)
        assert list(predictions) == list(scenario.tasks)
        for task, values in predictions.items():
            low, high = scenario.tasks[task].range or (0.0, 1.0)
            assert values.dtype == np.float64
            assert values.shape == (len(unseen.features),)
            assert np.isfinite(values).all()
            assert values.min() >= low
            assert values.max() <= high
            assert values.std() > 0

    def test_it_predicts_extreme_and_missing_features(self, fitted: Member, scenario: Scenario) -> None:
        extremes = pd.DataFrame(
            [[np.nan] * len(COLUMNS), [1e30] * len(COLUMNS)], columns=list(COLUMNS), dtype="float32"
        )
        for task, values in fitted.predict(extremes).items():
            low, high = scenario.tasks[task].range or (0.0, 1.0)
            assert np.isfinite(values).all(), task
            assert values.min() >= low
            assert values.max() <= high

    def test_it_predicts_some_tasks_as_it_predicts_all(self, fitted: Member, unseen: Table) -> None:
        some = fitted.predict(unseen.features, ["purchase"])
        assert list(some) == ["purchase"]
        assert np.array_equal(some["purchase"], fitted.predict(unseen.features)["purchase"])

    def test_a_prediction_does_not_depend_on_the_other_rows(self, fitted: Member, unseen: Table) -> None:
        whole = fitted.predict(unseen.features)
        for rows in (slice(0, 1), slice(7, 20), slice(100, 400)):
            part = fitted.predict(unseen.features.iloc[rows])
            assert all(np.array_equal(part[task], whole[task][rows]) for task in whole)

    def test_it_learns_something(self, fitted: Member, unseen: Table) -> None:
        predictions = fitted.predict(unseen.features)
        for task in ("like", "purchase"):
            assert compute("auc", unseen.labels[task].astype(np.float64), predictions[task]) > 0.55
        seen = ~np.isnan(unseen.labels["rating"])
        label = unseen.labels["rating"][seen].astype(np.float64)
        assert compute("rmse", label, predictions["rating"][seen]) < 0.95 * label.std()

    def test_what_is_loaded_predicts_to_the_bit(self, fitted: Member, scenario: Scenario, unseen: Table) -> None:
        loaded = type(fitted).load(fitted.files(), scenario)
        before, after = (member.predict(unseen.features) for member in (fitted, loaded))
        assert all(np.array_equal(before[task], after[task]) for task in scenario.tasks)
        assert loaded.files() == fitted.files()
        assert loaded.describe() == fitted.describe()

    def test_the_order_in_which_a_scenario_names_its_tasks_is_no_matter_to_what_was_fitted(
        self, fitted: Member, scenario: Scenario, unseen: Table
    ) -> None:
        turned = scenario.model_copy(update={"tasks": dict(reversed(scenario.tasks.items()))})
        before, after = (
            member.predict(unseen.features) for member in (fitted, type(fitted).load(fitted.files(), turned))
        )
        assert all(np.array_equal(before[task], after[task]) for task in scenario.tasks)

    def test_two_fits_give_byte_identical_files(self, fitted: Member, scenario: Scenario) -> None:
        again = self.fit(scenario)
        assert again.files() == fitted.files()
        assert again.describe() == fitted.describe()

    def test_the_order_of_columns_is_no_matter(self, fitted: Member, unseen: Table) -> None:
        turned = unseen.features[list(COLUMNS[::-1])].assign(extra=1.0)
        before, after = fitted.predict(unseen.features), fitted.predict(turned)
        assert all(np.array_equal(before[task], after[task]) for task in before)

    def test_it_needs_no_column_but_those_that_it_says_it_reads(self, scenario: Scenario, unseen: Table) -> None:
        names = member_class(self.kind).reads(scenario, unseen.columns)
        assert names == [column.name for column in unseen.columns if column.name in names]
        train, tune = (
            replace(table, source=table.features[names]) for table in (draw_table(600, 1), draw_table(300, 2))
        )
        fitted = member_class(self.kind).fit(train, tune, scenario)
        assert fitted.files() == self.fit(scenario).files()
        fitted.predict(unseen.features[names])

    def test_a_missing_column_is_refused_by_name(self, fitted: Member, unseen: Table) -> None:
        with pytest.raises(
            DataError, match=rf"are missing at prediction \(first: '{self.needed}'\): build features with"
        ):
            fitted.predict(unseen.features.drop(columns=self.needed))

    @pytest.mark.parametrize("dtype", [object, "str", "category"])
    def test_a_column_of_another_sort_is_refused_by_name(self, fitted: Member, unseen: Table, dtype: Any) -> None:
        features = unseen.features.assign(**{self.needed: unseen.features[self.needed].astype(dtype)})
        message = rf"feature '{self.needed}' is \w+ at prediction and was a number in training: build features with"
        with pytest.raises(DataError, match=message):
            fitted.predict(features)

    def test_numbers_of_any_width_are_taken(self, fitted: Member, unseen: Table) -> None:
        wide = fitted.predict(unseen.features.astype(np.float64))
        for task, values in fitted.predict(unseen.features).items():
            assert np.array_equal(wide[task], values)

    def test_refit_learns_from_other_rows_with_the_choices_made(
        self, fitted: Member, scenario: Scenario, unseen: Table
    ) -> None:
        more = draw_table(1500, 4)
        refitted = fitted.refit(more)
        assert refitted is not fitted
        assert refitted.files() != fitted.files()
        assert refitted.files() == fitted.refit(more).files()
        for task in scenario.tasks:
            before, after = (member.describe()["tasks"][task]["rounds"] for member in (fitted, refitted))
            assert before == after
        label = unseen.labels["purchase"].astype(np.float64)
        losses = [
            compute("log_loss", label, member.predict(unseen.features)["purchase"]) for member in (fitted, refitted)
        ]
        assert losses[1] < losses[0] + 0.02

    def test_description_has_the_documented_keys(self, fitted: Member, scenario: Scenario) -> None:
        described = fitted.describe()
        assert described["kind"] == self.kind
        assert described["device"] == "cpu"
        assert list(described["tasks"]) == list(scenario.tasks)
        for entry in described["tasks"].values():
            assert set(entry) == (BOOSTED_KEYS if self.kind in BOOSTED else TASK_KEYS)
            names, shares = zip(*entry["importance"], strict=True)
            assert {name for name in names if not name.startswith("cascade.")} <= set(COLUMNS)
            assert list(shares) == sorted(shares, reverse=True)
            assert sum(shares) == pytest.approx(1.0, abs=1e-4)

    def test_a_missing_file_is_refused_by_name(self, fitted: Member, scenario: Scenario) -> None:
        files = fitted.files()
        for name in files:
            with pytest.raises(ArtifactError, match=rf"{self.kind}: its file '{name}' is missing"):
                type(fitted).load({other: data for other, data in files.items() if other != name}, scenario)

    def test_files_of_other_tasks_are_refused(self, fitted: Member) -> None:
        other = tiny_scenario(tasks={"rating": {"kind": "regression", "label": "stars", "range": [0, 10]}})
        with pytest.raises(ArtifactError, match=r"tasks \['like', 'purchase', 'rating'\], expected \['rating'\]"):
            type(fitted).load(fitted.files(), other)


class BoostedContract(MemberContract):
    """Further behavior of every member that grows trees."""

    def test_what_cannot_be_learned_from_is_refused(self, scenario: Scenario) -> None:
        train = draw_table(600, 1)
        train.features.loc[:2, self.needed] = np.inf
        with pytest.raises(DataError, match=rf"feature '{self.needed}': 3 infinite values in 'train' \(600 rows\)"):
            member_class(self.kind).fit(train, draw_table(300, 2), scenario)

    def test_a_column_of_kinds_that_comes_as_numbers_is_refused(self, scenario: Scenario) -> None:
        train, tune, unseen = draw_table(600, 1), draw_table(300, 2), draw_table(10, 3)
        for table in (train, tune):
            table.features["color"] = pd.Categorical(["red", "blue"] * (len(table.features) // 2))
        fitted = member_class(self.kind).fit(train, tune, scenario)
        unseen.features["color"] = np.float32(1)
        with pytest.raises(DataError, match="'color' is float32 at prediction and was category in training"):
            fitted.predict(unseen.features)

    def test_rounds_are_those_of_the_least_loss_on_tune(self, fitted: Member) -> None:
        for task, entry in fitted.describe()["tasks"].items():
            assert entry["curve"]["metric"] == ("rmse" if task == "rating" else "log_loss")
            assert entry["rounds"] == 1 + int(np.argmin(entry["curve"]["tune"]))
            assert len(entry["curve"]["train"]) == len(entry["curve"]["tune"])

    def test_contributions_add_up_to_the_raw_score(self, fitted: Member, scenario: Scenario, unseen: Table) -> None:
        assert isinstance(fitted, BoostedMember)
        scores = fitted.raw_scores(unseen.features, list(scenario.tasks))
        for task in scenario.tasks:
            made = fitted.contributions(unseen.features, task)
            names = fitted.contribution_names(task)
            assert made.shape == (len(unseen.features), len(names) + 1)
            assert fitted.task_matrix(unseen.features, task).shape == (len(unseen.features), len(names))
            assert np.abs(made.sum(axis=1) - scores[task]).max() < 1e-9

    def test_its_explanation_names_what_it_learned_from(
        self, fitted: Member, scenario: Scenario, unseen: Table
    ) -> None:
        explained = fitted.explain(unseen.features, seed=3)
        assert explained == fitted.explain(unseen.features, seed=3)
        assert list(explained) == list(scenario.tasks)
        rating = {entry["feature"]: entry for entry in explained["rating"]["features"]}
        assert explained["rating"]["rows"] == len(unseen.features)
        assert next(iter(rating)) == "rating.level"
        assert rating["rating.level"]["direction"] > 0.5
        assert list(rating.values()) == sorted(rating.values(), key=lambda entry: -entry["mean_abs"])

    def test_a_value_may_be_learned_as_its_place_in_its_range(self, unseen: Table) -> None:
        task = {"kind": "regression", "label": "stars", "range": [0, 10], "loss": "log_loss"}
        settings = member_scenario().boosting.model_dump()
        scenario = tiny_scenario(tasks__rating=task, boosting=settings)
        fitted = self.fit(scenario)
        assert isinstance(fitted, BoostedMember)
        predicted = fitted.predict(unseen.features)["rating"]
        score = fitted.raw_scores(unseen.features, ["rating"])["rating"]
        assert np.allclose(predicted, 10 / (1 + np.exp(-score)), rtol=1e-12)
        seen = ~np.isnan(unseen.labels["rating"])
        label = unseen.labels["rating"][seen].astype(np.float64)
        assert compute("rmse", label, predicted[seen]) < 0.95 * label.std()
        assert predicted[seen].mean() == pytest.approx(label.mean(), abs=0.2)
        assert fitted.describe()["tasks"]["rating"]["curve"]["metric"] == "log_loss"
        assert b"objective=cross_entropy" in fitted.files()["rating.0.lightgbm.txt"]
        loaded = type(fitted).load(fitted.files(), scenario)
        assert np.array_equal(loaded.predict(unseen.features)["rating"], predicted)
        again = fitted.refit(draw_table(900, 4)).predict(unseen.features)["rating"]
        assert compute("rmse", label, again[seen]) < 0.95 * label.std()
