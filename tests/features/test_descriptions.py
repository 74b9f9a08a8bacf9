"""Every feature that is built can be said in words."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_tasks.features.descriptions import value_text, words
from tests.features.test_builder import KNOWN_ITEMS, features_of
from tests.support.worlds import random_events, random_rows, world_scenario


def test_every_column_that_is_built_has_words_of_its_own() -> None:
    rng = np.random.default_rng(0)
    events, rows = random_events(rng), random_rows(rng, 5, text=False)
    scenario = world_scenario(features={"windows": [1, 7, 28]})
    names = list(features_of(events, rows, scenario, text=False, items=KNOWN_ITEMS))
    assert len(names) > 50
    said = [words(name) for name in names]
    assert [name for name, text in zip(names, said, strict=True) if text == name or "." in text or "_" in text] == []
    assert len(set(said)) == len(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("item.count", "interactions of the item"),
        ("item.count_1d", "interactions of the item in the last day"),
        ("user.days_since_last", "days since the last interaction of the user"),
        ("item.watch_ratio.mean_28d", "mean watch ratio of the item in the last 28 days"),
        ("user_x_item.rating.factors", "rating beyond the levels, predicted from factors"),
        ("user_x_item.year_minus_usual", "year of the item, less what is usual for the user"),
        ("user_x_genres.rating.residual", "rating of the user for the item's genres, beyond the levels"),
        ("cascade.long_view", "long view, as predicted by an earlier task of the cascade"),
        ("item.release_year", "release year of the item"),
        ("something_else", "something_else"),
    ],
)
def test_words_follow_the_parts_of_a_name(name: str, expected: str) -> None:
    assert words(name) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(2013.0, "2013"), (-0.04321, "-0.0432"), (float("inf"), "inf"), (float("nan"), "unknown")]
)
def test_values_are_written_short(value: float, text: str) -> None:
    assert value_text(value) == text
