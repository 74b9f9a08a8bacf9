"""Runs that are waited for before a champion is looked up, and the position of the sensor in the graph."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.registry import RunRecord, Snapshot
from tests.dags.conftest import ParseDags
from tests.support.airflow import as_a_task
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

if TYPE_CHECKING:
    pass

DAYS = [datetime(2013, 5, day, tzinfo=UTC) for day in (7, 8, 9, 10)]
WARM = {"factors": {**SCENARIO["factors"], "warm_start": "champion"}}
TRANSFER = {"boosting": {**SCENARIO["boosting"], "warm_start": "champion"}}


@pytest.mark.parametrize(
    ("sections", "before", "after"),
    [
        ({}, {"learn.fuse"}, {"decide.gate"}),
        (TRANSFER, {"learn.features"}, {"learn.member", "learn.member_gpu"}),
        (WARM, {"validate.split"}, {"learn.factors"}),
        ({**WARM, **TRANSFER}, {"validate.split"}, {"learn.factors"}),
    ],
    ids=["neither", "transfer", "warm start", "both"],
)
def test_earlier_runs_are_waited_for_before_any_stage_that_looks_a_champion_up(
    sections: dict[str, Any],
    before: set[str],
    after: set[str],
    tmp_path: Path,
    parse_dags: ParseDags,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_scenario(tmp_path, **sections)
    write_log(tmp_path)
    dag = parse_dags(tmp_path).dags[f"train_{NAME}"]
    waiting = dag.task_dict["decide.earlier_runs"]
    assert (waiting.upstream_task_ids, waiting.downstream_task_ids) == (before, after)
    looking = stages_that_look_a_champion_up(tmp_path, monkeypatch)
    assert "gate" in looking
    ordered = {task.rpartition(".")[2] for task in waiting.get_flat_relative_ids(upstream=False)}
    assert looking - ordered == set()


def stages_that_look_a_champion_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ask every stage what its result depends on, which is where a champion is looked up."""

    monkeypatch.chdir(root)
    asked: list[str] = []

    def champion(snapshot: Snapshot, as_of: str | None = None) -> RunRecord | None:
        asked.append("champion")
        return None

    monkeypatch.setattr(Snapshot, "champion", champion)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, ".store")
    looking = set()
    for stage in build_stages(run.scenario).values():
        asked.clear()
        stage.config(run)
        if asked:
            looking.add(stage.name.partition(":")[0])
    return looking


def test_how_long_is_waited_and_how_many_runs_are_active_follow_from_the_settings(
    tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "patient", gate={**SCENARIO["gate"], "approval_hours": 24 * 30})
    dags = parse_dags(tmp_path).dags
    for name, active in ((NAME, 5), ("patient", 34)):  # four at work, and a run for each day without an answer
        dag = dags[f"train_{name}"]
        waiting = dag.task_dict["decide.earlier_runs"]
        assert dag.max_active_runs == active
        assert waiting.timeout == waiting.execution_timeout.total_seconds() == active * 6 * 3600
        assert waiting.publish in dag.task_dict


# ------------------------------------------------------------------------------------------- in Airflow's database


DAG_FILE = """
from datetime import datetime, timedelta, timezone
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, CronDataIntervalTimetable
from dags.waiting import EarlierRuns

timetable = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
with DAG("waits", schedule=timetable, start_date=datetime(2013, 1, 1, tzinfo=timezone.utc), catchup=False):
    waiting = EarlierRuns(task_id="earlier_runs", publish="publish", timeout=timedelta(hours=1))
    EmptyOperator(task_id="resolve") >> waiting >> EmptyOperator(task_id="publish")
"""


@pytest.fixture(scope="module")
def dag(airflow_database: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A DAG of the wait and what it waits for, with a run of each day that has ended."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    folder = tmp_path_factory.mktemp("dags")
    (folder / "waits.py").write_text(DAG_FILE, encoding="utf-8")
    bag = DagBag(dag_folder=str(folder))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    made = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags["waits"]))
    for day in DAYS:
        made.create_dagrun(
            run_id=f"{day:%Y-%m-%d}",
            logical_date=day,
            data_interval=(day, day + timedelta(days=1)),
            run_after=day,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state="success",
        )
        set_states(made, day, "success", "success")
    return made


def set_states(dag: Any, day: datetime, run: str, publish: str | None) -> None:
    """Change the state of a day's run, and that of its task `publish`."""
    from airflow.models import DagRun, TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        found = session.query(DagRun).filter_by(dag_id=dag.dag_id, logical_date=day).one()
        found.state = run
        session.execute(
            update(TaskInstance)
            .where(
                TaskInstance.dag_id == dag.dag_id,
                TaskInstance.run_id == found.run_id,
                TaskInstance.task_id == "publish",
            )
            .values(state=publish)
        )


def waited_for(dag: Any, day: datetime | None) -> list[str]:
    from dags.waiting import undecided_before

    with as_a_task():
        run = SimpleNamespace(dag_id=dag.dag_id, logical_date=day, run_type="manual")
        return sorted(undecided_before(run, "publish"))


@pytest.mark.parametrize("publish", [None, "queued", "running", "up_for_retry"])
def test_a_run_of_an_earlier_date_without_a_verdict_is_waited_for_by_later_ones_alone(
    dag: Any, publish: str | None
) -> None:
    set_states(dag, DAYS[1], "running", publish)
    try:
        assert [waited_for(dag, day) for day in DAYS] == [[], [], ["2013-05-08"], ["2013-05-08"]]
        assert waited_for(dag, None) == []
    finally:
        set_states(dag, DAYS[1], "success", "success")


def test_runs_that_await_approval_hold_up_nobody_and_hide_no_earlier_one(dag: Any) -> None:
    set_states(dag, DAYS[0], "running", "running")
    set_states(dag, DAYS[1], "running", "success")
    set_states(dag, DAYS[2], "running", "success")
    try:
        assert waited_for(dag, DAYS[3]) == ["2013-05-07"]
        set_states(dag, DAYS[0], "running", "upstream_failed")
        assert waited_for(dag, DAYS[3]) == []
    finally:
        for day in DAYS[:3]:
            set_states(dag, day, "success", "success")


def test_a_failed_run_and_one_that_has_not_started_are_not_waited_for(dag: Any) -> None:
    set_states(dag, DAYS[0], "failed", None)
    set_states(dag, DAYS[1], "queued", None)  # it may wait for this run to make room
    try:
        assert waited_for(dag, DAYS[3]) == []
    finally:
        for day in DAYS[:2]:
            set_states(dag, day, "success", "success")


def test_runs_that_an_asset_has_started_wait_for_those_of_an_earlier_as_of(dag: Any) -> None:
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    from dags.waiting import undecided_before

    days = {"later": "2013-05-10", "earlier": "2013-05-09", "same": "2013-05-10", "unresolved": None}
    for name in days:
        dag.create_dagrun(
            run_id=name,
            logical_date=None,
            run_after=DAYS[0],
            run_type=DagRunType.ASSET_TRIGGERED,
            triggered_by=DagRunTriggeredByType.ASSET,
            state="running",
        )
    runs = {name: SimpleNamespace(dag_id=dag.dag_id, run_id=name, run_type="asset_triggered") for name in days}
    set_states(dag, DAYS[0], "running", None)  # a run by hand
    with as_a_task():
        for name, day in {**days, "2013-05-07": "2013-05-08"}.items():
            if day is not None:
                XCom.set("run_spec", {"as_of": day}, dag_id=dag.dag_id, task_id="resolve", run_id=name)
        waits = {name: sorted(undecided_before(run, "publish")) for name, run in runs.items()}
    set_states(dag, DAYS[0], "success", "success")
    assert waits == {
        "later": ["2013-05-07", "earlier"],
        "earlier": ["2013-05-07"],
        "same": ["2013-05-07", "earlier"],
        "unresolved": [],
    }


@pytest.mark.faults(6)
@pytest.mark.parametrize(
    ("mine", "earlier", "cleared", "refused"),
    [
        ("backfill", "backfill", 0, True),
        ("backfill", "backfill", 1, False),  # it has started once, so the order is not reversed
        ("backfill", "manual", 0, False),
        ("scheduled", "backfill", 0, False),
    ],
)
def test_a_backfill_that_runs_backwards_is_refused(
    dag: Any, mine: str, earlier: str, cleared: int, refused: bool
) -> None:
    from airflow.models import DagRun
    from airflow.sdk.exceptions import AirflowFailException
    from airflow.utils.session import create_session

    from dags.waiting import refuse_reversed_backfill

    def change(**values: Any) -> None:
        with create_session() as session:
            session.query(DagRun).filter_by(dag_id=dag.dag_id, logical_date=DAYS[0]).update(values)

    change(state="queued", run_type=earlier, clear_number=cleared)
    run = SimpleNamespace(dag_id=dag.dag_id, logical_date=DAYS[3], run_type=mine)
    outcome = pytest.raises(AirflowFailException, match="backwards: 2013-05-07 is of an") if refused else nullcontext()
    try:
        with as_a_task(), outcome:
            refuse_reversed_backfill(run)
    finally:
        change(state="success", run_type="manual", clear_number=0)


def test_the_triggerer_finds_the_trigger_and_it_fires_at_once_if_nothing_is_to_be_waited_for() -> None:
    import asyncio
    from importlib import import_module

    from dags.waiting import VerdictsTrigger

    place, arguments = VerdictsTrigger("waits", ["a"], "publish").serialize()
    module, _, name = place.rpartition(".")
    again = getattr(import_module(module), name)(**{**arguments, "run_ids": []})
    assert asyncio.run(anext(again.run())).payload == {"decided": []}
