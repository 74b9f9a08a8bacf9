"""A day of the log is judged once, and what many runs judged of it is what one run would."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.pipeline.days.log import day_digests, read_events
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.artifacts import Artifact, Payload, Ref, day_refs
from tests.support.projects import NAME, SCENARIO, write_log, write_scenario

EARLIER, LATER = "2013-05-09", "2013-05-10"
FIRST, LAST = "2013-04-01", "2013-05-09"  # days of the log


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_scenario(tmp_path)
    write_log(tmp_path)
    return tmp_path


def validated(project: Path, as_of: str, store: str = "store", *, force: str | None = None) -> tuple[Run, Artifact]:
    with contextlib.chdir(project):
        run = make_run(NAME, AsOf.parse(as_of), {}, str(project / store), force=force)
        results: dict[str, StageResult] = {}
        for name in ("resolve", "validate"):
            results[name] = run_stage(build_stages(run.scenario)[name], run, refs_of(results))
        return run, run.store.open(results["validate"].ref)


def parts(artifact: Artifact) -> list[Ref]:
    return day_refs(artifact)


def rewrite(project: Path, day: str, **changes: Any) -> Path:
    path = next((project / "log" / f"dt={day}").glob("*.parquet"))
    pd.read_parquet(path).assign(**changes).to_parquet(path, index=False)
    return path


def as_csv(project: Path) -> None:
    """Write the log as text, a file a day."""
    for path in (project / "log").glob("*/*.parquet"):
        pd.read_parquet(path).to_csv(path.with_suffix(".csv"), index=False)
        path.unlink()
    write_scenario(project, source={**SCENARIO["source"], "format": "csv", "items": None})


def test_the_next_day_is_judged_alone_and_the_log_as_if_all_were(project: Path) -> None:
    rewrite(project, FIRST, rating=99)
    write_scenario(project, validation={"max_bad_fraction": 0.5})
    _, before = validated(project, EARLIER)
    run, after = validated(project, LATER)
    alone, scratch = validated(project, LATER, "scratch")
    assert parts(after)[:-1] == parts(before)
    for document in ("validation.json", "quarantine.parquet", "items.parquet"):
        assert after.read(document) == scratch.read(document)
    pd.testing.assert_frame_equal(read_events(run.store, after), read_events(alone.store, scratch), check_exact=True)
    assert after.json("validation")["quarantined"].keys() == {"label_out_of_range:rating"}


def test_a_corrected_day_is_judged_anew_and_no_other(project: Path) -> None:
    run, before = validated(project, LATER)
    known = day_digests(run.store, before)
    rewrite(project, "2013-04-20", rating=7)
    run, after = validated(project, LATER)
    changed = [new.uri for old, new in zip(parts(before), parts(after), strict=True) if old.uri != new.uri]
    assert [uri.split("/")[2] for uri in changed] == ["2013-04-20"]
    corrected = day_digests(run.store, after)
    assert {day for day in known if known[day] != corrected[day]} == {sorted(known)[19]}


def test_a_new_day_with_ids_of_another_type_is_refused_though_the_others_were_judged_before(project: Path) -> None:
    validated(project, EARLIER)
    day = pd.read_parquet(next((project / "log" / f"dt={LAST}").glob("*.parquet")))
    rewrite(project, LAST, user_id=day["user_id"].astype("str"))
    with pytest.raises(
        DataError, match=rf"dt={LAST}/.*'user_id' .* holds strings, but log/dt={FIRST}/.* holds integers"
    ):
        validated(project, LATER)


@pytest.mark.parametrize("day", [FIRST, LAST])
def test_text_ids_that_come_with_one_day_of_a_text_log_are_those_of_all(project: Path, day: str) -> None:
    as_csv(project)
    path = next((project / "log" / f"dt={day}").glob("*.csv"))
    rows = pd.read_csv(path).astype({"user_id": "str"})
    rows.loc[0, "user_id"] = "née-🙂"
    rows.to_csv(path, index=False)
    validated(project, EARLIER)
    run, after = validated(project, LATER)
    alone, scratch = validated(project, LATER, "scratch")
    events = read_events(run.store, after)
    assert str(events[columns.USER].dtype) == "str"
    assert after.read("validation.json") == scratch.read("validation.json")
    observed = {entry["observed"] for entry in after.json("validation")["expectations"][:2] if entry["observed"]}
    assert observed == {"str"}
    pd.testing.assert_frame_equal(events, read_events(alone.store, scratch), check_exact=True)


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("day", [FIRST, LAST])
def test_a_day_without_any_id_holds_no_other_day_to_the_type_it_was_written_with(
    project: Path, day: str, rows: int
) -> None:
    for path in (project / "log").glob("*/*.parquet"):
        pd.read_parquet(path).astype({"user_id": "str"}).to_parquet(path, index=False)
    path = next((project / "log" / f"dt={day}").glob("*.parquet"))
    without = pd.read_parquet(path).head(rows)
    without.assign(user_id=pd.array([None] * rows, dtype="Int64")).to_parquet(path, index=False)
    source = {**SCENARIO["source"], "items": None}
    write_scenario(project, source=source, validation={"max_bad_fraction": 0.5, "missing_days": "warn"})
    validated(project, EARLIER)
    run, after = validated(project, LATER)
    _, scratch = validated(project, LATER, "scratch")
    assert parts(after) == parts(scratch)
    assert str(read_events(run.store, after)[columns.USER].dtype) == "str"
    assert after.json("validation") == scratch.json("validation")


def test_a_day_that_was_deleted_is_judged_again(project: Path) -> None:
    run, before = validated(project, LATER)
    shutil.rmtree(Path(str(run.store.root), parts(before)[3].uri))
    _, after = validated(project, LATER)
    assert parts(after) == parts(before)
    assert len(read_events(run.store, after)) == before.ref.rows


def test_a_run_whose_days_became_others_is_refused_instead_of_referring_to_what_is_gone(project: Path) -> None:
    run, before = validated(project, LATER)
    old = run.store.open(parts(before)[3])
    payload = Payload({name: old.read(name) for name in old.names}, {**old.summary, "note": "by another CPU"}, 1)
    shutil.rmtree(str(old.folder))
    run.store.publish(old.folder, old.ref.key, payload, {"usage": {}})
    with pytest.raises(ArtifactError, match=r"refers to artifacts of days that are not those .* run with --force"):
        validated(project, LATER)
    assert run.store.open(before.ref).manifest == before.manifest  # which the registry may refer to
    _, forced = validated(project, LATER, force="monday")
    assert not {ref.uri for ref in parts(forced)} & {ref.uri for ref in parts(before)}
    assert len(read_events(run.store, forced)) == before.ref.rows


@pytest.mark.parametrize(
    ("written_as", "change"),
    [("csv", "bad"), ("csv", "text"), ("csv", "empty"), ("parquet", "missing"), ("parquet", "empty")],
)
def test_a_day_is_the_same_artifact_whatever_was_read_with_it(project: Path, written_as: Any, change: str) -> None:
    """Runs that overlap, or are forced, write a day again: what others refer to must not become another one."""
    path = next((project / "log" / f"dt={LAST}").glob("*.parquet"))
    rows = pd.read_parquet(path).astype({"user_id": "object"})
    if change == "bad":
        rows.loc[0, "rating"] = 99
    elif change == "empty":
        rows = rows.iloc[:0]
    else:
        rows.loc[0, "user_id"] = None if change == "missing" else "née-🙂"
    if written_as == "csv":
        as_csv(project)
        rows.to_csv(path.with_suffix(".csv"), index=False)
    else:
        rows.to_parquet(path, index=False)
    source = {**SCENARIO["source"], "format": written_as, "items": None}
    rules = {"max_bad_fraction": 0.5, "missing_days": "warn"}
    write_scenario(project, source={**source, "context": {"categorical": {"stars": "rating"}}}, validation=rules)
    _, before = validated(project, EARLIER)
    _, after = validated(project, LATER)
    run, scratch = validated(project, LATER, "scratch")
    assert parts(after)[:-1] == parts(before)
    assert parts(after) == parts(scratch)
    ids = read_events(run.store, after)[columns.USER]
    assert str(ids.dtype) == ("str" if change == "text" else "int64")
