"""The benchmark's problems are what they say, and know nothing of a row's own day."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.kuairand import BINARY, Raw, encode, read
from tests.benchmarks.kuairand_features import build
from tests.benchmarks.simulated import simulate
from tests.conftest import PROJECT

CHANGED_FROM = 20220502


@pytest.mark.parametrize(("relation", "sign"), [("related", 1), ("negative", -1), ("unrelated", 0)])
def test_simulated_tasks_are_related_as_asked_for(relation, sign) -> None:
    problem = simulate(relation, 0.1, 5_000, 1)
    assert problem.labels["purchase"].mean() == pytest.approx(0.03, abs=0.01)
    train = problem.labels["rating"][problem.rows("train")]
    assert np.isfinite(train).mean() == pytest.approx(0.1, abs=0.02)
    correlation = np.corrcoef(problem.truth["purchase"], problem.truth["rating"])[0, 1]
    assert correlation * sign > 0.3 if sign else abs(correlation) < 0.15


@pytest.fixture(scope="module")
def raw() -> Raw:
    """A tenth of the people."""
    whole = read(PROJECT / "include" / "data" / "kuairand")
    some = {
        name: table[table["user_id"] % 10 == 0].reset_index(drop=True)
        for name, table in (("events", whole.events), ("users", whole.users), ("history", whole.history))
    }
    return Raw(some["events"], some["users"], whole.videos, some["history"])


def test_features_of_a_day_know_nothing_from_that_day_on(raw) -> None:
    later = (raw.events["date"] >= CHANGED_FROM).to_numpy()
    other = raw.events.copy()
    for column in [*BINARY.values(), "is_profile_enter"]:
        other.loc[later, column] = 1 - other.loc[later, column]
    for column in ("play_time_ms", "comment_stay_time", "profile_stay_time"):
        other.loc[later, column] = 7
    told, changed = (build(encode(log)) for log in (raw, replace(raw, events=other)))
    known = (raw.events["date"] <= CHANGED_FROM).to_numpy()
    pd.testing.assert_frame_equal(told[known], changed[known])
    assert not told[~known].equals(changed[~known])
