"""Quiet days share an artifact, whichever runs ask for them, and nothing that is made of them changes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mtl_tasks.core.days import day_text
from mtl_tasks.pipeline.days import blocks as day_blocks
from mtl_tasks.pipeline.days import features as daily_features
from mtl_tasks.pipeline.days import log as daily_log
from mtl_tasks.pipeline.days.blocks import BLOCK_DAYS, block_name, days_named, divided
from mtl_tasks.pipeline.days.features import read_days
from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.store.artifacts import Artifact, day_refs
from tests.support.projects import SCENARIO, run_until, write_log, write_scenario

START = 400 * BLOCK_DAYS  # 2005-01-17
SIZES = {START + day: 10 for day in range(0, 2 * BLOCK_DAYS, 3)}


def test_days_of_a_complete_block_share_it_up_to_the_limit() -> None:
    span = range(START, START + 2 * BLOCK_DAYS)
    first, second = divided(SIZES, span, 110)
    assert first + second == tuple(SIZES)
    assert first[-1] < START + BLOCK_DAYS <= second[0]
    assert divided({**SIZES, first[0]: 11}, span, 110) == [*((day,) for day in first), second]


@pytest.mark.parametrize("cut", [1, BLOCK_DAYS - 1])
def test_a_block_is_shared_only_once_all_its_days_are_over_and_in_the_span(cut: int) -> None:
    first, second = divided(SIZES, range(START, START + 2 * BLOCK_DAYS), 110)
    assert divided(SIZES, range(START + cut, START + 2 * BLOCK_DAYS), 110) == [*((day,) for day in first), second]
    assert divided(SIZES, range(START, START + 2 * BLOCK_DAYS - cut), 110) == [first, *((day,) for day in second)]


def test_a_block_is_named_by_its_first_and_last_day() -> None:
    assert block_name((START,)) == "2005-01-17"
    assert days_named("2005-01-17") == {"2005-01-17"}
    block = (START, START + 5, START + 20)
    assert block_name(block) == "2005-01-17--2005-02-06"
    assert days_named(block_name(block)) == {day_text(day) for day in range(START, START + 21)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_scenario(root, factors={**SCENARIO["factors"], "refit_days": 7})
    write_log(root)
    return root


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share blocks of eight days, which the project's windows hold two of, however many rows they have."""
    monkeypatch.setattr(day_blocks, "BLOCK_DAYS", 8)
    monkeypatch.setattr(daily_log, "_BLOCK_BYTES", 10**9)
    monkeypatch.setattr(daily_features, "_BLOCK_ROWS", 10**9)


def made(project: Path, as_of: str, store: str) -> dict[str, tuple[Run, Artifact]]:
    """Run the stages up to the features, and return what `validate` and they have made."""
    run, results = run_until(project, "features", as_of, store)
    return {stage: (run, run.store.open(results[stage].ref)) for stage in ("validate", "features")}


def names(stage: tuple[Run, Artifact]) -> list[str]:
    return [ref.uri.split("/")[2] for ref in day_refs(stage[1])]


def test_what_is_made_of_shared_days_is_what_single_days_make(project: Path, shared: None) -> None:
    together = made(project, "2013-05-11", str(project / "together"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daily_log, "_BLOCK_BYTES", 0)
        patch.setattr(daily_features, "_BLOCK_ROWS", 0)
        apart = made(project, "2013-05-11", str(project / "apart"))
    for stage, read in {"validate": read_events, "features": read_days}.items():
        assert all("--" not in name for name in names(apart[stage]))
        assert sum("--" in name for name in names(together[stage])) >= 2
        frames = [read(run.store, artifact) for run, artifact in (apart[stage], together[stage])]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_the_next_day_reuses_the_blocks(project: Path, shared: None) -> None:
    store = str(project / "next")
    before, after = (made(project, as_of, store) for as_of in ("2013-05-08", "2013-05-09"))  # of one fit of the factors
    for stage in ("validate", "features"):
        known, wanted = ({ref.uri for ref in day_refs(one[stage][1])} for one in (before, after))
        assert any("--" in uri for uri in known & wanted), stage
        assert len(wanted - known) == 1, stage
