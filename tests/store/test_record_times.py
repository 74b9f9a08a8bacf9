"""The times of verdicts come from the store's listing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.record_times import record_times
from mtl_tasks.store.registry import Registry
from tests.support.projects import NAME, write_past_runs


def test_a_verdict_has_the_time_of_its_record_and_a_decision_changes_nothing(tmp_path: Path) -> None:
    write_past_runs(tmp_path, ["2013-05-01", "2013-05-02"])
    entries = Registry(Store(str(tmp_path)), NAME).entries()
    written = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    for path in (tmp_path / NAME / "registry").rglob("*.json"):
        os.utime(path, (written.timestamp(), written.timestamp()))
        (path.parent / f"0002-{path.name.partition('-')[2].removesuffix('.json')}-retire-ab.json").touch()
    times = record_times(Store(str(tmp_path)), NAME)
    assert times == {(entry.as_of, entry.run_key[:32]): written for entry in entries}


def test_a_scenario_without_a_registry_has_no_times(tmp_path: Path) -> None:
    assert record_times(Store(str(tmp_path)), NAME) == {}
