"""The DAGs run by Airflow in this process, against the same run without it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pandas as pd
import pytest
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import create_engine, select, types

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.origin import find_commit, user_name
from mtl_tasks.pipeline.past_documents import past_document, shown_document
from mtl_tasks.pipeline.past_runs import choose_run
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.promotion import verify_runs
from mtl_tasks.store.registry import Registry
from mtl_tasks.store.sealing import StoreKey
from tests.conftest import AIRFLOW_HOME, PROJECT
from tests.dags.conftest import ParseDags
from tests.support.databases import postgres_cluster
from tests.support.projects import AS_OF, FIRST_DAY, NAME, SCENARIO, SHORT, write_log, write_scenario

SCHEDULED = datetime(2013, 5, 11, 2, 30, tzinfo=UTC)  # an end of the schedule's intervals, in the night to AS_OF
RunDag = Callable[..., tuple[str, dict[str, str]]]
QUIET = {  # on the CPU, and without approval
    "learn.members_gpu": "skipped",
    "learn.member_gpu": "skipped",
    "publish.approve": "skipped",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    return root


@pytest.fixture
def run_dag(project: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> RunDag:
    """Return a function that runs the DAG, and returns the states of the run and of its tasks."""
    monkeypatch.delenv("MTL_STORE", raising=False)

    def run(
        kind: str = "train",
        root: Path = project,
        name: str = NAME,
        date: datetime | None = SCHEDULED,
        **conf: Any,
    ) -> tuple[str, dict[str, str]]:
        dag = parse_dags(root).dags[f"{kind}_{name}"]
        dag.deadline = None  # Airflow 3.3 cannot look deadlines up in `dag.test`
        for task in dag.tasks:
            task.retries = 0  # a fault fails the test at once, not after minutes of backing off
        done = dag.test(logical_date=date if kind == "train" else None, run_conf=conf)
        tasks = {task.rendered_map_index or task.task_id: str(task.state) for task in done.get_task_instances()}
        return str(done.state), tasks

    return run


@pytest.fixture
def run_here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, StageResult]]:
    """Return a function that runs the scenario in this process, on the DAG's store."""

    def run() -> dict[str, StageResult]:
        monkeypatch.chdir(project)
        results: dict[str, StageResult] = {}

        def keep(name: str, result: StageResult | None) -> None:
            if result is not None:
                results[name] = result

        run_pipeline(make_run(NAME, AsOf.parse(AS_OF), {}, ".store"), keep)
        return results

    return run


def skipped(tasks: dict[str, str]) -> dict[str, str]:
    return {name: ended for name, ended in tasks.items() if ended != "success"}


def written_note(dag_id: str) -> str:
    """Return the note that a DAG's report has passed on."""
    with create_session() as session:
        query = select(XComModel.value).where(XComModel.dag_id == dag_id, XComModel.key == "note")
        return str(session.scalars(query).one())


def test_the_demos_run_begins_now_has_its_note_and_leaves_earlier_runs_as_they_were(
    tmp_path: Path, parse_dags: ParseDags, run_dag: RunDag
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    demo = runpy.run_path(str(PROJECT / "include/airflow/run_dag.py"))
    write_log(tmp_path)
    write_scenario(tmp_path, "shown", **SHORT)  # a DAG of its own, as its form makes a version
    before = datetime.now(UTC)
    runs = [demo["run"](parse_dags(tmp_path).dags["train_shown"], {"as_of": AS_OF}).run_id for _ in range(2)]
    with create_session() as session:
        first, second = session.scalars(select(DagRun).where(DagRun.run_id.in_(runs))).all()
        for run in (first, second):
            assert run.note.startswith(f"{AS_OF}: promoted; promote: 1 of 1 rules passed")
            assert before <= run.start_date <= run.end_date
            assert {str(task.state) for task in run.get_task_instances(session=session)} == {"success", "skipped"}
        assert first.created_dag_version_id == second.created_dag_version_id


def test_the_dag_and_one_process_make_the_same_artifacts(
    project: Path, run_dag: RunDag, run_here: Callable[[], dict[str, StageResult]]
) -> None:
    write_scenario(project)
    state, tasks = run_dag()
    assert state == "success"
    assert skipped(tasks) == QUIET
    state, listed = run_dag("recommend")
    assert state == "success"
    assert set(listed.values()) == {"success"}
    made = pd.concat(map(pd.read_parquet, (project / ".store").rglob("*recommendations*.parquet")))
    note = f"{made['user_id'].nunique():,} lists with {len(made):,} recommendations"
    assert written_note(f"recommend_{NAME}").endswith(f"; {note}")
    assert {"member:popularity", "member:als", "member:independent"} < set(tasks)
    (entry,) = Registry(Store(str(project / ".store")), NAME).entries()
    results = run_here()
    assert [name for name, result in results.items() if not result.reused] == []
    assert len(results) == 15
    assert entry.as_of == AS_OF
    assert entry.promoted
    assert entry.run_key == results["publish"].summary["run_key"]
    assert entry.refs == {name: results[name].ref for name in entry.refs}
    store = Store(str(project / ".store"))
    origin = past_document(store, choose_run(store, NAME, None, entry.run_key)[0]).origin
    assert origin is not None
    assert (origin.start, origin.user) == ("command line", user_name())  # of the DAG's run, not of the later one
    assert (origin.commit, origin.local_changes) == (find_commit() or (None, False))


def test_a_rejected_candidate_is_reported_and_recommends_nothing(
    project: Path, run_dag: RunDag, run_here: Callable[[], dict[str, StageResult]]
) -> None:
    write_scenario(project, gate={**SCENARIO["gate"], "absolute": [{"task": "rating", "metric": "rmse", "max": 0.1}]})
    state, tasks = run_dag()
    assert state == "success"
    assert skipped(tasks) == {**QUIET, "publish.announce": "skipped"}
    results = run_here()
    assert "recommend" not in results
    assert results["report"].reused


@pytest.mark.faults(9)
def test_a_run_by_hand_without_a_logical_date_is_as_of_its_own_day_and_the_log_and_the_registry_say_so(
    tmp_path: Path, run_dag: RunDag, caplog: pytest.LogCaptureFixture
) -> None:
    write_recent_log(tmp_path)
    source = {**SCENARIO["source"], "events": "recent.parquet"}
    write_scenario(tmp_path, "recent", source=source, **SHORT)
    days = [f"{datetime.now(UTC):%Y-%m-%d}"]
    with caplog.at_level("INFO"):
        state, tasks = run_dag(root=tmp_path, name="recent", date=None)
    days.append(f"{datetime.now(UTC):%Y-%m-%d}")
    assert (state, skipped(tasks)) == ("success", QUIET)
    (entry,) = Registry(Store(str(tmp_path / ".store")), "recent").entries()
    assert entry.as_of in days
    assert f"as_of {entry.as_of}: the day of the run, which has no data interval" in caplog.text


def write_recent_log(root: Path) -> None:
    """Write the log as one file, moved so that its last day is yesterday."""
    write_log(root)
    log = pd.concat([pd.read_parquet(path) for path in sorted((root / "log").glob("*/*.parquet"))])
    moved = pd.Timestamp.now("UTC").normalize() - pd.Timestamp(AS_OF, tz="UTC")
    log.assign(rated_at=log["rated_at"] + moved).to_parquet(root / "recent.parquet", index=False)


def test_parameters_choose_members_and_fusion(project: Path, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenario(project)
    state, tasks = run_dag(members=["als", "popularity"], fusion="mean")
    assert state == "success"
    assert "member:independent" not in tasks
    monkeypatch.chdir(project)
    shown = shown_document(Store(".store"), choose_run(Store(".store"), NAME, AS_OF, None)[0])
    assert shown.scenario.fusion.method == "mean"
    assert shown.scenario.members == ("popularity", "als")
    assert shown.overrides == {"members": ["popularity", "als"], "fusion.method": "mean"}


SECRETS = {
    "password": "s3cret/w@rd",
    "AWS_SECRET_ACCESS_KEY": "a-key-of-a-bucket",
    "AWS_SESSION_TOKEN": "a-token-of-a-bucket",
    "MTL_STORE_KEY": "a-key-of-the-store-of-forty-characters-or-so",
}


@pytest.mark.faults(35)
def test_no_secret_of_the_environment_is_in_a_log_an_xcom_an_artifact_or_a_report(
    tmp_path: Path,
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_log(tmp_path)
    sql = {
        "url_env": "SHOP_DATABASE",
        "query": "SELECT * FROM log WHERE rated_at >= :start AND rated_at < :end ORDER BY rated_at, user_id",
        "start": FIRST_DAY,
    }
    source = {key: value for key, value in SCENARIO["source"].items() if key != "events"}
    write_scenario(tmp_path, "guarded", source={**source, "sql": sql}, **SHORT)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    with caplog.at_level("DEBUG"), postgres_cluster(password=SECRETS["password"]) as raw:
        url = raw.replace(SECRETS["password"], quote_plus(SECRETS["password"]))
        fill_with_films(url, tmp_path)
        monkeypatch.setenv("SHOP_DATABASE", url)
        state, _ = run_dag(root=tmp_path, name="guarded")
        monkeypatch.setenv("SHOP_DATABASE", url.replace("://tiny", "://nobody"))
        refused, _ = run_dag(root=tmp_path, name="guarded", as_of="2013-05-10", force=True)
    assert (state, refused) == ("success", "failed")
    said = capfd.readouterr()
    told = said.out + said.err + caplog.text
    assert "SHOP_DATABASE in" in told  # the refusal is there, and names what to correct
    hidden = [SECRETS["password"], quote_plus(SECRETS["password"]), *SECRETS.values()]
    assert [secret for secret in hidden if secret in told] == []
    written = [path for root in (tmp_path, Path(AIRFLOW_HOME)) for path in root.rglob("*") if path.is_file()]
    assert {"airflow.db", "report.html", "manifest.json"} <= {path.name for path in written}
    for path in written:
        data = path.read_bytes()
        assert [secret for secret in hidden if secret.encode() in data] == [], path


def fill_with_films(url: str, root: Path) -> None:
    """Write the log's days into the table ``log`` of a database."""
    log = pd.concat([pd.read_parquet(path) for path in sorted((root / "log").glob("*/*.parquet"))])
    engine = create_engine(url)
    log.to_sql("log", engine, index=False, dtype={"rated_at": types.TIMESTAMP(timezone=True)})
    engine.dispose()


@pytest.mark.faults(10)
def test_an_unknown_parameter_fails_the_run_at_its_first_task(project: Path, run_dag: RunDag) -> None:
    write_scenario(project)
    state, tasks = run_dag(as_off=AS_OF)
    assert state == "failed"
    assert tasks.pop("resolve") == "failed"
    assert set(tasks.values()) == {"upstream_failed"}


def test_with_a_key_all_that_tasks_write_is_sealed_with_it_and_none_passes_it_on(
    project: Path, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    word = "correct horse battery staple 0123"
    monkeypatch.setenv("MTL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MTL_STORE_KEY", word)
    write_scenario(project)
    state, _ = run_dag(members=["als", "popularity"])
    assert state == "success"
    key = StoreKey(word)
    sealed = [path.read_bytes() for path in (tmp_path / "store").rglob("*.json") if b'\n "seal": ' in path.read_bytes()]
    assert len(sealed) > 14
    assert all(f'"hmac-sha256:{key.id}:'.encode() in data for data in sealed)
    store = Store(str(tmp_path / "store"), key)
    entries = Registry(store, NAME).entries()
    assert verify_runs(entries, store) == {entry.run_key: [] for entry in entries}
    with create_session() as session:
        passed = [str(value) for value in session.scalars(select(XComModel.value))]
    assert passed
    written = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert not [data for data in [*passed, *capfd.readouterr()] if word in data]
    assert not [data for data in written if word.encode() in data]
