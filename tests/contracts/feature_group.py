"""Behavior of every feature group; a test class of a group inherits this and names the group."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.features.builder import FeatureMaker, Tables
from mtl_tasks.features.groups import FeatureGroup
from mtl_tasks.features.interactions import encode
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.store.artifacts import Store
from tests.support.worlds import (
    END,
    ITEMS,
    RICH,
    START,
    canonical,
    fit_all,
    item_table,
    random_events,
    random_rows,
    user_versions,
    world_scenario,
)

Columns = dict[str, Any]
SCENARIO = world_scenario(**RICH)
CUT = START + 4
LATER = pd.Timestamp(CUT, unit="D", tz="UTC")
LABELS = [columns.label(name) for name in ("rating", "like", "cart")]


class FeatureGroupContract:
    """Inherit, and set ``group``."""

    group: ClassVar[type[FeatureGroup]]

    @pytest.fixture(scope="class")
    @classmethod
    def events(cls) -> pd.DataFrame:
        """A log of which some labels become final only after a day or two."""
        rng = np.random.default_rng(31)
        frame = canonical(random_events(rng, 200))
        frame[columns.KNOWN] = frame[columns.DAY] + rng.integers(0, 3, len(frame)).astype(np.int32)
        return frame

    @pytest.fixture(scope="class")
    @classmethod
    def tables(cls) -> Tables:
        items = item_table([10 + 2 * code for code in range(ITEMS)])
        return Tables(user_versions(np.random.default_rng(32)), items)

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, events: pd.DataFrame, tables: Tables) -> Columns:
        return cls.columns_of(events, tables)

    @classmethod
    def columns_of(cls, events: pd.DataFrame, tables: Tables, memory: FeatureSnapshot | None = None) -> Columns:
        """Make the group's columns of some rows of the day of the cut."""
        rows = random_rows(np.random.default_rng(33), 80).assign(**{columns.DAY: np.int32(CUT)})
        factor_models = fit_all(events, tables.items, SCENARIO, START, END)
        coded, coded_rows = encode(events, rows, SCENARIO)
        maker = FeatureMaker(coded, tables, factor_models, SCENARIO, memory)
        maker.advance(CUT)
        made: Columns = {}
        for group in maker.groups:
            if isinstance(group, cls.group):
                made |= group.columns(coded_rows)
        return made

    def test_it_makes_the_columns_that_it_declares_in_their_order(self, made: Columns) -> None:
        declared = self.group.declare(SCENARIO)
        assert list(made) == [column.name for column in declared]
        for column in declared:
            values = made[column.name]
            assert len(values) == 80
            assert isinstance(values, pd.Categorical) == (column.kind == "category")
            assert isinstance(values, pd.Categorical) or not np.isinf(values).any()

    def test_every_column_has_a_description_of_its_own(self) -> None:
        declared = self.group.declare(SCENARIO)
        said = [column.description for column in declared]
        assert len(set(said)) == len(said)
        assert [text for text in said if "_" in text or text.endswith(".") or not text] == []
        assert {column.task for column in declared} <= {None, *SCENARIO.labels}

    def test_groups_of_a_scenario_have_names_of_their_own(self, events: pd.DataFrame, tables: Tables) -> None:
        coded, _ = encode(events, events.iloc[:0], SCENARIO)
        names = [group.name for group in FeatureMaker(coded, tables, {}, SCENARIO).groups]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("day", [START, CUT - 1, CUT])
    def test_counting_on_from_a_stored_snapshot_equals_counting_from_scratch(
        self, events: pd.DataFrame, tables: Tables, made: Columns, day: int, tmp_path: Any
    ) -> None:
        past = events[events[columns.DAY] < day].reset_index(drop=True)
        coded, _ = encode(past, past.iloc[:0], SCENARIO)
        maker = FeatureMaker(coded, tables, {}, SCENARIO)
        maker.advance(day)
        store = Store(str(tmp_path))
        facts = {"stage": "counts before a day", "usage": {}}
        kept = store.publish(store.folder("world", "days", str(day), "key"), "key", maker.memory().payload(), facts)
        assert_equal(self.columns_of(events, tables, FeatureSnapshot.read(kept)), made)

    @pytest.mark.parametrize("change", ["labels", "context", "pairs", "tables", "nothing after"])
    def test_nothing_at_or_after_the_day_of_a_row_enters(
        self, events: pd.DataFrame, tables: Tables, made: Columns, change: str
    ) -> None:
        late = (events[columns.DAY] >= CUT).to_numpy()
        changed, users = events.copy(), tables.users.copy()
        if change == "labels":
            unknown = (events[columns.KNOWN] >= CUT).to_numpy()
            changed.loc[unknown, LABELS] = 1.0 - changed.loc[unknown, LABELS]
        elif change == "context":
            changed.loc[late, columns.context("tab")] = "search"
            changed.loc[late, columns.context("price")] = np.float32(9)
        elif change == "pairs":
            for name in (columns.USER, columns.ITEM):
                changed.loc[late, name] = changed.loc[late, name].to_numpy()[::-1]
        elif change == "tables":
            users.loc[users[columns.VALID] >= LATER, ["fans", "segment"]] = [-1.0, "new"]
        else:
            changed = changed[~late].reset_index(drop=True)
        assert_equal(self.columns_of(changed, Tables(users, tables.items)), made)

    def test_what_was_known_before_the_day_of_a_row_enters(
        self, events: pd.DataFrame, tables: Tables, made: Columns
    ) -> None:
        changed = events.copy()
        changed[LABELS] = 1.0 - changed[LABELS]
        changed[columns.ITEM] = changed[columns.ITEM].to_numpy()[::-1]
        other = self.columns_of(changed, Tables(tables.users.assign(fans=np.float32(-1)), tables.items))
        assert [name for name in made if not same(made[name], other[name])] != []


def assert_equal(made: Columns, expected: Columns) -> None:
    assert list(made) == list(expected)
    assert [name for name in made if not same(made[name], expected[name])] == []


def same(one: Any, other: Any) -> bool:
    """Whether two columns are equal to the bit, or name the same categories."""
    if isinstance(one, pd.Categorical):
        return pd.Series(one).astype(object).equals(pd.Series(other).astype(object))
    return bool(one.dtype == other.dtype and one.tobytes() == other.tobytes())
