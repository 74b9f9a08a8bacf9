"""Values of rows stay out of messages where the scenario says so, and by default in a scheduler's logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from upath import UPath

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import DataError, MtlError, may_quote, quoting_rows
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.database import DatabaseLog
from mtl_tasks.data.interactions import read_log
from mtl_tasks.onboarding.check import inspect
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import Run, run_stage
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.pipeline.tasks import execute_stage
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Store
from tests.data.validation.sample import good_log, spoil, validate
from tests.support.databases import fill, sql_scenario
from tests.support.logs import AS_OF, AS_OF_DAY, list_sources, tiny_items, tiny_log, tiny_scenario, write_log

HELD = "73571"  # what no message may hold


def _csv(column: str, value: str) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        rows = tiny_log().astype({column: "str"})
        rows[column] = value
        rows.to_csv(root / "log.csv", index=False)
        return _read(root)

    return read


def _read(root: Path) -> object:
    scenario = tiny_scenario(source__events="log.csv", source__format="csv", source__items=None)
    return read_log(scenario, list_sources(scenario, root, AS_OF_DAY), root)


def _ragged(root: Path) -> object:
    (root / "log.csv").write_text(f"person,film,seen_at,stars,liked\n{HELD},1\n")
    return _read(root)


def _repeated_item(root: Path) -> object:
    items = tiny_items().assign(film=int(HELD))
    write_log(root, items=items)
    return read_items(tiny_scenario(), list_sources(tiny_scenario(), root, AS_OF_DAY), root, tiny_log()["film"])


def _bad_row(root: Path) -> object:
    log = good_log()
    log.loc[7, "user_id"] = int(HELD)
    return validate(spoil(log, 7, "label_not_binary:like"), validation__max_bad_fraction=0)


def _several_types(root: Path) -> object:
    url = f"sqlite:///{root}/log.db"
    fill(url, tiny_log())
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE log SET stars = '{HELD}x' WHERE person = 103"))  # noqa: S608
    engine.dispose()
    return DatabaseLog(sql_scenario(url), UPath(root / "kept"), {}).list_days(AS_OF_DAY)


FAULTS = {
    "label": _csv("stars", HELD + "x"),
    "id": _csv("person", HELD + ".0"),
    "time": _csv("seen_at", HELD),
    "ragged": _ragged,
    "repeated item": _repeated_item,
    "bad row": _bad_row,
    "several types": _several_types,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_quotes_a_row_only_where_it_may(tmp_path: Path, fault: str) -> None:
    with pytest.raises(DataError, match=HELD):
        FAULTS[fault](tmp_path)
    with quoting_rows(False), pytest.raises(DataError) as caught:
        FAULTS[fault](tmp_path)
    assert HELD not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # a log prints what led to it


def _spoilt_run(root: Path, monkeypatch: pytest.MonkeyPatch, **settings: bool) -> Run:
    monkeypatch.chdir(root)
    rows = tiny_log()
    rows["person"] += int(HELD)
    write_log(root, rows.assign(liked=7))
    scenario: Scenario = tiny_scenario(**settings)
    return Run(scenario, AsOf(AS_OF_DAY), Store(str(root / "store")))


@pytest.mark.parametrize(("given", "command_line", "scheduler"), [(None, 1, 0), (False, 0, 0), (True, 1, 1)])
def test_rows_are_quoted_on_the_command_line_and_not_in_a_schedulers_logs_unless_the_scenario_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool | None, command_line: int, scheduler: int
) -> None:
    settings = {} if given is None else {"validation__quote_rows": given}
    run = _spoilt_run(tmp_path, monkeypatch, **settings)
    stages = build_stages(run.scenario)
    with pytest.raises(MtlError, match="are bad") as said:
        run_stage(stages["validate"], run, {"resolve": run_stage(stages["resolve"], run, {}).ref})
    assert (str(100 + int(HELD)) in str(said.value)) == bool(command_line)
    asked = RunSpec.of(run)
    resolved = execute_stage("resolve", asked, UpstreamResults())
    with pytest.raises(MtlError, match="are bad") as said:
        execute_stage("validate", asked, UpstreamResults([resolved]))
    assert (str(100 + int(HELD)) in str(said.value)) == bool(scheduler)


def test_a_check_shows_no_values_where_rows_are_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _spoilt_run(tmp_path, monkeypatch, validation__quote_rows=False)
    found = inspect(run.scenario, AS_OF, tmp_path, 1000, {})
    assert str(100 + int(HELD)) not in str(found.to_json())
    assert not found.ready


def test_quoting_is_as_before_after_the_block() -> None:
    with quoting_rows(False):
        assert not may_quote()
        with quoting_rows(None):
            assert not may_quote()
    assert may_quote()
