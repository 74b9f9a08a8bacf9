"""Two towers see nothing at or after their day, and offer items that the training never met."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.features.builder import FeatureMaker, Tables
from mtl_tasks.features.interactions import encode
from mtl_tasks.models.deep.two_tower import LAST
from mtl_tasks.models.deep.two_tower_training import TowerData
from mtl_tasks.recommend.candidates import Candidates
from mtl_tasks.recommend.towers import fit_towers, tower_data
from mtl_tasks.scenario import Scenario
from tests.support.worlds import (
    END,
    ITEMS,
    RICH,
    START,
    canonical,
    fit_all,
    item_table,
    random_events,
    user_versions,
    world_scenario,
)

DAY = START + 4
SOURCES = {"als": 0, "popular": 0, "co_occurrence": 0, "attributes": 0, "two_tower": 50}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return world_scenario(**RICH, recommend={"sources": SOURCES, "two_tower": {"dimensions": 4, "epochs": 1}})


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return canonical(random_events(np.random.default_rng(51), 150))


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables(user_versions(np.random.default_rng(52)), item_table([10 + 2 * code for code in range(ITEMS + 1)]))


def maker_of(events: pd.DataFrame, tables: Tables, scenario: Scenario) -> FeatureMaker:
    coded, _ = encode(events, events.iloc[:0], scenario)
    return FeatureMaker(coded, tables, fit_all(events, tables.items, scenario, START, END), scenario)


def content_of(data: TowerData) -> dict[str, Any]:
    """Return data in a form to compare."""
    made = asdict(data)
    for side in ("about_items", "about_users"):
        values = made[side]["values"]
        made[side] = (made[side]["labels"], values.indptr.tolist(), values.indices.tolist(), values.data.tolist())
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in made.items()}


def test_nothing_at_or_after_the_day_is_learned_from(events: pd.DataFrame, tables: Tables, scenario: Scenario) -> None:
    late = (events[columns.DAY] >= DAY).to_numpy()
    changed = events.copy()
    labels = [columns.label(name) for name in scenario.labels]
    changed.loc[late, labels] = 1.0 - changed.loc[late, labels]
    changed.loc[late, columns.ITEM] = changed.loc[late, columns.ITEM].to_numpy()[::-1]
    unknown = tables.users[columns.VALID] >= pd.Timestamp(DAY, unit="D", tz="UTC")
    users = tables.users.assign(fans=tables.users["fans"].where(~unknown, -1.0))
    first = content_of(tower_data(maker_of(events, tables, scenario), DAY))
    second = content_of(tower_data(maker_of(changed, Tables(users, tables.items), scenario), DAY))
    assert first == second
    assert first["items"]


def test_what_was_known_before_the_day_is_learned_from(
    events: pd.DataFrame, tables: Tables, scenario: Scenario
) -> None:
    users = tables.users.assign(fans=tables.users["fans"] + 1)
    first = content_of(tower_data(maker_of(events, tables, scenario), DAY))
    second = content_of(tower_data(maker_of(events, Tables(users, tables.items), scenario), DAY))
    assert [name for name in first if first[name] != second[name]] == ["about_users"]
    kinds = {
        label.partition(":")[0] for label in tower_data(maker_of(events, tables, scenario), DAY).about_items.labels
    }
    assert kinds == {"number", "value", "content.text", "content.vectors"}


def test_a_history_is_the_last_items_taken_before_the_day_of_the_interaction(
    events: pd.DataFrame, tables: Tables, scenario: Scenario
) -> None:
    maker = maker_of(events, tables, scenario)
    data, taken = tower_data(maker, DAY), maker.positives.before(DAY)
    for place, (user, day) in enumerate(zip(taken.users, taken.days, strict=True)):
        mine = taken.items[(taken.users == user) & (taken.days < day)][-LAST:].tolist()
        assert data.history[place].tolist() == [*mine, *[-1] * (LAST - len(mine))]


def test_an_item_that_the_training_never_met_is_offered(
    events: pd.DataFrame, tables: Tables, scenario: Scenario
) -> None:
    new = events.tail(1).assign(**{columns.ITEM: 10 + 2 * ITEMS, columns.DAY: np.int32(DAY)})
    longer = pd.concat([events[events[columns.DAY] < DAY], new], ignore_index=True)
    factor_models = fit_all(longer, tables.items, scenario, START, END)
    towers = fit_towers(longer, tables, factor_models, scenario, DAY)
    assert 10 + 2 * ITEMS not in towers.item_ids
    maker = maker_of(longer, tables, scenario)
    maker.advance(DAY + 1)
    users = np.arange(len(maker.events.user_ids))
    rows, _ = Candidates(maker, DAY + 1, scenario, towers).rows(users)
    assert (maker.events.item_ids[rows.items] == 10 + 2 * ITEMS).any()
    taken = maker.positives.before(DAY + 1)
    had = set(zip(taken.users.tolist(), taken.items.tolist(), strict=True))
    assert not had & set(zip(rows.users.tolist(), rows.items.tolist(), strict=True))
    alone, _ = Candidates(maker, DAY + 1, scenario, towers).rows(users[3:4])
    assert alone.items.tolist() == rows.items[rows.users == 3].tolist()


def test_a_log_without_positives_and_a_run_without_towers_are_refused(
    events: pd.DataFrame, tables: Tables, scenario: Scenario
) -> None:
    maker, factor_models = maker_of(events, tables, scenario), fit_all(events, tables.items, scenario, START, END)
    with pytest.raises(DataError, match=r"two_tower: there is no positive interaction to learn from before"):
        fit_towers(events, tables, factor_models, scenario, int(events[columns.DAY].min()))
    with pytest.raises(ArtifactError, match=r"two_tower: the run has no fitted two-tower model"):
        Candidates(maker, DAY, scenario)
