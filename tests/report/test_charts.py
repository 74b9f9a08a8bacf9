"""Charts are inline SVG: stable bytes, readable text, the page's colors."""

from __future__ import annotations

import math
import re
import warnings

import pytest

from mtl_tasks.report import charts, compare_charts
from mtl_tasks.store.documents.curves import DailyMetric
from mtl_tasks.store.documents.evaluation import CalibrationPoint
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.training import FeatureEffect, LearningCurve
from tests.support.charts import parsed, texts

BINS = [CalibrationPoint(predicted=0.1 * n, observed=0.09 * n, rows=100) for n in range(1, 6)]
FALLING = tuple(0.5 - 0.0001 * n for n in range(2000))
CURVE = LearningCurve(metric="log_loss", train=FALLING, tune=(0.5,) * 2000)
DIFFERENCES = {
    "als": {"auc": Measurement(value=0.0153, low=0.0121, high=0.0188)},
    "fusion": {"auc": Measurement(value=0.02, low=None, high=None)},
}
WINDOWS = {"train": ("2013-05-19", "2013-07-13"), "test": ("2013-07-28", "2013-08-24")}

TASKS = ("watch_ratio", "click", "long_view", "like", "comment", "follow", "forward")
PAIRS = [f"{first}|{second}" for place, first in enumerate(TASKS) for second in TASKS[place + 1 :]]
EFFECTS = [
    FeatureEffect(feature=f"item.count_{n}d", mean_abs=1 / n, direction=(0.5, -0.5, 0.05, None)[n % 4])
    for n in range(1, 31)
]
SPLIT = [(f"item.count_{n}d", 0.2 / n, 0.1 / n) for n in range(1, 21)]
COSINES = {pair: [place / 20 - 0.5 + 0.001 * (-1) ** n for n in range(3000)] for place, pair in enumerate(PAIRS)}
WEIGHTS: dict[str, list[float | None]] = {"rating": [1.0] * 50, "purchase": [1.2] * 30 + [None] * 20}

DRAWN = {
    "timeline": lambda: charts.timeline(WINDOWS, "2013-08-25"),
    "differences": lambda: charts.differences(DIFFERENCES, ["auc"], "gain"),
    "weights": lambda: charts.weights({"popularity": 0.25, "als": 0.75}, "weights"),
    "calibration": lambda: charts.calibration(BINS, "calibration"),
    "learning": lambda: charts.learning_curve(CURVE, 1234, "curve"),
    "importance": lambda: charts.importance([(f"item.count_{n}d", 1 / n) for n in range(1, 31)], "importance"),
    "split": lambda: charts.importance([], "importance", SPLIT),
    "effects": lambda: charts.effects(EFFECTS, "log-odds", "effects"),
    "conflict": lambda: charts.conflict(COSINES, "conflict"),
    "task weights": lambda: charts.task_weights(WEIGHTS, "task weights"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_chart_is_well_formed_and_the_same_each_time(name: str) -> None:
    svg = DRAWN[name]()
    root = parsed(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert DRAWN[name]() == svg


@pytest.mark.parametrize("name", DRAWN)
def test_chart_uses_only_colors_of_the_page(name: str) -> None:
    assert not re.search(r"#[0-9a-f]{6}", DRAWN[name]())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("timeline", "day (UTC)"),
        ("weights", "weight (they sum to 1)"),
        ("calibration", "predicted probability (mean of a bin)"),
        ("learning", "Log loss (nats a row)"),
        ("importance", "share of the total gain"),
        ("split", "share of the total gain"),
        ("effects", "mean absolute SHAP value (log-odds)"),
        ("conflict", "cosine of gradients"),
        ("task weights", "boosting round"),
    ],
)
def test_axes_are_labeled_with_their_units(name: str, label: str) -> None:
    assert label in texts(DRAWN[name]())


def test_windows_are_labeled_with_their_days_and_use() -> None:
    assert "28 days: read by the gate and this report only" in texts(DRAWN["timeline"]())


def test_best_round_is_marked_with_its_value_in_full() -> None:
    assert "best round 1,234: 0.5000" in texts(DRAWN["learning"]())


def test_steps_are_counted_in_whole_numbers() -> None:
    short = LearningCurve(metric="log_loss", train=FALLING[:20], tune=FALLING[:20])
    drawn = charts.learning_curve(short, 20, "curve"), charts.task_weights({"rating": [1.0] * 20}, "weights")
    for shown in map(texts, drawn):
        assert shown[:4] == ["5", "10", "15", "20"]


def test_long_curves_are_thinned() -> None:
    assert len(DRAWN["learning"]()) < 20_000


def test_importance_shows_the_top_twenty() -> None:
    shown = [text for text in texts(DRAWN["importance"]()) if text.startswith("item: count")]
    assert len(shown) == 20
    assert shown[0] == "item: count, 1 day"


def test_gain_in_shared_and_in_own_trees_has_two_tones() -> None:
    assert {"shared trees", "own trees"} <= set(texts(DRAWN["split"]()))
    assert "own trees" not in texts(DRAWN["importance"]())


def test_effects_are_told_apart_by_direction() -> None:
    svg = DRAWN["effects"]()
    assert {"a higher value raises", "a higher value lowers", "no clear direction"} <= set(texts(svg))
    colors = ("series-1", "series-2", "muted")  # five of the twenty bars each, and ten without a clear direction
    assert [len(re.findall(rf'"fill:var\(--{name}\)"/>', svg)) for name in colors] == [6, 6, 11]  # and a key each


def test_a_direction_that_no_feature_has_is_left_out() -> None:
    svg = charts.effects(EFFECTS[:1], "log-odds", "effects")
    assert "a higher value lowers" in texts(svg)
    assert "no clear direction" not in texts(svg)
    assert not re.search(r"#[0-9a-f]{6}", svg)


def test_of_many_pairs_those_in_most_conflict_are_named() -> None:
    shown = texts(DRAWN["conflict"]())
    assert [pair.replace("|", " and ") for pair in PAIRS[:6]] == [text for text in shown if " and " in text]
    assert "range of 15 others" in shown
    assert len(DRAWN["conflict"]()) < 60_000


def test_a_few_pairs_are_all_named() -> None:
    shown = texts(charts.conflict({pair: COSINES[pair] for pair in PAIRS[:8]}, "conflict"))
    assert len([text for text in shown if " and " in text]) == 8


def test_smoothing_is_the_mean_of_the_last_rounds_and_skips_what_is_not_there() -> None:
    assert charts._running_mean([1.0, 3.0, None, 5.0]) == pytest.approx([1.0, 3.0, math.nan, 5.0], nan_ok=True)
    drawn = charts._running_mean([float(n % 2) for n in range(200)])
    assert drawn[20:] == pytest.approx([0.5] * 180)


def test_difference_without_an_interval_is_still_drawn() -> None:
    assert {"als", "fusion"} <= set(texts(DRAWN["differences"]()))


def test_models_keep_their_colors_across_charts() -> None:
    assert charts.colors(["als", "independent"])["fusion"] == charts.colors(["fusion", "als"])["fusion"]
    assert len(set(charts.colors(["a", "b", "c", "d", "e"]).values())) == 7


def test_a_dollar_sign_in_a_name_is_no_formula() -> None:
    assert r"item: $\bad$" in texts(charts.importance([(r"item.$\bad$", 0.5)], "importance"))


def test_runs_that_never_saw_nor_predicted_a_positive_have_a_calibration() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of an axis without length
        compare_charts.calibration({"a": [CalibrationPoint(predicted=0, observed=0, rows=9)]}, "calibration")


def test_a_run_whose_metric_is_another_one_is_not_drawn_on_its_axis() -> None:
    days = ("2013-05-06", "2013-05-07")
    rmse, auc = (
        DailyMetric(metric=name, days=days, rows=(9, 9), models={"fusion": (0.5, 0.6)}) for name in ("rmse", "auc")
    )
    shown = texts(compare_charts.by_day({"gone": None, "one": rmse, "other": auc, "two": rmse}, "by day"))
    assert {"one", "two"} <= set(shown)
    assert "other" not in shown


def test_markup_in_a_title_is_escaped() -> None:
    assert "<b>" not in charts.weights({"als": 1.0}, "<b>")
