"""Texts and given vectors keep the contract, follow their definition and are known from no later version."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError
from mtl_tasks.features.builder import Tables, build_features, extend_factor_models
from mtl_tasks.features.content import ROWS_AT_ONCE, fit_content, project
from mtl_tasks.features.groups.content import LAST, ItemContent
from mtl_tasks.scenario import Scenario
from tests.contracts.feature_group import FeatureGroupContract
from tests.support.worlds import (
    END,
    FIRST,
    ITEMS,
    RICH,
    START,
    Event,
    canonical,
    fit_all,
    item_table,
    random_events,
    random_rows,
    user_versions,
    world_scenario,
)

CODES = [10 + 2 * code for code in range(ITEMS + 2)]
KINDS = ("text", "vectors")


class TestItemContent(FeatureGroupContract):
    group = ItemContent


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return world_scenario(**RICH)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return random_events(np.random.default_rng(41), 200)


def made_of(events: pd.DataFrame, rows: pd.DataFrame, items: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """Return the columns of texts and vectors."""
    factor_models = fit_all(events, items, scenario, START, END)
    made = build_features(events, Tables(user_versions(np.random.default_rng(3)), items), rows, factor_models, scenario)
    return made[[name for name in made if name.startswith(KINDS)]]


def versioned(items: pd.DataFrame) -> pd.DataFrame:
    """Return two versions of each item, the second of another text and vector and valid in the course of the log."""
    later = items.assign(**{columns.TEXT: "a harbor in the snow", columns.vector(0): np.float32(-3)})
    days = [0] * len(items) + [START - 2 + place % 6 for place in range(len(items))]
    both = pd.concat([items, later], ignore_index=True)
    both[columns.VALID] = pd.to_datetime(days, unit="D", utc=True).astype("datetime64[us, UTC]")
    return both.sort_values([columns.ITEM, columns.VALID], ignore_index=True)


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_are_those_with_the_mean_of_what_the_user_took_before(
    kind: str, events: list[Event], scenario: Scenario
) -> None:
    items, rows, frame = item_table(CODES), random_rows(np.random.default_rng(42), 60), canonical(events)
    made = made_of(frame, rows, items, scenario)
    fitted = fit_content(items, frame, scenario, START)[kind]
    of = dict(zip(CODES, project(items, kind, fitted).astype(float), strict=True))  # type: ignore[arg-type]
    ordered = frame.sort_values([columns.DAY, columns.USER], kind="stable")
    taken = ordered[(ordered[columns.label("like")] == 1) | (ordered[columns.label("cart")] == 1)]
    for row in range(len(rows)):
        user, item, day = (int(rows.loc[row, name]) for name in (columns.USER, columns.ITEM, columns.DAY))
        mine = taken[(taken[columns.USER] == user) & (taken[columns.DAY] < day)][columns.ITEM].tolist()
        for column, chosen in (("cosine", mine), ("recent_cosine", mine[-LAST:])):
            total = sum((of[code] for code in chosen), np.zeros(3))
            expected = of[item] @ total / np.linalg.norm(total) if of[item].any() and total.any() else np.nan
            assert made[f"{kind}.{column}"][row] == pytest.approx(expected, abs=1e-5, nan_ok=True)
        dimensions = made.loc[row, [f"{kind}.item_{axis}" for axis in range(3)]].to_numpy(dtype=float)
        assert dimensions == pytest.approx(of[item] if of[item].any() else np.full(3, np.nan), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("table_versions", [False, True])
def test_what_is_written_of_items_later_changes_no_earlier_row(
    table_versions: bool, events: list[Event], scenario: Scenario
) -> None:
    cut = START + 3
    items = versioned(item_table(CODES)) if table_versions else item_table(CODES)
    frame, rows = canonical(events), random_rows(np.random.default_rng(43), 200)
    before = made_of(frame, rows, items, scenario)
    new = item_table([code + 1 for code in CODES])  # items that the log never saw
    if table_versions:
        new[columns.VALID] = pd.Timestamp(0, tz="UTC").as_unit("us")
        late = items[columns.VALID] >= pd.Timestamp(cut, unit="D", tz="UTC")
        assert late.any()
        items = items.assign(**{columns.TEXT: items[columns.TEXT].where(~late, "quite another text entirely")})
        items[columns.vector(1)] = items[columns.vector(1)].where(~late, np.float32(7))
    changed = pd.concat([items, new], ignore_index=True)
    order = [columns.ITEM, columns.VALID] if table_versions else [columns.ITEM]
    after = made_of(frame, rows, changed.sort_values(order, ignore_index=True), scenario)
    settled = (rows[columns.DAY] <= cut).to_numpy()
    assert 0 < settled.sum() < len(rows)
    pd.testing.assert_frame_equal(before[settled], after[settled], check_exact=True)


def test_a_version_of_a_text_counts_from_the_day_after_it(events: list[Event], scenario: Scenario) -> None:
    items = versioned(item_table(CODES))
    day = START + 1
    rows = pd.DataFrame({columns.USER: [100] * 2, columns.ITEM: [12] * 2, columns.DAY: np.int32([day, day + 1])})
    rows = rows.assign(**{columns.context("tab"): pd.Categorical(["home"] * 2), columns.context("price"): 1.0})
    items.loc[items[columns.ITEM] == 12, columns.VALID] = pd.to_datetime([0, day], unit="D", utc=True).as_unit("us")
    made = made_of(canonical(events), rows, items, scenario)
    for kind in KINDS:
        assert made[f"{kind}.item_0"][0] != made[f"{kind}.item_0"][1]


def test_only_items_known_before_the_train_window_are_fitted_on(events: list[Event], scenario: Scenario) -> None:
    early = [event for event in events if event.day >= START or event.item < 20]
    items, frame = item_table(CODES), canonical(early)
    changed = items.copy()
    unknown = (items[columns.ITEM] >= 20).to_numpy()
    changed.loc[unknown, columns.TEXT] = "words that occur twice, words that occur twice"
    changed.loc[unknown, columns.vector(2)] = np.float32(5)
    first, second = (fit_content(table, frame, scenario, START) for table in (items, changed))
    for kind in KINDS:
        assert np.array_equal(first[kind].item_ids, second[kind].item_ids)
        assert np.array_equal(first[kind].vectors, second[kind].vectors)


def test_a_fit_is_the_same_twice_and_its_directions_have_a_sign(events: list[Event], scenario: Scenario) -> None:
    items, frame = item_table(CODES), canonical(events)
    first, second = (fit_content(table, frame, scenario, START) for table in (items, items.iloc[::-1]))
    for kind in KINDS:
        assert first[kind].vectors.tobytes() == second[kind].vectors.tobytes()
        weights = first[kind].vectors
        if kind == "vectors":  # of terms, the weights are scaled afterwards
            assert (weights[np.abs(weights).argmax(axis=0), range(3)] > 0).all()


def test_an_item_without_text_has_none_and_dimensions_that_nothing_fills_are_zero(events: list[Event]) -> None:
    scenario = world_scenario(**RICH, features={"text": {"dimensions": 6}})
    items = item_table(CODES)
    fitted = fit_content(items, canonical(events), scenario, START)
    assert (fitted["vectors"].vectors[:, 4:] == 0).all()
    assert fitted["vectors"].vectors[:, :4].any(axis=0).all()
    lengths = np.linalg.norm(project(items, "text", fitted["text"]), axis=1)
    assert lengths == pytest.approx((items[columns.TEXT] != "").astype(float), abs=1e-6)


def test_an_earlier_runs_projection_serves_a_longer_log(events: list[Event], scenario: Scenario) -> None:
    frame = canonical(events)
    factor_models = fit_all(frame, item_table(CODES), scenario, START, END)
    extended = extend_factor_models(factor_models, frame, scenario, END)
    assert list(extended) == list(factor_models)
    assert extended["text"] is factor_models["text"]


def test_texts_without_a_common_term_are_refused(events: list[Event], scenario: Scenario) -> None:
    items = item_table(CODES).assign(**{columns.TEXT: [f"word{code}" for code in CODES]})
    with pytest.raises(DataError, match=r"^source\.items\.text: no term occurs in two of the texts of the \d+ items"):
        fit_content(items, canonical(events), scenario, START)


def test_vectors_of_another_length_than_those_fitted_are_refused(events: list[Event], scenario: Scenario) -> None:
    items = item_table(CODES)
    fitted = fit_content(items, canonical(events), scenario, START)["vectors"]
    with pytest.raises(DataError, match=re.escape("vectors have 3 numbers now, but 4 when the run was trained")):
        project(items.drop(columns=columns.vector(3)), "vectors", fitted)


def test_items_unknown_before_train_leave_nothing_to_fit_vectors_on(events: list[Event], scenario: Scenario) -> None:
    items = item_table(CODES)
    items[[columns.vector(axis) for axis in range(4)]] = np.float32("nan")
    with pytest.raises(DataError, match=r"source\.items\.vectors: none of the \d+ items known before \d{4}-\d\d-\d\d"):
        fit_content(items, canonical(events), scenario, FIRST + 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_projected_equally_in_any_block(kind: str, events: list[Event], scenario: Scenario) -> None:
    items = item_table(CODES)
    fitted = fit_content(items, canonical(events), scenario, START)[kind]
    once = project(items, kind, fitted)  # type: ignore[arg-type]
    count = ROWS_AT_ONCE + 5
    many = items.iloc[np.arange(count) % len(items)].reset_index(drop=True)
    np.testing.assert_array_equal(project(many, kind, fitted), once[np.arange(count) % len(items)])  # type: ignore[arg-type]
    assert project(items.iloc[:0], kind, fitted).shape == (0, once.shape[1])  # type: ignore[arg-type]
