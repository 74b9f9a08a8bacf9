"""A user's rows are found in what the shards of a stage left in the store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.pipeline.erasure import Erasure
from mtl_tasks.pipeline.holdings import Person
from mtl_tasks.store.artifacts import Payload, Store
from tests.support.projects import AS_OF, NAME


@pytest.mark.parametrize("stage", ["rank-shard", "evaluate-shard-input"])
def test_shards_that_hold_rows_of_the_user_are_removed_and_others_stay(stage: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for key, users in (("a" * 64, [7, 8]), ("b" * 64, [8, 70])):
        payload = Payload()
        payload.add_frame("table.truth", pd.DataFrame({columns.USER: users, columns.ITEM: [7, 7]}))
        payload.add_frame("table.blend", pd.DataFrame({columns.USER: [], columns.DAY: []}))
        payload.add_json("shard", {})
        facts = {"stage": stage, "as_of": AS_OF, "usage": {}}
        store.publish(store.folder(NAME, AS_OF, stage, key), key, payload, facts)
    plan = Erasure.plan(store, NAME, "7", None)
    assert [(one.kind, one.path.name) for one in plan.holdings.found] == [("tables", "a" * 32)]
    assert plan.carry_out() == []
    assert [path.name for path in (tmp_path / NAME / AS_OF / stage).iterdir()] == ["b" * 32]
    assert Erasure.plan(store, NAME, "7", None).holdings.found == []


@pytest.mark.parametrize("user", [1_234_567_890_123_456_789, 2**63 - 1, -(2**63)])
def test_an_integer_of_nineteen_digits_is_an_id_of_the_log(user: int) -> None:
    ids = pd.Series([7, user, user + 1 if user < 0 else user - 1])
    assert Person(str(user)).among(ids).tolist() == [False, True, False]


def test_a_number_that_no_integer_column_holds_is_a_text() -> None:
    person = Person(str(2**63))
    assert person.among(pd.Series([7, 2**63 - 1])).tolist() == [False, False]
    assert person.among(pd.Series([str(2**63), "7"])).tolist() == [True, False]
