"""A log in an object store: a real server of the S3 protocol, a bucket, and the same rows as on a disk."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import s3fs

from mtl_tasks.core.columns import ITEM
from mtl_tasks.core.errors import DataError, SourceError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.validation import validate_interactions
from mtl_tasks.scenario import Scenario
from tests.support.buckets import empty_bucket, s3_server
from tests.support.logs import AS_OF, AS_OF_DAY, list_sources, tiny_scenario, write_log

BUCKET = "s3://shop"
DAY = f"{BUCKET}/log/dt=2013-05-02/part-0"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    with empty_bucket(server, monkeypatch) as files:
        yield files


def upload(root: Path, bucket: s3fs.S3FileSystem, kind: str = "parquet") -> Scenario:
    """Put the tiny log into the bucket, in a format, and return its scenario."""
    write_log(root)
    for path in sorted(root.glob("log/*/*.parquet")):
        name = f"shop/{path.relative_to(root)}".removesuffix(".parquet")
        if kind == "parquet":
            bucket.put_file(str(path), f"{name}.parquet")
        else:
            bucket.pipe_file(f"{name}.csv.gz", gzip.compress(pd.read_parquet(path).to_csv(index=False).encode()))
    bucket.put_file(str(root / "films.parquet"), "shop/films.parquet")
    table = {"path": f"{BUCKET}/films.parquet", "id": "film", "title": "name"}
    return tiny_scenario(source__events=f"{BUCKET}/log", source__format=kind, source__items=table)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_bucket_gives_the_same_validated_events_as_a_disk(
    tmp_path: Path, bucket: s3fs.S3FileSystem, kind: str
) -> None:
    events = []
    for scenario in (upload(tmp_path, bucket, kind), tiny_scenario()):
        log = read_log(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path)
        items = read_items(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path, log[ITEM])
        events.append(validate_interactions(log, items, scenario, AS_OF).events)
    pd.testing.assert_frame_equal(*events)


def test_files_of_a_bucket_are_told_by_their_etag_and_only_the_days_needed_are_listed(
    tmp_path: Path, bucket: s3fs.S3FileSystem
) -> None:
    scenario = upload(tmp_path, bucket)
    files = list_sources(scenario, tmp_path, AS_OF_DAY - 4)
    assert [file.path for file in files] == [
        f"{BUCKET}/log/dt=2013-05-01/part-0.parquet",
        f"{DAY}.parquet",
        f"{BUCKET}/films.parquet",
    ]
    assert all(file.etag and file.sha256 is None for file in files)


def test_a_day_that_changed_in_the_bucket_is_noticed(tmp_path: Path, bucket: s3fs.S3FileSystem) -> None:
    scenario = upload(tmp_path, bucket)
    files = list_sources(scenario, tmp_path, AS_OF_DAY)
    bucket.pipe_file(f"{DAY}.parquet", (tmp_path / "log/dt=2013-05-01/part-0.parquet").read_bytes())
    assert [
        old.path for old, new in zip(files, list_sources(scenario, tmp_path, AS_OF_DAY), strict=True) if old != new
    ] == [f"{DAY}.parquet"]
    with pytest.raises(DataError, match=f"^{DAY}.parquet: changed since the run listed its sources: run again"):
        read_log(scenario, files, tmp_path)


def test_a_truncated_file_in_the_bucket_is_named(tmp_path: Path, bucket: s3fs.S3FileSystem) -> None:
    scenario = upload(tmp_path, bucket)
    bucket.pipe_file(f"{DAY}.parquet", b"PAR1")
    with pytest.raises(DataError, match=f"^{DAY}.parquet: not a readable Parquet file"):
        read_log(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path)


@pytest.mark.parametrize("missing", ["s3://shop/nowhere", "s3://no-such-bucket/log"])
def test_what_is_not_in_the_store_is_named(tmp_path: Path, bucket: s3fs.S3FileSystem, missing: str) -> None:
    with pytest.raises(DataError, match=f"source.events '{missing}' in .*: no such file or folder"):
        list_sources(tiny_scenario(source__events=missing, source__items=None), tmp_path, AS_OF_DAY)


@pytest.mark.faults(35)
def test_an_unreachable_bucket_is_tried_again_then_named_without_the_keys(
    tmp_path: Path, bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-word")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SourceError, match=r"^source\.events 's3://shop/log' in .* does not answer") as caught:
        list_sources(tiny_scenario(source__events=f"{BUCKET}/log", source__items=None), tmp_path, AS_OF_DAY)
    assert "attempt 2 of 3" in caplog.text
    assert "\n" not in str(caught.value)
    assert "s3cret-word" not in caplog.text + str(caught.value)
