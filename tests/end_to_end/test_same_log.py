"""One log in a folder of Parquet, in a CSV file, in a bucket and in a database: the runs of it are the same run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import s3fs
from sqlalchemy import create_engine

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.days.log import day_digests
from mtl_tasks.pipeline.engine import Run, run_stage
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.artifacts import Artifact, Ref, day_refs
from tests.support.buckets import empty_bucket, s3_server
from tests.support.projects import AS_OF, FIRST_DAY, NAME, SCENARIO, SHORT, write_log, write_scenario

SCRIPTS = ["Zoë", "用户", "🦊", "ضيف"]  # an id is any text


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    with s3_server() as url, empty_bucket(url, monkeypatch) as files:
        yield files


def project(root: Path) -> pd.DataFrame:
    """Write the small project's log, its people under names of several scripts, and return its rows."""
    write_log(root)
    parts = []
    for path in sorted(root.glob("log/*/*.parquet")):
        rows = pd.read_parquet(path)
        rows["user_id"] = [f"{SCRIPTS[user % len(SCRIPTS)]} {user}" for user in rows["user_id"]]
        rows.to_parquet(path, index=False)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def in_parquet(root: Path, rows: pd.DataFrame, bucket: s3fs.S3FileSystem) -> dict[str, Any]:
    return {}


def in_csv(root: Path, rows: pd.DataFrame, bucket: s3fs.S3FileSystem) -> dict[str, Any]:
    rows.to_csv(root / "log.csv.gz", index=False)
    return {"events": "log.csv.gz", "format": "csv"}


def in_a_bucket(root: Path, rows: pd.DataFrame, bucket: s3fs.S3FileSystem) -> dict[str, Any]:
    bucket.put(str(root / "log"), "shop/log", recursive=True)
    return {"events": "s3://shop/log"}


def in_a_database(root: Path, rows: pd.DataFrame, bucket: s3fs.S3FileSystem) -> dict[str, Any]:
    engine = create_engine(f"sqlite:///{root}/log.db")
    times = rows["rated_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    rows.assign(rated_at=times).to_sql("log", engine, index=False)
    engine.dispose()
    query = "SELECT * FROM log WHERE rated_at >= :start AND rated_at < :end ORDER BY rowid"
    return {"events": None, "sql": {"url": f"sqlite:///{root}/log.db", "query": query, "start": FIRST_DAY}}


def run(root: Path, source: dict[str, Any], store: str) -> tuple[dict[str, Artifact], dict[int, str]]:
    """Run every stage up to the verdict; return what they made, and a hash of each day of the log."""
    merged = {key: value for key, value in {**SCENARIO["source"], **source}.items() if value is not None}
    write_scenario(root, source=merged, boosting={"rounds": 5, "threads": 1}, recommend=SHORT["recommend"])
    asked: Run = make_run(NAME, AsOf.parse(AS_OF), {}, store)
    refs: dict[str, Ref] = {}
    for name, stage in build_stages(asked.scenario).items():
        if name not in ("publish", "recommend"):
            refs[name] = run_stage(stage, asked, refs).ref
    artifacts = {name: asked.store.open(ref) for name, ref in refs.items()}
    days = [asked.store.open(ref) for ref in day_refs(artifacts["features"])]
    digests = day_digests(asked.store, artifacts["validate"])
    return artifacts | {f"features of day {number}": day for number, day in enumerate(days)}, digests


def content(artifacts: dict[str, Artifact]) -> dict[str, dict[str, str]]:
    """Hash of every file of every stage but those that name the source's own files, or keys made of their names."""
    own = {
        "resolve": {"resolve.json"},
        "features": {"days.json"},
        "validate": {"days.json", "quarantine.parquet", "validation.json"},
    }
    return {
        name: {
            file: entry["sha256"] for file, entry in artifact.manifest["files"].items() if file not in own.get(name, ())
        }
        for name, artifact in artifacts.items()
    }


def test_runs_of_one_log_in_four_places_are_the_same(
    tmp_path: Path, bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = project(tmp_path)
    made, digests = {}, []
    for place in (in_parquet, in_csv, in_a_bucket, in_a_database):
        made[place.__name__], of_days = run(tmp_path, place(tmp_path, rows, bucket), f"store-{place.__name__}")
        digests.append(of_days)
    first = content(made["in_parquet"])
    assert set(first) >= {"validate", "split", "factors", "features of day 0", "member:independent", "evaluate", "gate"}
    assert {place: content(artifacts) for place, artifacts in made.items()} == dict.fromkeys(made, first)
    assert digests == [digests[0]] * 4
    verdicts = [artifacts["gate"].json("verdict") for artifacts in made.values()]
    assert verdicts == [verdicts[0]] * 4
