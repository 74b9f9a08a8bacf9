"""Features that go on from what another run had counted are those of counting everything, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.features import running_sums as sums
from mtl_tasks.features.builder import FeatureMaker, Tables
from mtl_tasks.features.interactions import encode
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.store.artifacts import Store
from tests.support.worlds import (
    END,
    FIRST,
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


@pytest.mark.parametrize("small_space", [sums.SMALL_SPACE, 0])
@settings(max_examples=8, phases=[Phase.generate])
@given(seed=st.integers(0, 1000), day=st.integers(FIRST + 1, END), text=st.booleans(), late=st.booleans())
def test_counting_on_equals_counting_everything(
    tmp_path_factory: pytest.TempPathFactory, small_space: int, seed: int, day: int, text: bool, late: bool
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sums, "SMALL_SPACE", small_space)
        rng, scenario = np.random.default_rng(seed), world_scenario(**RICH)
        events = canonical(random_events(rng), text=text)
        if late:
            events[columns.KNOWN] = events[columns.DAY] + rng.integers(0, 3, len(events)).astype(np.int32)
        tables = Tables(user_versions(rng, text=text), item_table([10 + 2 * code for code in range(ITEMS)], text=text))
        rows = random_rows(rng, 60, text=text)
        rows = rows[rows[columns.DAY] >= day].reset_index(drop=True)
        factor_models = fit_all(events, tables.items, scenario, START, END)
        coded, coded_rows = encode(events, rows, scenario)
        expected = FeatureMaker(coded, tables, factor_models, scenario).make(coded_rows)
        remembered = stored(before(events, tables, day), day, tmp_path_factory.mktemp("store"))
        made = FeatureMaker(coded, tables, factor_models, scenario, remembered).make(coded_rows)
        pd.testing.assert_frame_equal(made, expected, check_exact=True)


def before(events: pd.DataFrame, tables: Tables, day: int) -> FeatureSnapshot:
    """Count what was before a day, knowing nothing of any other."""
    scenario = world_scenario(**RICH)
    past = events[events[columns.DAY] < day].reset_index(drop=True)
    coded, _ = encode(past, past.iloc[:0], scenario)
    maker = FeatureMaker(coded, tables, {}, scenario)
    maker.advance(day)
    return maker.memory()


def stored(memory: FeatureSnapshot, day: int, folder: Path) -> FeatureSnapshot:
    store = Store(str(folder))
    facts = {"stage": "counts before a day", "usage": {}}
    return FeatureSnapshot.read(
        store.publish(store.folder("world", "days", str(day), "key"), "key", memory.payload(), facts)
    )
