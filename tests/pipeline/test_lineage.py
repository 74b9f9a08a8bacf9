"""Datasets of a log in a database; those of files are tested in runs of the DAGs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.lineage import stage_lineage
from tests.support.projects import AS_OF, FIRST_DAY, SCENARIO, run_until, write_log, write_scenario

PLANTED = "hunter2"


def test_a_log_in_a_database_is_named_by_the_database_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path)
    log = pd.read_parquet(tmp_path / "log")
    log["rated_at"] = log["rated_at"].astype("datetime64[s, UTC]").astype("int64")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        log[["user_id", "movie_id", "rated_at", "rating"]].to_sql("log", database, index=False)
    query = "SELECT user_id, movie_id, rated_at, rating FROM log WHERE rated_at >= :start AND rated_at < :end"
    source = {**SCENARIO["source"], "time_unit": "s", "sql": {"url_env": "SHOP", "query": query, "start": FIRST_DAY}}
    del source["events"]
    write_scenario(tmp_path, source=source)
    environment = {"SHOP": f"sqlite:///file:{tmp_path}/shop.db?uri=true&password={PLANTED}"}
    monkeypatch.setenv("SHOP", environment["SHOP"])
    monkeypatch.chdir(tmp_path)
    run, results = run_until(tmp_path, "validate", AS_OF, str(tmp_path / ".store"))
    upstream, spec = UpstreamResults(results.values()), RunSpec.of(run)
    for stage in ("resolve", "validate"):
        found = stage_lineage(spec, results[stage], upstream, environment)
        of_log = found.inputs[0]
        assert (of_log.namespace, of_log.name) == ("sqlite", str(tmp_path / "shop.db"))
        assert len(of_log.days) == 40
        assert of_log.rows == (len(log) if stage == "validate" else None)
        assert PLANTED not in str(found.to_json())
