"""A log in a database: asked once a day of the log, read again as it was, refused in one line without the password."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine, text
from upath import UPath

from mtl_tasks.core.columns import FILE, ITEM, PARTITION, TIME, USER
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, DataError, SourceError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.database import DatabaseLog
from mtl_tasks.data.files import SourceFile, list_tables, with_retries
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.validation import validate_interactions
from mtl_tasks.pipeline.engine import Run, run_stage
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Store
from tests.support.databases import PASSWORD, QUERY, fill, postgres_cluster, sql_scenario
from tests.support.logs import AS_OF, AS_OF_DAY, DAYS, list_sources, tiny_log, tiny_scenario, write_log


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    fill(made, tiny_log())
    return str(made)


def snapshot(
    scenario: Scenario, root: Path, url: str, as_of_day: int = AS_OF_DAY, renew: bool = False
) -> list[SourceFile]:
    return DatabaseLog(scenario, UPath(root / "kept"), {"TINY_URL": url}).list_days(as_of_day, renew=renew)


def change(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_database_gives_the_same_validated_events_as_files(tmp_path: Path, url: str) -> None:
    write_log(tmp_path)
    files, scenario = tiny_scenario(), sql_scenario(url)
    from_files = read_log(files, list_sources(files, tmp_path, AS_OF_DAY), tmp_path)
    days = snapshot(scenario, tmp_path, url)
    from_sql = read_log(scenario, days, tmp_path / "kept")
    assert [file.day for file in days] == list(range(AS_OF_DAY - DAYS, AS_OF_DAY))
    pd.testing.assert_frame_equal(from_sql.drop(columns=FILE), from_files.drop(columns=FILE))
    items = read_items(scenario, list_tables(scenario, tmp_path), tmp_path, from_sql[ITEM])
    pd.testing.assert_frame_equal(
        validate_interactions(from_sql, items, scenario, AS_OF).events,
        validate_interactions(from_files, items, files, AS_OF).events,
    )


def test_what_was_read_is_read_again_though_the_database_moved_on(tmp_path: Path, url: str) -> None:
    scenario = sql_scenario(url)
    first = snapshot(scenario, tmp_path, url)
    change(url, "DELETE FROM log WHERE person > 104")
    assert snapshot(scenario, tmp_path, url) == first
    assert snapshot(scenario, tmp_path, "") == first  # without so much as an address


def test_only_days_before_as_of_that_are_not_kept_are_asked_for(tmp_path: Path, url: str) -> None:
    scenario = sql_scenario(url)
    first = snapshot(scenario, tmp_path, url, AS_OF_DAY - 1)
    change(url, "DELETE FROM log WHERE person > 104")
    later = snapshot(scenario, tmp_path, url)
    assert later[:-1] == first
    assert len(read_log(scenario, later, tmp_path / "kept")) == 10 * (DAYS - 1) + 5


def test_renewing_notices_the_day_that_changed_and_no_other(tmp_path: Path, url: str) -> None:
    scenario = sql_scenario(url)
    first = snapshot(scenario, tmp_path, url)
    change(url, "UPDATE log SET stars = 1 WHERE person = 103 AND film = 6")
    renewed = snapshot(scenario, tmp_path, url, renew=True)
    assert [new.day for old, new in zip(first, renewed, strict=True) if old != new] == [AS_OF_DAY - DAYS + 2]


def test_another_query_has_snapshots_of_its_own(tmp_path: Path, url: str) -> None:
    snapshot(sql_scenario(url), tmp_path, url)
    scenario = sql_scenario(url)
    assert scenario.source.sql is not None
    changed = scenario.source.sql.model_copy(update={"query": QUERY.replace("WHERE", "WHERE person < 105 AND")})
    scenario = scenario.model_copy(update={"source": scenario.source.model_copy(update={"sql": changed})})
    assert len(read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")) == 5 * DAYS


def test_days_without_rows_or_without_a_value_do_not_disturb_the_others(tmp_path: Path, url: str) -> None:
    scenario = sql_scenario(url)
    change(url, "DELETE FROM log WHERE film = 1 OR person > 100 AND stars = 0")
    change(url, "UPDATE log SET person = NULL, stars = NULL WHERE seen_at < '2013-05-02'")
    change(url, "DELETE FROM log WHERE seen_at > '2013-05-03' AND seen_at < '2013-05-05'")
    frame = read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")
    assert str(frame[USER].dtype) == "Int64"
    assert frame.loc[frame[PARTITION] == AS_OF_DAY - DAYS, USER].isna().all()
    assert sorted(set(frame[PARTITION] - AS_OF_DAY + DAYS)) == [0, 1, 4, 5]


def test_integer_times_are_asked_for_in_their_unit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    engine = create_engine(url)
    seconds = tiny_log()["seen_at"].astype("int64") // 1_000
    tiny_log().assign(seen_at=seconds).to_sql("log", engine, index=False)
    engine.dispose()
    scenario = sql_scenario(url, source__time_unit="ms")
    frame = read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")
    assert frame[TIME].tolist() == tiny_log()["seen_at"].tolist()


def test_local_times_are_asked_for_in_the_scenarios_zone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    engine = create_engine(url)
    moved = tiny_log()["seen_at"] - pd.Timedelta(hours=12)  # at midnight UTC, where a wrong bound loses rows
    local = moved.dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    tiny_log().assign(seen_at=local).to_sql("log", engine, index=False)
    engine.dispose()
    scenario = sql_scenario(url, source__timezone="America/New_York")
    frame = read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")
    assert frame[TIME].tolist() == moved.tolist()


def test_dates_without_a_time_are_asked_for_on_their_own_day(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    engine = create_engine(url)
    tiny_log().assign(seen_at=tiny_log()["seen_at"].dt.strftime("%Y-%m-%d")).to_sql("log", engine, index=False)
    engine.dispose()
    scenario = sql_scenario(url, source__timezone="UTC")
    frame = read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")
    assert frame[TIME].tolist() == tiny_log()["seen_at"].dt.normalize().tolist()


def local_log(folder: Path, zone: str) -> tuple[str, list[pd.Timestamp]]:
    """Write the log with local times that have a T, at midnight UTC, where a wrong bound loses rows."""
    url = f"sqlite:///{folder}/log.db"
    moved = tiny_log()["seen_at"] - pd.Timedelta(hours=12)
    local = moved.dt.tz_convert(zone).dt.strftime("%Y-%m-%dT%H:%M:%S")
    engine = create_engine(url)
    tiny_log().assign(seen_at=local).to_sql("log", engine, index=False)
    engine.dispose()
    return url, moved.tolist()


def test_local_times_with_a_t_are_refused_where_text_sorts_them_into_other_days(tmp_path: Path) -> None:
    url, times = local_log(tmp_path, "America/New_York")
    scenario = sql_scenario(url, source__timezone="America/New_York")
    with pytest.raises(DataError, match=r"'seen_at' holds times with a T .* bounds of a day in America/New_York: repl"):
        snapshot(scenario, tmp_path, url)
    blanks = QUERY.replace(
        "FROM log", "FROM (SELECT person, film, replace(seen_at, 'T', ' ') AS seen_at, stars, liked FROM log)"
    )
    remedied = sql_scenario(url, source__timezone="America/New_York", source__sql__query=blanks)
    frame = read_log(remedied, snapshot(remedied, tmp_path, url), tmp_path / "kept")
    assert frame[TIME].tolist() == times


def test_local_times_with_a_t_are_read_where_a_day_begins_at_midnight(tmp_path: Path) -> None:
    url, times = local_log(tmp_path, "UTC")
    scenario = sql_scenario(url, source__timezone="UTC")
    frame = read_log(scenario, snapshot(scenario, tmp_path, url), tmp_path / "kept")
    assert frame[TIME].tolist() == times


def test_a_log_that_starts_at_as_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^source\.sql\.start 2013-05-01 in .*: not before as_of 2013-05-01"):
        snapshot(sql_scenario("sqlite://"), tmp_path, "", AS_OF_DAY - DAYS)


def test_a_column_of_several_types_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    fill(url, tiny_log())
    change(url, "UPDATE log SET stars = 'good' WHERE person = 103")
    with pytest.raises(DataError, match=r"2013-05-01: column 'stars' holds values of several types"):
        snapshot(sql_scenario(url), tmp_path, url)


@pytest.mark.faults(35)
@pytest.mark.parametrize(
    ("given", "kind", "problem"),
    [
        ("", ConfigError, "no such environment variable: set it"),
        ("tiny:{password} at the host", ConfigError, "not a URL like"),
        ("nosuch://tiny:{password}@host/log", ConfigError, "nosuch cannot be used .*: install its driver"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(
    tmp_path: Path, given: str, kind: type[Exception], problem: str
) -> None:
    scenario = sql_scenario(PASSWORD)
    with pytest.raises(kind, match=rf"^source\.sql\.url_env TINY_URL in .*{problem}") as caught:
        snapshot(scenario, tmp_path, given.format(password=PASSWORD))
    assert PASSWORD not in str(caught.value)


@pytest.mark.faults(35)
@pytest.mark.parametrize("wrong", ["port", "password"])
def test_a_database_that_cannot_be_reached_is_tried_again_then_named_without_the_password(
    tmp_path: Path, postgres: str, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "another-word"  # noqa: S105 - it opens nothing
    url = postgres.replace(PASSWORD, secret) if wrong == "password" else f"postgresql://tiny:{secret}@127.0.0.1:1/log"
    with pytest.raises(SourceError, match="the database does not answer or denies access") as caught:
        snapshot(sql_scenario(PASSWORD), tmp_path, url)
    assert "attempt 2 of 3" in caplog.text
    assert "\n" not in str(caught.value)
    assert secret not in caplog.text + str(caught.value)


def test_a_query_that_fails_is_a_fault_of_the_scenario(tmp_path: Path, url: str) -> None:
    change(url, "DROP TABLE log")
    with pytest.raises(DataError, match=r"the query failed \(.*log.*\): correct source\.sql\.query") as caught:
        snapshot(sql_scenario(url), tmp_path, url)
    assert not isinstance(caught.value, SourceError)
    assert PASSWORD not in str(caught.value)


SAME_ROWS = "seen_at >= :start AND seen_at < :end"


def with_query(url: str, query: str) -> Scenario:
    """Return the scenario with another query, in which ``DAY`` stands for what chooses the rows of a day."""
    scenario = sql_scenario(url)
    assert scenario.source.sql is not None
    changed = scenario.source.sql.model_copy(update={"query": query.replace("DAY", SAME_ROWS)})
    return scenario.model_copy(update={"source": scenario.source.model_copy(update={"sql": changed})})


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO log (person, seen_at) SELECT 1, :start WHERE :start < :end",
        "UPDATE log SET stars = 1 WHERE DAY",
        "DELETE FROM log WHERE DAY RETURNING *",
        "SELECT * FROM log WHERE DAY; DELETE FROM log",
        "-- :start :end",
    ],
)
def test_a_query_that_does_not_read_is_refused_and_changes_nothing(tmp_path: Path, url: str, query: str) -> None:
    with pytest.raises(
        DataError, match=r"^source\.sql\..*query.*: make it|; make it one statement that reads"
    ) as caught:
        snapshot(with_query(url, query), tmp_path, url)
    assert not isinstance(caught.value, SourceError)
    assert "\n" not in str(caught.value)
    assert len(read_log(sql_scenario(url), snapshot(sql_scenario(url), tmp_path, url), tmp_path / "kept")) == 60


def test_a_function_that_writes_is_refused(tmp_path: Path, postgres: str) -> None:
    fill(postgres, tiny_log())
    change(postgres, "CREATE SEQUENCE counter")
    with pytest.raises(DataError, match=r"cannot execute nextval\(\) in a read-only transaction"):
        snapshot(with_query(postgres, "SELECT *, nextval('counter') AS n FROM log WHERE DAY"), tmp_path, postgres)


def test_a_colon_in_a_text_of_the_query_is_explained(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"the query cannot be asked .*'b'.*a colon before a word"):
        snapshot(with_query(url, "SELECT * FROM log WHERE DAY AND 'a :b' <> 'c'"), tmp_path, url)


def test_a_column_that_the_query_returns_twice_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"source\.sql\.query returns a duplicated column 'person'"):
        snapshot(with_query(url, "SELECT log.*, person FROM log WHERE DAY"), tmp_path, url)


def test_a_run_keeps_its_snapshot_in_the_store_and_names_it_in_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path)
    monkeypatch.chdir(tmp_path)
    fill("sqlite:///log.db", tiny_log())
    run = Run(sql_scenario("sqlite:///log.db"), AsOf(AS_OF_DAY), Store(str(tmp_path / "store")))
    stages = build_stages(run.scenario)
    refs = {"resolve": run_stage(stages["resolve"], run, {}).ref}
    listed = run.store.open(refs["resolve"]).json("resolve")["sources"]
    kept = [tmp_path / "store/tiny/snapshots" / entry["path"] for entry in listed[:-1]]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in kept] == [e["sha256"] for e in listed[:-1]]
    validated = run_stage(stages["validate"], run, refs)
    assert validated.ref.rows == 60
    change("sqlite:///log.db", "DELETE FROM log")
    again = {"resolve": run_stage(stages["resolve"], run, {}).ref}
    assert again == refs
    assert run_stage(stages["validate"], run, again).reused
    anew = replace(run, force="monday")
    first = {path: path.read_bytes() for path in kept}
    with pytest.raises(DataError, match=r"^source\.sql: column 'person' .* has no value in any row"):
        run_stage(stages["validate"], anew, {"resolve": run_stage(stages["resolve"], anew, {}).ref})
    assert {path: path.read_bytes() for path in kept} == first  # a run at work may be reading them
    assert list(kept[0].parent.glob("*.2.parquet"))
    run_stage(stages["resolve"], replace(run, force="tuesday"), {})
    later = run.store.open(run_stage(stages["resolve"], run, {}).ref).json("resolve")["sources"]
    newest = {path.with_suffix(".2.parquet").name for path in kept if path.with_suffix(".2.parquet").exists()}
    assert newest <= {Path(entry["path"]).name for entry in later}
    assert not list(kept[0].parent.glob("*.3.parquet"))  # asked again, it said the same


def test_patience_ends_with_the_last_word() -> None:
    said = iter(["first", "second", "third"])

    def work() -> None:
        raise SourceError(next(said))

    with pytest.raises(SourceError, match="third"):
        with_retries(work, pause=0.001)
