"""Erasing a person from the store of a real run: what goes, what stays as it was, and what is recorded."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.columns import USER
from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.erasure import Erasure, past_erasures
from mtl_tasks.pipeline.holdings import Person, snapshot_without
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.report.document import RunDocument
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.champions import listed_days
from mtl_tasks.store.promotion import verify_runs
from mtl_tasks.store.pruning import artifact_folders
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from tests.support.buckets import empty_bucket, s3_server
from tests.support.projects import AS_OF, NAME, SCENARIO, enter_copy, write_log, write_scenario

BAD_DAY = "2013-04-20"  # on which the person has but a row that is set aside


def run(root: Path, store: str = ".store", **overrides: Any) -> RunDocument:
    with contextlib.chdir(root):
        return run_pipeline(make_run(NAME, AsOf.parse(AS_OF), overrides, store), lambda stage, result: None)


def log_files(root: Path) -> list[Path]:
    return sorted((root / "log").glob("*/*.parquet"))


def erase_from_source(root: Path, person: Any) -> None:
    for path in [*log_files(root), *root.glob("people.parquet")]:
        rows = pd.read_parquet(path)
        rows[rows["user_id"] != person].to_parquet(path, index=False)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with ids of text, a table of users, and members of every kind."""
    root = tmp_path_factory.mktemp("text")
    write_log(root)
    source = {**SCENARIO["source"], "users": {"path": "people.parquet", "id": "user_id", "numeric": {"age": "age"}}}
    members = ["popularity", "als", "independent", "cascade", "shared", "shared_tail"]
    write_scenario(root, source=source, members=members, boosting={"rounds": 5, "threads": 1})
    for path in log_files(root):
        rows = pd.read_parquet(path)
        rows.assign(user_id="viewer-" + rows["user_id"].astype(str)).to_parquet(path, index=False)
    rows = pd.concat([pd.read_parquet(path) for path in log_files(root)])
    ids = rows["user_id"].drop_duplicates()
    pd.DataFrame({"user_id": ids, "age": np.arange(len(ids)) % 60}).to_parquet(root / "people.parquet", index=False)
    person = str(rows.loc[rows["rated_at"] >= "2013-05-10", "user_id"].iloc[0])
    (root / "person").write_text(person)
    bad = next(path for path in log_files(root) if BAD_DAY in str(path))
    rows = pd.read_parquet(bad)
    rows = rows[rows["user_id"] != person]
    pd.concat([rows, rows.tail(1).assign(user_id=person, rating=99)]).to_parquet(bad, index=False)
    run(root)
    return root


@pytest.fixture
def project(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(pristine, tmp_path, monkeypatch)


@pytest.fixture
def person(project: Path) -> str:
    return (project / "person").read_text()


@pytest.fixture
def store(project: Path) -> Store:
    return Store(".store")


def forget(*arguments: str) -> int:
    return cli.main(["forget", NAME, *arguments])


def erase(person: str) -> int:
    return forget("--user", person, "--delete", "--reason", "asked by letter", "--by", "support")


def plan(store: Store, person: str) -> Erasure:
    return Erasure.plan(store, NAME, person, load_scenario(NAME).model_dump(mode="json"))


def holders(root: Path, person: str) -> set[str]:
    """Names of the files whose content, decoded where it is compressed, has the id, a text, in it."""
    return {path.name for path in root.rglob("*") if path.is_file() and person in content(path)}


def content(path: Path) -> str:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas().select_dtypes(exclude="number").astype(str).to_csv()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return " ".join(
                str(array.tolist()) for array in arrays.values() if not np.issubdtype(array.dtype, np.number)
            )
    return path.read_bytes().decode(errors="replace")


def lists(store: Store) -> pd.DataFrame:
    found = find_lists(store, champion(store))
    assert found is not None
    return found.frame("recommendations")


def champion(store: Store) -> RunRecord:
    entry = Registry(store, NAME).champion()
    assert entry is not None
    return entry


def problems(store: Store) -> list[str]:
    return [line for lines in verify_runs(Registry(store, NAME).entries(), store).values() for line in lines]


def test_afterwards_no_file_of_the_store_holds_the_id(project: Path, person: str) -> None:
    held = holders(project / ".store", person)
    assert held >= {"events.parquet", "quarantine.parquet", "users.parquet", "rows.parquet", "axis-1.parquet"}
    assert held >= {"recommendations.parquet"}
    assert erase(person) == 0
    assert holders(project / ".store", person) == set()


def test_the_store_stays_whole_and_others_keep_their_lists(store: Store, person: str) -> None:
    before, best = lists(store), champion(store)
    assert (before[USER] == person).any()
    assert erase(person) == 0
    assert problems(store) == []
    assert champion(store) == best
    pd.testing.assert_frame_equal(lists(store), before[before[USER] != person].reset_index(drop=True))
    named = find_lists(store, best)
    assert named is not None
    assert named.summary["users"] == before[USER].nunique() - 1


def test_a_person_of_the_sample_leaves_the_page_too(project: Path, store: Store) -> None:
    found = find_lists(store, champion(store))
    assert found is not None
    shown = [one["user_id"] for one in found.json("sample")]
    assert holders(project / ".store", shown[0]) >= {"sample.json", "report.html"}
    assert erase(shown[0]) == 0
    assert holders(project / ".store", shown[0]) == set()
    [page] = (project / ".store" / NAME / AS_OF / "report").rglob("report.html")
    assert all(other in page.read_text() for other in shown[1:])


def test_features_of_the_days_on_which_the_person_has_rows_go_and_no_others(project: Path, person: str) -> None:
    rows = pd.read_parquet(next((project / ".store" / NAME / AS_OF / "split").rglob("rows.parquet")))
    days = pd.to_datetime(rows.loc[rows[USER] == person, "day"], unit="D").dt.strftime("%Y-%m-%d")
    before = features_of_days(project)
    assert erase(person) == 0
    assert {path.parents[2].name for path in before - features_of_days(project)} == set(days) != set()


def features_of_days(project: Path) -> set[Path]:
    return set((project / ".store" / NAME / "days").rglob("features.parquet"))


def test_cut_off_anywhere_nothing_refers_to_what_is_gone_and_again_completes_it(
    project: Path, store: Store, person: str
) -> None:
    total = len(plan(store, person).holdings.found)
    for step in range(0, total, 3):
        again = plan(store, person)
        replace(again, holdings=replace(again.holdings, found=again.holdings.found[:3])).carry_out()
        assert problems(store) == [], step
        assert not (lists(store)[USER] == person).any()
        for folder in artifact_folders(store, NAME):
            made = store.find(folder)
            assert made is None or all(store.look_up(ref) for ref in listed_days(made))
    assert plan(store, person).holdings.found == []
    assert holders(project / ".store", person) == set()


def test_what_a_run_that_was_cut_off_has_left_goes_too(project: Path, person: str) -> None:
    events = next((project / ".store" / NAME / "days").rglob("events.parquet"))
    rows = pd.read_parquet(events).assign(**{USER: person})
    beside = events.parents[1] / "attempt-000000000000"
    beside.mkdir()
    rows.to_parquet(beside / "events.parquet")
    half = project / ".store" / NAME / AS_OF / "split" / ("0" * 32) / "attempt-000000000000"
    half.mkdir(parents=True)
    (half / "rows.parquet.01234567.tmp").write_bytes(events.read_bytes()[:100])
    assert erase(person) == 0
    assert not beside.exists()
    assert not half.exists()


def test_run_again_with_an_erased_log_it_is_the_run_of_a_new_store(project: Path, store: Store, person: str) -> None:
    assert erase(person) == 0
    erase_from_source(project, person)
    # The store has rows, factors and features of days to offer, and no member of another log: few of them show it.
    again, fresh = (run(project, one, members=["popularity", "als"]) for one in (".store", ".fresh"))
    assert again.run_key == fresh.run_key
    entries = [Registry(one, NAME).get(again.run_key) for one in (store, Store(".fresh"))]
    assert entries[0] == entries[1]
    assert not (lists(store)[USER] == person).any()
    assert holders(project / ".store", person) == set()


def test_without_delete_nothing_changes_and_what_is_not_reached_is_named(
    project: Path, store: Store, person: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in (project / ".store").rglob("*") if path.is_file()}
    assert forget("--user", person) == 0
    assert {path: path.read_bytes() for path in (project / ".store").rglob("*") if path.is_file()} == before
    said = capsys.readouterr().out
    rows = pd.concat([pd.read_parquet(path) for path in log_files(project)])
    assert f"the store had {int((rows['user_id'] == person).sum())} rows of it" in said
    assert f"run {champion(store).run_key[:12]} as of {AS_OF}, today's champion, which learned from this user" in said


def test_the_record_says_who_asked_and_which_models_learned_and_not_of_whom(
    project: Path, store: Store, person: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert erase(person) == 0
    [record] = past_erasures(store, NAME)
    request = record.request
    assert (request.by, request.reason) == ("support", "asked by letter")
    assert record.done is not None
    assert record.done >= request.at
    assert [one.run_key for one in request.learned] == [champion(store).run_key]
    assert request.files["lists"] > 0
    kept = "".join(path.read_text() for path in (project / ".store" / NAME / "erasures").iterdir())
    assert person not in kept
    assert all(
        getattr(hashlib, name)(person.encode()).hexdigest()[:8] not in kept for name in ("md5", "sha1", "sha256")
    )
    capsys.readouterr()
    assert forget() == 0
    assert "by support: asked by letter" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "", "--delete", "--reason", "asked"], "--user: is empty"),
        (["--user", "PERSON", "--delete"], "--reason: is needed with --delete"),
        (["--user", "PERSON", "--delete", "--reason", "PERSON asked"], "--reason: quotes the user's id"),
        (["--user", "PERSON", "--delete", "--reason", "asked", "--by", "PERSON"], "--by: quotes the user's id"),
    ],
)
def test_what_cannot_be_done_is_refused(
    person: str, arguments: list[str], said: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forget(*(word.replace("PERSON", person) for word in arguments)) == 2
    assert said in capsys.readouterr().err
    assert past_erasures(store, NAME) == []


def test_an_unknown_scenario_is_refused_and_an_unknown_person_is_not(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["forget", "nosuch", "--user", "x"]) == 2
    assert "scenario 'nosuch': no file" in capsys.readouterr().err
    assert erase("viewer-of-nothing") == 0
    assert "nothing in .store holds this id" in capsys.readouterr().out
    assert past_erasures(store, NAME) == []


def test_a_decision_that_quotes_the_id_is_named(store: Store, person: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_key = champion(store).run_key
    Registry(store, NAME).append(
        Decision(run_key, AS_OF, "promote", "ops", f"{person} complained", "2026-01-01T00:00:00")
    )
    capsys.readouterr()
    assert forget("--user", person) == 0
    assert f"a decision on run {run_key[:12]} of 2026-01-01T00:00:00 quotes the id" in capsys.readouterr().out


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with s3_server() as url, empty_bucket(url, monkeypatch) as files:
        yield files


def test_a_store_in_a_bucket_is_erased_like_one_on_a_disk(
    project: Path, person: str, bucket: Any, tmp_path: Path
) -> None:
    bucket.put(str(project / ".store"), "shop/store", recursive=True)
    assert forget("--user", person, "--delete", "--reason", "asked", "--store", "s3://shop/store") == 0
    bucket.invalidate_cache()
    bucket.get("shop/store", str(tmp_path / "back"), recursive=True)
    assert holders(tmp_path / "back", person) == set()
    assert problems(Store("s3://shop/store")) == []
    assert not (lists(Store("s3://shop/store"))[USER] == person).any()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("integers")
    write_log(root)
    write_scenario(root, members=["popularity", "als"])
    run(root)
    return root


def test_integer_ids_are_erased_where_they_are_users_and_nowhere_else(
    numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_copy(numbered, tmp_path, monkeypatch)
    store = Store(".store")
    before = lists(store)
    person = int(before[USER].iloc[0])
    assert forget("--user", "somebody") == 2
    assert "ids of this log are integers" in capsys.readouterr().err
    assert erase(str(person)) == 0
    for path in (tmp_path / "project" / ".store").rglob("*.parquet"):
        rows = pd.read_parquet(path)
        assert USER not in rows or not (rows[USER] == person).any(), path
    for path in (tmp_path / "project" / ".store").rglob("sample.json"):
        assert person not in [one["user_id"] for one in json.loads(path.read_text())]
    assert problems(store) == []
    pd.testing.assert_frame_equal(lists(store), before[before[USER] != person].reset_index(drop=True))
    assert plan(store, str(person)).holdings.found == []


def snapshot(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def test_what_a_database_held_keeps_the_rows_of_others() -> None:
    data = snapshot(person=[7, 8, 7], film=[1, 7, 2])
    kept = snapshot_without(data, Person("7"), {"person"})
    assert kept is not None
    assert pd.read_parquet(io.BytesIO(kept)).to_dict("list") == {"person": [8], "film": [7]}
    assert snapshot_without(data, Person("9"), {"person"}) is data
    texts = snapshot(person=["07", None], film=[1, 7])
    assert snapshot_without(texts, Person("7"), {"person"}) is texts
    assert snapshot_without(data, Person("7"), {"viewer"}) is None  # of a query that no known run has asked
    assert snapshot_without(b"PAR1", Person("7"), {"person"}) is None
