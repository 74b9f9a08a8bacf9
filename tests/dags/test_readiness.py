"""The wait for a complete day, and runs that an asset of the log starts."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtl_tasks.core.errors import ConfigError, DataError, SourceError
from mtl_tasks.scenario import load_scenario
from tests.dags.conftest import ParseDags
from tests.support.projects import NAME, SCENARIO, write_scenario

URI = "s3://shop/log"
QUERY = "select * from log where at >= :start and at < :end"
SQL = {"url_env": "SHOP", "query": QUERY, "start": "2013-01-01"}
READY = {**SCENARIO["source"], "ready": {"marker": "_DONE", "timeout_hours": 2}}
QUERIED = {**{key: value for key, value in READY.items() if key != "events"}, "sql": SQL}


def context(as_of: str | None = "2013-05-11", end: datetime | None = None, **events: Any) -> dict[str, Any]:
    run = SimpleNamespace(data_interval_end=end, run_after=datetime(2013, 5, 9, 3, tzinfo=UTC))
    return {"params": {"as_of": as_of}, "dag_run": run, "triggering_asset_events": events}


def mark(root: Path, day: str) -> None:
    folder = root / "log" / f"dt={day}"
    folder.mkdir(parents=True)
    (folder / "_DONE").touch()


@pytest.fixture
def sensor(tmp_path: Path, parse_dags: ParseDags) -> Any:
    write_scenario(tmp_path, source=READY)
    dag = parse_dags(tmp_path).dags[f"train_{NAME}"]
    return dag.get_task("ready")


def test_only_a_scenario_that_names_a_marker_waits_and_before_it_reads_the_log(
    tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path, source=READY)
    write_scenario(tmp_path, "plain")
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    assert bag.dags["train_plain"].get_task("resolve").upstream_task_ids == set()
    waits = bag.dags[f"train_{NAME}"]
    assert waits.get_task("resolve").upstream_task_ids == {"ready"}
    earlier = [bag.dags[f"train_{name}"].get_task("decide.earlier_runs").timeout for name in (NAME, "plain")]
    assert math.isclose(earlier[0] / earlier[1], 8 / 6)  # the runs that it waits for may wait for their day


def test_a_run_whose_day_is_complete_goes_on(sensor: Any, tmp_path: Path) -> None:
    mark(tmp_path, "2013-05-10")
    assert sensor.execute(context()) is None


@pytest.mark.parametrize(
    ("given", "day"),
    [
        (context(), "2013-05-10"),
        (context(None, datetime(2013, 5, 8, 2, 30, tzinfo=UTC)), "2013-05-07"),
        (context(None), "2013-05-08"),
        (context(None, log=[SimpleNamespace(extra={"as_of": "2013-05-06"})]), "2013-05-05"),
        (context("2013-05-03", log=[SimpleNamespace(extra={"as_of": "2013-05-06"})]), "2013-05-02"),
        (context(None, log=[SimpleNamespace(extra={}), SimpleNamespace(extra=None)]), "2013-05-08"),
        (
            context(None, log=[SimpleNamespace(extra={"as_of": None}), SimpleNamespace(extra={"as_of": "2013-05-06"})]),
            "2013-05-05",
        ),
        ({**context(None), "partition_key": "2013-05-06"}, "2013-05-06"),
        ({**context("2013-05-03"), "partition_key": "2013-05-06"}, "2013-05-02"),
    ],
    ids=[
        "the form's",
        "the interval's",
        "the day of the run",
        "the event's",
        "the form's before the event's",
        "no day",
        "one event's",
        "the partition's",
        "the form's before the partition's",
    ],
)
def test_a_run_waits_without_a_worker_for_the_last_day_before_its_as_of(
    given: dict[str, Any], day: str, sensor: Any, tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    mark(tmp_path, "2013-05-01")
    before = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(given)
    trigger: Any = deferred.value.trigger
    assert (trigger.path, trigger.root) == (f"log/dt={day}/_DONE", str(tmp_path))
    assert trigger.until - before >= 2 * 3600
    assert deferred.value.timeout.total_seconds() > 2 * 3600  # the trigger ends the wait, with its own message


@pytest.mark.parametrize(
    ("days", "fault"),
    [
        ([20130506], r"as_of in the extra of an asset's event: must be text, YYYY-MM-DD \(got 20130506\)"),
        ([20130506, "2013-05-06"], "an asset's event: must be text"),
        (["2013-05-10", "2013-5-9"], "as_of '2013-5-9' is not a date: write YYYY-MM-DD"),
        ([""], "as_of '' is not a date"),
    ],
)
def test_an_event_without_a_date_in_its_as_of_is_refused(days: list[Any], fault: str, sensor: Any) -> None:
    events = [SimpleNamespace(extra={"as_of": day}) for day in days]
    with pytest.raises(ConfigError, match=fault):
        sensor.execute(context(None, log=events))


@pytest.mark.parametrize("key", ["shop", "2013-05-06T00:00:00", "2013-02-30", ""])
def test_a_partition_that_is_no_day_is_refused(key: str, sensor: Any) -> None:
    with pytest.raises(ConfigError, match=f"partition key '{key}' of the run: must be the day that is complete, YYYY"):
        sensor.execute({**context(None), "partition_key": key})


def test_a_run_that_has_waited_in_vain_fails_with_the_marker_and_the_remedy(sensor: Any) -> None:
    message = r"log/dt=2013-05-10/_DONE \(source.ready in .*small.yaml\): not there within 2 hours: see that the job"
    with pytest.raises(DataError, match=message):
        sensor.execute(context(), event={"found": False})


def test_a_marker_that_comes_at_the_last_moment_is_seen(sensor: Any, tmp_path: Path) -> None:
    mark(tmp_path, "2013-05-10")
    assert sensor.execute(context(), event={"found": False}) is None


async def fired(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def test_the_trigger_fires_when_the_marker_comes_and_survives_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.module_loading import import_string

    from dags import readiness
    from mtl_tasks.data import readiness as markers

    looked = []
    look = markers.is_there

    def watched(path: str, root: str) -> bool:
        looked.append(path)
        if len(looked) == 1:
            raise SourceError("the bucket does not answer")
        if len(looked) == 3:
            mark(tmp_path, "2013-05-10")
        return look(path, root)

    monkeypatch.setattr(markers, "is_there", watched)
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.001)
    made = readiness.MarkerTrigger("log/dt=2013-05-10/_DONE", str(tmp_path), time.time() + 3600)
    path, arguments = made.serialize()
    trigger = import_string(path)(**arguments)  # as the triggerer does
    assert asyncio.run(fired(trigger)) == {"found": True}
    assert len(looked) == 3


def test_the_trigger_gives_up_at_its_time(tmp_path: Path) -> None:
    from dags.readiness import MarkerTrigger

    assert asyncio.run(fired(MarkerTrigger("log/_DONE", str(tmp_path), 0.0))) == {"found": False}


def test_an_asset_starts_runs_and_is_the_source_in_the_lineage(tmp_path: Path, parse_dags: ParseDags) -> None:
    from airflow.sdk import Asset
    from airflow.serialization.serialized_objects import DagSerialization

    write_scenario(tmp_path, schedule={"asset": URI})
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    dag = bag.dags[f"train_{NAME}"]
    condition: Any = dag.timetable.asset_condition
    assert list(condition.objects) == [Asset(URI)]
    assert dag.get_task("resolve").inlets == [Asset(URI)]
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.asset_condition


def test_each_partition_of_an_asset_starts_a_run(tmp_path: Path, parse_dags: ParseDags) -> None:
    from airflow.sdk import Asset, PartitionedAssetTimetable
    from airflow.serialization.serialized_objects import DagSerialization

    write_scenario(tmp_path, schedule={"asset": URI, "partitioned": True})
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    dag = bag.dags[f"train_{NAME}"]
    timetable: Any = dag.timetable
    assert isinstance(timetable, PartitionedAssetTimetable)
    assert timetable.asset_condition == Asset(URI)
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.partitioned


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"schedule": {"asset": URI, "partitioned": "day"}}, "schedule.partitioned: Input should be a valid boolean"),
        ({"schedule": {"asset": "log"}}, "small.yaml: schedule.asset: must be a URI such as s3://shop/log"),
        ({"schedule": {"asset": "s3://me:hunter@shop/log"}}, "small.yaml: schedule.asset: must be a URI such as"),
        ({"schedule": {}}, "small.yaml: schedule.asset: Field required"),
        ({"schedule": {"assets": "s3://shop/log"}}, "unknown key 'schedule"),
        ({"schedule": 5}, "small.yaml: schedule: Input should be a valid string (got 5)"),
        ({"source": {**READY, "ready": {"marker": "DONE"}}}, "source.ready.marker: String should match pattern"),
        ({"source": {**READY, "ready": {"marker": "_a/b"}}}, "source.ready.marker: String should match pattern"),
        ({"source": {**READY, "ready": {"marker": ".."}}}, "source.ready.marker: String should match pattern"),
        ({"source": QUERIED}, "`ready` belongs to `events`, a folder partitioned by day: remove it"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(sections: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = write_scenario(tmp_path, **sections)
    with pytest.raises(ConfigError) as refused:
        load_scenario(NAME, folder=path.parent)
    assert fault in str(refused.value)
    assert "hunter" not in str(refused.value)


def test_neither_a_wait_nor_a_recipient_is_in_the_stored_scenario(tmp_path: Path) -> None:
    told = {"outcomes": ["failed"], "to": [{"webhook": {"connection": "hook"}}]}
    plain = load_scenario(NAME, folder=write_scenario(tmp_path).parent).model_dump(mode="json")
    write_scenario(tmp_path, source=READY, notify=told)
    assert load_scenario(NAME, folder=tmp_path / "include" / "scenarios").model_dump(mode="json") == plain
