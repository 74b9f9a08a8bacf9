"""Names and numbers as people read them."""

from __future__ import annotations

import doctest

import pytest

from mtl_tasks.report import labels
from mtl_tasks.store.documents.measurements import Measurement


def measured(value: float | None, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(value=value, low=low, high=high)


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(labels).failed == 0


def test_best_is_the_lowest_error_and_the_highest_score() -> None:
    models = {
        "a": {"rmse": measured(1.5), "auc": measured(0.6)},
        "b": {"rmse": measured(1.6), "auc": measured(0.7)},
    }
    assert labels.best(models, "rmse") == {"a"}
    assert labels.best(models, "auc") == {"b"}


def test_models_that_look_the_same_are_both_best() -> None:
    assert labels.best({"a": {"auc": measured(0.70001)}, "b": {"auc": measured(0.70002)}}, "auc") == {"a", "b"}


def test_a_metric_nobody_could_compute_has_no_best() -> None:
    assert labels.best({"a": {"auc": measured(None)}, "b": {}}, "auc") == set()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "unclear"), (None, None, "")],
)
def test_an_interval_decides_what_a_difference_says(low: float | None, high: float | None, expected: str) -> None:
    assert labels.stands(measured(0.0, low, high)) == expected


def test_unknown_metric_has_no_direction() -> None:
    assert labels.metric("top_share").heading == "top share"
