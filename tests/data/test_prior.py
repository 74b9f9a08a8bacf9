"""Prior interactions count as of one day, are validated like any row, and are no day of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from upath import UPath

from mtl_tasks.core.columns import DAY, FILE, ITEM, PARTITION, REASON, TIME, USER, context, label
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.database import DatabaseLog
from mtl_tasks.data.files import list_tables
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.splits import log_days
from mtl_tasks.data.validation import ValidationResult, validate_interactions
from mtl_tasks.pipeline.days.log import judge_parts
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.store.artifacts import Store
from tests.support.databases import fill, sql_scenario
from tests.support.logs import AS_OF, AS_OF_DAY, DAYS, list_sources, tiny_log, tiny_scenario, write_log

PRIOR: dict[str, Any] = {"path": "before.parquet", "user": "who", "item": "what", "labels": {"like": "liked"}}


def prior(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"who": [100, 101, 100], "what": [1, 2, 3], "liked": [1, 0, None], **columns})


def read(root: Path, table: pd.DataFrame, single: bool = False, **settings: Any) -> ValidationResult:
    write_log(root)
    table.to_parquet(root / "before.parquet", index=False)
    if single:
        tiny_log().assign(tab="home").to_parquet(root / "log.parquet", index=False)
        settings["source__events"] = "log.parquet"
    scenario = tiny_scenario(source__prior={**PRIOR, **settings.pop("prior", {})}, **settings)
    files = list_sources(scenario, root, AS_OF_DAY)
    log = read_log(scenario, files, root)
    return validate_interactions(log, read_items(scenario, files, root, log[ITEM]), scenario, AS_OF)


@pytest.mark.parametrize("single", [False, True], ids=["partitions", "one file"])
def test_prior_exposures_come_first_on_one_day_with_what_is_known_of_them(tmp_path: Path, single: bool) -> None:
    events = read(tmp_path, prior(), single, prior={"days_before": 3}).events
    assert len(events) == 3 + len(tiny_log())
    first = events.head(3)
    assert first[USER].tolist() == [100, 101, 100]
    assert first[DAY].tolist() == [AS_OF_DAY - DAYS - 3] * 3
    assert (first[TIME] == AS_OF - pd.Timedelta(DAYS + 3, unit="D")).all()
    assert first[label("like")].isna().tolist() == [False, False, True]
    assert first[label("rating")].isna().all()


def test_they_have_no_context_and_do_not_count_as_days_of_the_log(tmp_path: Path) -> None:
    about = {"categorical": {"tab": "tab"}}
    validation = {"max_bad_fraction": 0.5, "missing_days": "refuse", "volume_severity": "critical"}
    many = pd.DataFrame({"who": range(600), "what": 1, "liked": 0})
    result = read(tmp_path, many, True, prior={"days_before": 9}, source__context=about, validation=validation)
    assert result.report["success"]
    assert result.events[context("tab")].isna().sum() == 600


def test_their_numbers_are_held_to_the_threshold_of_the_log(tmp_path: Path) -> None:
    signals = {"praise": {"column": "stars", "above": 6}}
    table = prior(stars=[6, 7, None])
    events = read(tmp_path, table, prior={"labels": {"praise": "stars"}}, source__signals=signals).events
    assert events[label("praise")].head(3).fillna(-1).tolist() == [0, 1, -1]


def test_they_are_judged_like_any_row(tmp_path: Path) -> None:
    table = prior(what=[1, 999, 1], liked=[1, 0, 1])
    quarantine = read(tmp_path, table, validation__duplicates="quarantine").quarantine
    assert quarantine[REASON].tolist() == ["unknown_item", "duplicate"]
    assert quarantine[FILE].tolist() == ["before.parquet"] * 2
    assert PARTITION in quarantine


def test_ids_of_another_type_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^before\.parquet: column 'who' \(source\.prior\.user .* holds strings, but"):
        read(tmp_path, prior(who=["a", "b", "c"]))
    with pytest.raises(ConfigError, match=r"source\.prior\.labels: 'lkie' has no label, did you mean 'like'\?"):
        tiny_scenario(source__prior={**PRIOR, "labels": {"lkie": "liked"}})


def test_the_history_that_a_run_must_have_is_counted_without_what_was_before_the_log() -> None:
    days = pd.DataFrame({DAY: [100, 500, 501]})
    assert log_days(days, 3).tolist() == [500, 501]
    assert log_days(days, 0).tolist() == [100, 500, 501]


@pytest.mark.parametrize("table", [prior().head(0), prior(what=[99, 98, 97])], ids=["empty", "all bad"])
def test_a_prior_of_which_no_row_is_good_costs_the_log_no_day(tmp_path: Path, table: pd.DataFrame) -> None:
    validation = {"max_bad_fraction": 0.5, "missing_days": "refuse"}
    report = read(tmp_path, table, validation=validation).report
    assert (report["prior"], report["rows_kept"]) == (0, len(tiny_log()))
    [days] = [one for one in report["expectations"] if one["expectation"].endswith("unique_value_count_to_be_between")]
    assert (days["success"], days["observed"]) == (True, str(DAYS))


def test_a_time_that_no_row_can_have_does_not_move_what_was_before_the_log(tmp_path: Path) -> None:
    rows = tiny_log()
    rows.loc[7, "seen_at"] = pd.Timestamp("0001-01-01", tz="UTC")
    write_log(tmp_path)
    rows.to_parquet(tmp_path / "log.parquet", index=False)
    prior().to_parquet(tmp_path / "before.parquet", index=False)
    scenario = tiny_scenario(source__prior=PRIOR, source__events="log.parquet")
    log = read_log(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path)
    assert (log[TIME].head(3) == AS_OF - pd.Timedelta(DAYS + 1, unit="D")).all()


def test_a_prior_beside_a_log_in_a_database_is_found_where_the_project_lies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    fill(url, tiny_log())
    write_log(tmp_path)
    prior().to_parquet(tmp_path / "before.parquet", index=False)
    scenario = sql_scenario(url, source__prior=PRIOR, boosting={"min_data_in_leaf": 2, "num_leaves": 2})
    kept = UPath(tmp_path / "kept")
    files = [*DatabaseLog(scenario, kept, {}).list_days(AS_OF_DAY), *list_tables(scenario, tmp_path)]
    run = Run(scenario, AsOf(AS_OF_DAY), Store(str(tmp_path / "store")))
    [part] = judge_parts(run, {}, files, tmp_path, kept)
    assert len(part.frame("events")) == len(prior()) + len(tiny_log())


@pytest.mark.parametrize("path", ["before.parquet", "before.csv"])
def test_a_missing_id_is_a_bad_row_like_any(tmp_path: Path, path: str) -> None:
    table = prior(who=pd.array([100, None, 100], dtype="Int64"))
    table.to_csv(tmp_path / "before.csv", index=False)
    result = read(tmp_path, table, prior={"path": path}, validation={"max_bad_fraction": 0.5})
    assert result.quarantine[REASON].tolist() == ["null_user"]
    assert len(result.events) == 2 + len(tiny_log())
