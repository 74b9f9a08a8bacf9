"""Shared trees: what LightGBM would say of one task, and what holds for several."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Table, member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.models.boosting.leaves import LeafReader
from mtl_tasks.models.boosting.model_text import Tree, split_text
from mtl_tasks.scenario import Scenario, parse_scenario
from tests.support.logs import DOCUMENT

RATING = {"kind": "regression", "label": "stars", "range": [-50, 50]}
LIKE = {"kind": "binary", "label": "liked", "negatives": {"how": "logged"}}


def scenario_of(tasks: dict[str, Any], **boosting: Any) -> Scenario:
    first = next(iter(tasks))
    metric = {"metric": "rmse", "max": 99} if tasks[first]["kind"] == "regression" else {"metric": "auc", "min": 0}
    settings = {"threads": 1, "rounds": 200, "patience": 20, "num_leaves": 15, "min_data_in_leaf": 20, **boosting}
    document = {**DOCUMENT, "tasks": tasks, "boosting": settings, "gate": {"absolute": [{"task": first, **metric}]}}
    return parse_scenario(document, where="include/scenarios/tiny.yaml")


def draw(rows: int, seed: int, sign: float = 1.0) -> Table:
    """Two related tasks; ``sign`` -1 turns the rating round, so that the tasks pull in opposite directions."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, 8)).astype(np.float32)
    taste = np.where(values[:, 0] > 0.3, 1.0, -0.5) * values[:, 1] + np.tanh(values[:, 2])
    rating = sign * (taste + 0.7 * rng.standard_normal(rows))
    like = rng.random(rows) < 1 / (1 + np.exp(1.5 - taste))
    rating[rng.random(rows) < 0.7] = np.nan
    features = pd.DataFrame(values, columns=[f"column_{place}" for place in range(8)])
    return Table(features, {"rating": rating.astype(np.float32), "like": like.astype(np.float32)})


def fit(scenario: Scenario, train: Table, tune: Table) -> BoostedMember:
    made = member_class("shared").fit(train, tune, scenario)
    assert isinstance(made, BoostedMember)
    return made


def rmse(member: BoostedMember, unseen: Table) -> float:
    seen = ~np.isnan(unseen.labels["rating"])
    label = unseen.labels["rating"][seen].astype(np.float64)
    value = compute("rmse", label, member.predict(unseen.features)["rating"][seen])
    assert value is not None
    return value


def boosters(member: BoostedMember, task: str) -> list[lgb.Booster]:
    return member._trees[task].boosters


def test_one_task_alone_is_plain_boosting() -> None:
    shared = {"learning_rate": 0.05, "leaf_l2": 1.0}
    scenario = scenario_of({"rating": RATING}, shared=shared, bagging_fraction=1.0, feature_fraction=1.0)
    train, tune, unseen = (draw(rows, seed) for rows, seed in ((4000, 1), (2000, 2), (4000, 3)))
    ours = fit(scenario, train, tune)
    theirs = member_class("independent").fit(train, tune, scenario)
    assert isinstance(theirs, BoostedMember)
    assert rmse(ours, unseen) == pytest.approx(rmse(theirs, unseen), abs=0.01)


def test_turning_a_label_round_is_no_matter_to_a_sketch_and_spoils_a_sum() -> None:
    losses: dict[tuple[str, float], float] = {}
    for combine in ("sketch", "sum"):
        scenario = scenario_of({"rating": RATING, "like": LIKE}, shared={"combine": combine})
        for sign in (1.0, -1.0):
            train, tune, unseen = (draw(rows, seed, sign) for rows, seed in ((6000, 1), (3000, 2), (6000, 3)))
            losses[combine, sign] = rmse(fit(scenario, train, tune), unseen)
    assert losses["sketch", -1.0] == pytest.approx(losses["sketch", 1.0], abs=0.012)
    assert losses["sum", -1.0] > losses["sum", 1.0] + 0.02


@pytest.mark.parametrize("combine", ["sketch", "alternate", "sum"])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "dwa"])
def test_every_combination_learns(combine: str, weighting: str) -> None:
    shared = {"combine": combine, "task_weighting": weighting, "split_hessian": "constant"}
    scenario = scenario_of({"rating": RATING, "like": LIKE}, shared=shared)
    train, tune, unseen = (draw(rows, seed) for rows, seed in ((3000, 1), (1500, 2), (2000, 3)))
    member = fit(scenario, train, tune)
    assert rmse(member, unseen) < 1.0
    auc = compute("auc", unseen.labels["like"].astype(np.float64), member.predict(unseen.features)["like"])
    assert auc is not None
    assert auc > 0.65


def test_contributions_add_up_to_the_score_of_each_task() -> None:
    member = fit(scenario_of({"rating": RATING, "like": LIKE}), draw(2000, 1), draw(1000, 2))
    values = draw(200, 3).features.to_numpy()
    for task in ("rating", "like"):
        (booster,) = boosters(member, task)
        shares = np.asarray(booster.predict(values, pred_contrib=True))
        assert np.abs(shares.sum(axis=1) - booster.predict(values, raw_score=True)).max() < 1e-9


def test_tasks_share_their_splits_and_not_their_leaves() -> None:
    member = fit(scenario_of({"rating": RATING, "like": LIKE}, rounds=10), draw(2000, 1), draw(1000, 2))
    (rating,), (like,) = (split_text(boosters(member, t)[0].model_to_string())[1][:1] for t in ("rating", "like"))
    assert rating.lines["threshold"] == like.lines["threshold"]
    assert rating.lines["leaf_value"] != like.lines["leaf_value"]


@pytest.mark.faults(16)
def test_a_task_that_nothing_can_be_learned_of_is_a_constant() -> None:
    train, tune = draw(600, 1), draw(400, 2)
    rng = np.random.default_rng(5)
    for table in (train, tune):
        table.labels["rating"][:] = rng.standard_normal(len(table.labels["rating"]))
    member = fit(scenario_of({"rating": RATING, "like": LIKE}, shared={"learning_rate": 1.0}), train, tune)
    predicted = member.predict(tune.features)["rating"]
    assert predicted.std() < 0.3
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"num_leaves": 255, "min_data_in_leaf": 1},
        {"use_quantized_grad": True},
        {"data_sample_strategy": "goss"},
    ],
)
def test_leaves_are_those_that_lightgbm_predicts(extra: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((3000, 5)).astype(np.float32)
    values[:, 4] = rng.integers(0, 9, 3000)
    data = lgb.Dataset(values, np.zeros(3000), categorical_feature=[4], free_raw_data=False).construct()
    settings = {"objective": "none", "learning_rate": 1.0, "verbosity": -1, "num_threads": 1, "seed": 1, **extra}
    booster = lgb.Booster(settings, data)
    reader = LeafReader(booster, [data])
    for round_ in range(3):
        gradient = (values[:, 0] * values[:, 4] + rng.standard_normal(3000)).astype(np.float32)
        booster.update(fobj=lambda *_, g=gradient: (g, np.ones(3000, np.float32)))
        text = booster.model_to_string(num_iteration=1, start_iteration=round_)
        (leaf,) = reader.read(split_text(text)[1][0])
        wanted = np.asarray(booster.predict(values, pred_leaf=True, start_iteration=round_, num_iteration=1))
        assert np.array_equal(leaf, wanted.ravel())
        if reader.tied:  # the booster is not to be used further
            break


def test_leaves_of_equal_output_are_told_apart_the_slow_way() -> None:
    values = np.repeat(np.arange(4, dtype=np.float32), 100)[:, None]
    data = lgb.Dataset(values, np.zeros(400), free_raw_data=False).construct()
    booster = lgb.Booster({"objective": "none", "learning_rate": 1.0, "verbosity": -1, "min_data_in_leaf": 10}, data)
    booster.update(fobj=lambda *_: (np.tile([1.0, -1.0, 1.0, -1.0], (100, 1)).T.ravel(), np.ones(400)))
    tree: Tree = split_text(booster.model_to_string())[1][0]
    assert len(np.unique(np.round(tree.leaf_values, 9))) < tree.num_leaves
    reader = LeafReader(booster, [data])
    (leaf,) = reader.read(tree)
    assert reader.tied
    assert np.array_equal(leaf, np.asarray(booster.predict(values, pred_leaf=True)).ravel())


def test_one_pass_for_all_tasks_predicts_what_each_model_file_predicts() -> None:
    member = fit(scenario_of({"rating": RATING, "like": LIKE}, num_leaves=31), draw(4000, 1), draw(2000, 2))
    unseen = draw(3000, 3).features
    raw = member.raw_scores(unseen, ["rating", "like"])
    for task, scores in raw.items():
        (booster,) = boosters(member, task)
        native = np.asarray(booster.predict(unseen.to_numpy(), raw_score=True))
        assert np.abs(scores - native).max() < 1e-12
        assert native.std() > 0.1


@pytest.mark.parametrize("kind", ["independent", "shared"])
def test_a_level_unseen_in_training_is_treated_as_a_missing_one(kind: str) -> None:
    rng = np.random.default_rng(4)
    train, tune = draw(4000, 1), draw(2000, 2)
    for table in (train, tune):
        levels = rng.integers(0, 5, len(table.features))
        table.labels["rating"][:] += 2.0 * (levels % 2)
        text = pd.Series(np.array(["a", "b", "c", "d", "e"])[levels]).mask(rng.random(len(levels)) < 0.1)
        table.features["color"] = text.astype("category")
    member = member_class(kind).fit(train, tune, scenario_of({"rating": RATING, "like": LIKE}))
    made = {}
    for name, level in (("known", "b"), ("unseen", "z"), ("missing", None)):
        color = pd.Categorical([level] * 2000, categories=[level] if level else [])
        made[name] = member.predict(tune.features.assign(color=color))["rating"]
    assert np.array_equal(made["unseen"], made["missing"])
    assert np.abs(made["known"] - made["missing"]).mean() > 0.3
    loaded = type(member).load(member.files(), member.scenario)
    assert np.array_equal(loaded.predict(tune.features)["rating"], member.predict(tune.features)["rating"])


@pytest.mark.parametrize("kind", ["independent", "shared"])
def test_sample_weights_move_their_task(kind: str) -> None:
    train, tune = draw(3000, 1), draw(1500, 2)
    heavy = Table(train.features, train.labels, {"rating": np.where(train.features["column_0"] > 0, 5, 1)})
    scenario = scenario_of({"rating": RATING, "like": LIKE}, rounds=1, num_leaves=2)
    plain, weighted = (member_class(kind).fit(table, tune, scenario) for table in (train, heavy))
    assert not np.array_equal(plain.predict(tune.features)["rating"], weighted.predict(tune.features)["rating"])
    if kind == "independent":
        assert np.array_equal(plain.predict(tune.features)["like"], weighted.predict(tune.features)["like"])


def test_a_leaf_is_the_newton_step_of_the_rows_on_which_its_task_was_observed() -> None:
    train, tune = draw(3000, 1), draw(1500, 2)
    member = fit(scenario_of({"rating": RATING, "like": LIKE}, rounds=1), train, tune)
    settings = member.scenario.boosting.shared
    for task, kind in (("rating", "regression"), ("like", "binary")):
        (booster,) = boosters(member, task)
        label = train.labels[task].astype(np.float64)
        seen = ~np.isnan(label)
        leaf = np.asarray(booster.predict(train.features[seen].to_numpy(), pred_leaf=True)).ravel()
        mean = label[seen].mean()
        base, hessian = (mean, 1.0) if kind == "regression" else (np.log(mean / (1 - mean)), mean * (1 - mean))
        gradient, count = np.bincount(leaf, mean - label[seen]), np.bincount(leaf)
        expected = base - settings.learning_rate * gradient / (count * hessian + settings.leaf_l2)
        (tree,) = split_text(booster.model_to_string())[1]
        assert np.abs(tree.leaf_values[: len(expected)] - expected).max() < 1e-9


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_any_number_of_tasks_shares_trees_even_where_no_row_has_two_labels(count: int) -> None:
    rng = np.random.default_rng(count)
    tables = []
    for rows, seed in ((3000, 1), (1500, 2), (1500, 3)):
        table = draw(rows, seed)
        taste, turn = table.features["column_1"] + np.tanh(table.features["column_2"]), rng.integers(0, count, rows)
        labels = {}
        for number in range(count):
            noisy = taste.to_numpy() + rng.standard_normal(rows)
            label = noisy if number % 2 == 0 else noisy > 0.5
            labels[f"task_{number}"] = np.where(turn == number, label, np.nan).astype(np.float32)
        tables.append(Table(table.features, labels))
    tasks = {f"task_{number}": RATING if number % 2 == 0 else LIKE for number in range(count)}
    member = fit(scenario_of(tasks), tables[0], tables[1])
    for number, (task, values) in enumerate(member.predict(tables[2].features).items()):
        label = tables[2].labels[task].astype(np.float64)
        seen = ~np.isnan(label)
        assert np.corrcoef(values[seen], label[seen])[0, 1] > 0.2, number
    pairs = member.describe()["sharing"]["cosines"]
    assert len(pairs) == count * (count - 1) // 2
    assert all(value is None or -1 <= value <= 1 for values in pairs.values() for value in values)


def test_a_rare_label_stays_calibrated_beside_a_frequent_one() -> None:
    """Imbalance is met by scaling each task's gradient to one energy, never by weighting its classes."""
    rng = np.random.default_rng(6)
    tables = []
    for rows, seed in ((20000, 1), (8000, 2), (20000, 3)):
        table = draw(rows, seed)
        rare = rng.random(rows) < 1 / (1 + np.exp(5.2 - table.features["column_2"]))
        tables.append(Table(table.features, {"like": table.labels["like"], "rare": rare.astype(np.float32)}))
    member = fit(scenario_of({"like": LIKE, "rare": LIKE}), tables[0], tables[1])
    predicted, rate = member.predict(tables[2].features)["rare"], tables[0].labels["rare"].mean()
    truth = 1 / (1 + np.exp(5.2 - tables[2].features["column_2"].to_numpy()))
    truth *= rate / truth.mean()  # what a model can know is the rate in its own sample
    assert rate < 0.02
    assert predicted.mean() == pytest.approx(rate, rel=0.05)
    likeliest = predicted >= np.quantile(predicted, 0.9)
    assert predicted[likeliest].mean() == pytest.approx(truth[likeliest].mean(), rel=0.35)  # drawn to the mean
    assert truth[likeliest].mean() > 1.5 * rate


def test_a_task_of_noise_does_not_cost_the_other_anything_once_fused() -> None:
    rng = np.random.default_rng(9)
    train, tune, unseen = (draw(rows, seed) for rows, seed in ((6000, 1), (3000, 2), (6000, 3)))
    for table in (train, tune):
        table.labels["like"][:] = rng.permutation(table.labels["like"])
    scenario = scenario_of({"rating": RATING, "like": LIKE})
    alone, tail = (member_class(kind).fit(train, tune, scenario) for kind in ("independent", "shared_tail"))
    seen = ~np.isnan(unseen.labels["rating"])
    label = unseen.labels["rating"][seen].astype(np.float64)
    ours, theirs = (member.predict(unseen.features)["rating"][seen] for member in (alone, tail))
    before, after = (compute("rmse", label, values) for values in (ours, (ours + theirs) / 2))
    assert before is not None
    assert after is not None
    assert after < before + 0.003
