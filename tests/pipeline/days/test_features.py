"""A day's features are made once, whoever asks, and made again when anything that they depend on has changed."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.categories import union_categories
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, StoreError
from mtl_tasks.features import build_features, fit_factor_models
from mtl_tasks.features.groups import affinity
from mtl_tasks.pipeline.days import factors, missing_features
from mtl_tasks.pipeline.days import features as daily_features
from mtl_tasks.pipeline.days.features import day_keys, read_days
from mtl_tasks.pipeline.days.fingerprints import DayFingerprints
from mtl_tasks.pipeline.days.log import digests_of
from mtl_tasks.pipeline.days.missing_features import FeatureDays, MissingBlock, MissingDays
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.executor import InProcess, Shard
from mtl_tasks.pipeline.local import make_run, refs_of, run_pipeline
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.artifacts import Ref, Store, day_refs
from mtl_tasks.store.registry import Registry
from tests.support.projects import NAME, SCENARIO, run_until, write_log, write_scenario
from tests.support.worlds import (
    END,
    ITEMS,
    START,
    canonical,
    item_table,
    random_events,
    random_rows,
    tables,
    world_scenario,
)

# The train windows of both start after 2013-04-11 and no later than 2013-04-18, two days divisible by seven.
EARLIER, LATER = "2013-05-08", "2013-05-09"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_scenario(root, factors={**SCENARIO["factors"], "refit_days": 7})
    write_log(root)
    return root


def made_features(
    project: Path, as_of: str, store: str, *, force: str | None = None, **overrides: Any
) -> tuple[Run, StageResult]:
    """Run the stages up to the features."""
    run, results = run_until(project, "features", as_of, store, force=force, **overrides)
    return run, results["features"]


def days_of(run: Run, result: StageResult) -> list[Ref]:
    return day_refs(run.store.open(result.ref))


def test_the_next_day_makes_one_day_anew_and_equals_a_run_from_scratch_to_the_bit(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = made_features(project, EARLIER, str(project / "shared"))
    with caplog.at_level("INFO"):
        after = made_features(project, LATER, str(project / "shared"))
    assert "counting goes on from 2013-05-02" in caplog.text  # the last day divisible by seven
    scratch = made_features(project, LATER, str(project / "alone"))
    known, wanted = ({ref.key for ref in days_of(*made)} for made in (before, after))
    assert len(wanted - known) == 1
    assert [ref.sha256 for ref in days_of(*after)] == [ref.sha256 for ref in days_of(*scratch)]
    tables = [read_days(run.store, run.store.open(result.ref)) for run, result in (after, scratch)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("rows", [1, 20])  # fewer than any day has, and than the largest has
def test_in_how_many_parts_days_are_made_changes_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = days_of(*made_features(project, EARLIER, str(project / "whole")))
    monkeypatch.setattr(missing_features, "_ROWS_AT_ONCE", rows)
    parts = days_of(*made_features(project, EARLIER, str(project / f"parts-{rows}")))
    assert max(ref.rows for ref in whole) > rows
    assert [(ref.rows, ref.sha256) for ref in parts] == [(ref.rows, ref.sha256) for ref in whole]


def in_shards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Make features in shards of days, one after the other in this process."""
    shards = [Shard(index, count) for index in range(count)]
    monkeypatch.setattr(daily_features, "open_executor", lambda environment: contextlib.nullcontext(InProcess(shards)))


@pytest.mark.parametrize("count", [2, 3, 100])  # the last: more than there are days
def test_shards_of_days_leave_what_one_process_leaves(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    alone, shared = str(project / "shared"), str(tmp_path)
    whole = days_of(*made_features(project, EARLIER, alone))
    in_shards(monkeypatch, count)
    parts = days_of(*made_features(project, EARLIER, shared))
    assert [(ref.key, ref.rows, ref.sha256) for ref in parts] == [(ref.key, ref.rows, ref.sha256) for ref in whole]
    snapshots = {path.relative_to(tmp_path).parts[:4] for path in tmp_path.glob(f"{NAME}/days/*/*/*/memory.json")}
    assert {day for _, _, day, _ in snapshots} == {"2013-05-02"}
    with caplog.at_level("INFO"):
        after = days_of(*made_features(project, LATER, shared))
    assert "counting goes on from 2013-05-02" in caplog.text
    assert [ref.sha256 for ref in after] == [ref.sha256 for ref in days_of(*made_features(project, LATER, alone))]


def test_a_stage_that_is_tried_again_makes_only_the_days_that_are_missing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_shards(monkeypatch, 1)
    publish, made = FeatureDays._publish, list[Ref]()

    def fail_at_the_eighth(work: FeatureDays, block: MissingBlock, parts: list[pd.DataFrame]) -> Ref:
        if len(made) == 7:
            raise StoreError("the disk is full")
        made.append(publish(work, block, parts))
        return made[-1]

    monkeypatch.setattr(FeatureDays, "_publish", fail_at_the_eighth)
    with pytest.raises(StoreError, match="the disk is full"):
        made_features(project, EARLIER, str(tmp_path))
    monkeypatch.setattr(FeatureDays, "_publish", publish)
    with caplog.at_level("INFO"):
        days = days_of(*made_features(project, EARLIER, str(tmp_path)))
    assert f"features of {len(days) - 7} parts made, of 7 reused" in caplog.text
    assert days[:7] == made


@pytest.mark.parametrize("count", [1, 2, 3])
def test_days_that_are_missing_between_others_are_made_as_before(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    before = days_of(*made_features(project, EARLIER, str(tmp_path)))
    for path in [*before[1:3], *before[7:9]]:
        shutil.rmtree(tmp_path / path.uri)
    (features,) = tmp_path.glob(f"{NAME}/{EARLIER}/features")
    shutil.rmtree(features)
    for path in tmp_path.glob(f"{NAME}/days/*/*/*/memory.json"):  # as if a shard had failed between two that had not
        shutil.rmtree(path.parents[1])
    in_shards(monkeypatch, count)
    assert days_of(*made_features(project, EARLIER, str(tmp_path))) == before


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(1, 40), st.sets(st.integers(0, 40)))
def test_shards_divide_the_missing_days_and_the_snapshots_due(rows: list[int], count: int, due: set[int]) -> None:
    days = [2 * number for number in range(len(rows))]
    blocks = [MissingBlock((day,), str(day), size) for day, size in zip(days, rows, strict=True)]
    missing = MissingDays(blocks, {7: "key"}, sorted(day for day in due if day <= days[-1]))
    parts = [MissingDays.from_bytes(missing.to_bytes()).of(Shard(index, count)) for index in range(count)]
    assert [block for part in parts for block in part.blocks] == blocks
    assert [day for part in parts for day in part.due] == missing.due
    assert max(sum(block.rows for block in part.blocks) for part in parts) <= sum(rows) / count + max(rows)
    for part in parts:
        assert all(part.blocks[0].days[0] <= day for day in part.due)


def test_one_missing_day_starts_no_cluster(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_features(project, EARLIER, str(tmp_path))
    monkeypatch.setenv("MTL_CLUSTER", "tcp://127.0.0.1:9")  # where nobody answers
    assert not made_features(project, LATER, str(tmp_path))[1].reused


def test_factors_and_counts_of_integer_ids_are_not_gone_on_from_once_the_ids_of_a_text_log_are_texts(
    project: Path, tmp_path: Path
) -> None:
    root = tmp_path / "text"
    shutil.copytree(project, root, ignore=lambda folder, names: [name for name in names if name == "shared"])
    for path in (root / "log").glob("*/*.parquet"):
        pd.read_parquet(path).astype("str").to_csv(path.with_suffix(".csv"), index=False)
        path.unlink()
    path = next((root / "log" / "dt=2013-05-08").glob("*.csv"))
    rows = pd.read_csv(path, dtype="str")
    rows.loc[0, ["user_id", "movie_id"]] = "x"
    rows.to_csv(path, index=False)
    sections = {"source.format": "csv", "source.items": None}
    made_features(root, EARLIER, str(root / "store"), **sections)
    after = made_features(root, LATER, str(root / "store"), **sections)
    scratch = made_features(root, LATER, str(root / "alone"), **sections)
    tables = [read_days(run.store, run.store.open(result.ref)) for run, result in (after, scratch)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_counts_are_kept_for_the_runs_of_a_week_and_not_gone_on_from_once_the_past_has_changed(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "corrected"
    shutil.copytree(project, root, ignore=lambda folder, names: [name for name in names if name == "shared"])
    made_features(root, EARLIER, str(root / "store"))
    path = next((root / "log" / "dt=2013-04-05").glob("*.parquet"))
    pd.read_parquet(path).assign(rating=3).to_parquet(path, index=False)
    with caplog.at_level("INFO"):
        after = made_features(root, LATER, str(root / "store"))
        assert "counting goes on" not in caplog.text
        scratch = made_features(root, LATER, str(root / "alone"))
    assert [ref.sha256 for ref in days_of(*after)] == [ref.sha256 for ref in days_of(*scratch)]


def test_a_forced_run_goes_on_from_no_counts_but_its_own_and_leaves_damaged_ones_to_be_deleted(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = str(tmp_path)
    made_features(project, EARLIER, store)
    counts = sorted(tmp_path.glob(f"{NAME}/days/*/*/*/memory.json"))
    assert counts
    for path in counts:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=r"memory\.json: does not match its manifest .* run with --force"):
        made_features(project, LATER, store)
    with caplog.at_level("INFO"):
        run, _ = made_features(project, LATER, store, force="monday")
        assert "counting goes on" not in caplog.text
        with contextlib.chdir(project):
            found = {}
            for name, stage in build_stages(run.scenario).items():
                found[name] = run_stage(stage, run, refs_of(found))
                if name == "evaluate":
                    break
        assert "counting goes on" in caplog.text
    for path in counts:  # as the message says: runs of other dates need them too
        shutil.rmtree(path.parents[1])
    assert not made_features(project, LATER, store)[1].reused


def test_days_of_a_forced_run_lie_beside_those_of_others(project: Path, tmp_path: Path) -> None:
    store = str(tmp_path)
    first = days_of(*made_features(project, EARLIER, store))
    forced = days_of(*made_features(project, EARLIER, store, force="monday"))
    assert not {ref.uri for ref in first} & {ref.uri for ref in forced}
    read = [[Store(store).open(ref).read("features.parquet") for ref in refs] for refs in (first, forced)]
    assert read[0] == read[1]
    assert days_of(*made_features(project, EARLIER, store)) == first


def test_factors_are_not_gone_on_from_while_damaged_and_made_again_once_they_are_deleted(
    project: Path, tmp_path: Path
) -> None:
    store = str(tmp_path)
    made_features(project, EARLIER, store)
    kept = [path.parents[1] for path in tmp_path.glob(f"{NAME}/days/*/*/*/taste.npz")]
    assert kept
    for folder in kept:
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"is not a manifest: .* delete its folder and run again"):
        made_features(project, LATER, store)
    made_features(project, LATER, store, force="monday")
    for folder in kept:
        shutil.rmtree(folder)
    run, result = made_features(project, "2013-05-10", store)
    scratch = made_features(project, "2013-05-10", str(tmp_path / "alone"))
    assert days_of(run, result) == days_of(*scratch)


def test_a_film_that_nobody_has_seen_yet_changes_no_day(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "announced"
    shutil.copytree(project, root, ignore=lambda folder, names: [name for name in names if name == "shared"])
    before = days_of(*made_features(root, EARLIER, str(root / "store")))
    films = pd.read_parquet(root / "films.parquet")
    pd.concat([films, films.tail(1).assign(movie_id=99_999_999)]).to_parquet(root / "films.parquet", index=False)
    assert days_of(*made_features(root, EARLIER, str(root / "store"))) == before


def test_factors_that_are_fitted_anew_make_every_day_anew(project: Path) -> None:
    store = str(project / "refitted")
    made = [made_features(project, as_of, store, **{"factors.refit_days": 1}) for as_of in (EARLIER, LATER)]
    known, wanted = ({ref.key for ref in days_of(*one)} for one in made)
    assert not wanted & known


def test_a_damaged_day_is_refused_by_name_and_made_again_once_it_is_deleted(project: Path) -> None:
    store = str(project / "damaged")
    run, result = made_features(project, EARLIER, store)
    day = days_of(run, result)[-1]
    path = next(Path(store, day.uri).glob("attempt-*/features.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"features\.parquet: does not match its manifest"):
        read_days(run.store, run.store.open(result.ref))
    with pytest.raises(ArtifactError, match=r"features\.parquet: does not match its manifest"):
        made_features(project, LATER, store)
    shutil.rmtree(Path(store, day.uri))  # as the message says
    run, result = made_features(project, EARLIER, store)
    assert days_of(run, result)[-1] == day
    assert len(read_days(run.store, run.store.open(result.ref))) == result.ref.rows


def test_a_flipped_byte_of_a_reused_day_is_found_by_who_reads_it(project: Path) -> None:
    store = str(project / "flipped")
    run, result = made_features(project, EARLIER, store)
    path = next(Path(store, days_of(run, result)[-1].uri).glob("attempt-*/features.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    run, result = made_features(project, LATER, store)
    with pytest.raises(ArtifactError, match=r"features\.parquet: does not match its manifest"):
        read_days(run.store, run.store.open(result.ref))


def test_only_the_columns_asked_for_are_read(project: Path) -> None:
    run, result = made_features(project, EARLIER, str(project / "shared"))
    artifact = run.store.open(result.ref)
    part = read_days(run.store, artifact, ["item.count", "user.count"])
    assert sorted(part) == ["item.count", "user.count"]
    whole = read_days(run.store, artifact)
    assert np.array_equal(part["user.count"], whole["user.count"])
    assert len(whole) == result.ref.rows


def test_only_the_rows_asked_for_are_read_in_their_order(project: Path) -> None:
    run, result = made_features(project, EARLIER, str(project / "shared"))
    artifact = run.store.open(result.ref)
    whole = read_days(run.store, artifact)
    positions = np.flatnonzero(np.arange(len(whole)) % 7 == 3)[20:]  # none of the first day
    pd.testing.assert_frame_equal(
        read_days(run.store, artifact, None, positions), whole.iloc[positions].reset_index(drop=True)
    )


def keys(events: pd.DataFrame, rows: pd.DataFrame, **config: Any) -> dict[int, str]:
    scenario = world_scenario()
    factor_models = fit_factor_models(canonical(random_events(np.random.default_rng(1))), scenario, START, END)
    scenario = world_scenario(**config)
    run = Run(scenario, AsOf(END), Store("nowhere"))
    known = DayFingerprints.of(run, scenario, digests_of(events), events, tables(item_table([10, 12])))
    return day_keys(known, rows, factor_models)


@pytest.mark.parametrize("column", [columns.USER, columns.ITEM, columns.label("like"), columns.label("rating")])
def test_a_corrected_event_changes_the_days_after_its_own_and_no_other(column: str) -> None:
    rng = np.random.default_rng(2)
    events = canonical(random_events(rng))
    rows = random_rows(rng, 80).sort_values(columns.DAY, ignore_index=True)
    corrected = events.copy()
    place = int(np.flatnonzero(events[columns.DAY] == START + 2)[0])
    corrected.loc[place, column] = 98 if column in (columns.USER, columns.ITEM) else np.float32(0.5)
    before, after = keys(events, rows), keys(corrected, rows)
    assert sorted(before) == sorted(set(rows[columns.DAY]))
    assert {day for day in before if before[day] != after[day]} == {day for day in before if day > START + 2}


def test_other_rows_change_their_own_day_alone() -> None:
    rng = np.random.default_rng(3)
    events = canonical(random_events(rng))
    rows = random_rows(rng, 80).sort_values(columns.DAY, ignore_index=True)
    without = rows[rows.index != int(np.flatnonzero(rows[columns.DAY] == START + 1)[0])].reset_index(drop=True)
    before, after = keys(events, rows), keys(events, without)
    assert {day for day in before if before[day] != after[day]} == {START + 1}


def test_other_settings_change_every_day() -> None:
    rng = np.random.default_rng(4)
    events = canonical(random_events(rng))
    rows = random_rows(rng, 40).sort_values(columns.DAY, ignore_index=True)
    assert not set(keys(events, rows, features={"damping": 5}).values()) & set(
        keys(events, rows, features={"damping": 6}).values()
    )


def test_a_champion_of_the_same_factors_gets_the_verdict_that_features_made_anew_give_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    gate = {"gate.relative": [{"task": "rating", "metric": "rmse", "margin": 1}]}
    for as_of in (EARLIER, LATER):
        run = make_run(NAME, AsOf.parse(as_of), gate, "twice")
        run_pipeline(run, lambda stage, result: None)
    found: dict[str, StageResult] = {}
    for stage in build_stages(run.scenario).values():
        found[stage.name] = run_stage(stage, run, refs_of(found))
        if stage.name == "gate":
            break
    shared = run.store.open(found["gate"].ref).json("verdict")
    monkeypatch.setattr(factors, "same_factors", lambda some, others: False)
    anew = run_stage(build_stages(run.scenario)["gate"], replace(run, force="monday"), refs_of(found))
    assert run.store.open(anew.ref).json("verdict") == shared
    assert shared["champion"] == Registry(run.store, NAME).champion(LATER).run_key


def test_a_day_without_any_kind_joins_days_that_have_some() -> None:
    some, none = pd.DataFrame({"tab": pd.Categorical(["b", "a"])}), pd.DataFrame({"tab": pd.Categorical([None, None])})
    assert union_categories([none, some])["tab"].tolist()[2:] == ["b", "a"]
    assert union_categories([none, some])["tab"].cat.categories.tolist() == ["a", "b"]
    assert union_categories([none])["tab"].isna().all()


@pytest.mark.parametrize("side", [1, 64])
def test_features_of_many_rows_of_a_day_do_not_depend_on_the_days_beside_them(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(affinity, "_ROWS", 40)  # parts end within days
    monkeypatch.setattr(affinity, "_CELLS", 64)  # and blocks within the rows of a user and day,
    monkeypatch.setattr(affinity, "_SIDE", side)  # each by itself or a few at once
    rng = np.random.default_rng(5)
    scenario, events = world_scenario(), canonical(random_events(rng, 400))
    factor_models = fit_factor_models(events, scenario, START, END)
    rows = random_rows(rng, 600).sort_values(columns.DAY, ignore_index=True)
    beside = tables(item_table([10 + 2 * code for code in range(ITEMS)]))
    whole = build_features(events, beside, rows, factor_models, scenario)
    for day in sorted(set(rows[columns.DAY])):
        mine = (rows[columns.DAY] == day).to_numpy()
        alone = build_features(events, beside, rows[mine].reset_index(drop=True), factor_models, scenario)
        pd.testing.assert_frame_equal(alone, whole[mine].reset_index(drop=True), check_exact=True)
