"""The ways that are timed side by side give the same numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from tests.benchmarks.windows import WAYS, Events


@pytest.mark.parametrize("name", [name for name in WAYS if name != "numpy"])
def test_every_way_gives_the_same(name: str) -> None:
    pytest.importorskip(name if name in ("polars", "duckdb") else "numpy")
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            columns.USER: rng.integers(20, size=600),
            columns.ITEM: rng.integers(10, size=600),
            columns.DAY: rng.integers(60, size=600),
            "value": rng.integers(2, size=600).astype(np.float32),
        }
    )
    events, rows = Events.of(frame, "value"), Events.of(frame.sample(200, random_state=1), "value")
    made, wanted = WAYS[name](events, rows), WAYS["numpy"](events, rows)
    assert made.keys() == wanted.keys()
    for column, values in wanted.items():
        np.testing.assert_allclose(made[column], values, atol=1e-9, err_msg=column)
