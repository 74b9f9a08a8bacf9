"""Recall of sources, of their union and what each adds, in slices, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mtl_tasks.core import columns
from mtl_tasks.recommend.candidates import SOURCES, source_bit
from mtl_tasks.recommend.source_recall import RecallReport, SourceRecall, SourceShare
from mtl_tasks.scenario import SourceName
from tests.support.worlds import Event, canonical, world_scenario

ALS, POPULAR, NEW = (source_bit(name) for name in ("als", "popular", "new_items"))
ON: list[SourceName] = ["als", "popular", "new_items"]


def pairs(rows: list[tuple[int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[columns.USER, columns.ITEM])


def scored(rows: list[tuple[int, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[columns.USER, columns.ITEM, SOURCES])
    return frame.astype({SOURCES: np.uint16})


@pytest.fixture
def recall() -> SourceRecall:
    truth = pairs([(1, 10), (1, 11), (2, 10), (2, 12), (2, 99)])
    return SourceRecall(truth, ON, np.array([2]), np.array([12]), np.array([10, 11, 12, 13]))


TRUTH = [(1, 10), (1, 11), (2, 10), (2, 12), (2, 99)]
BATCHES = (
    [(1, 10, ALS | POPULAR), (1, 13, ALS)],
    [(2, 10, POPULAR), (2, 12, NEW), (2, 13, ALS | NEW), (7, 10, POPULAR)],
)


@pytest.fixture
def report(recall: SourceRecall) -> RecallReport:
    for batch in BATCHES:
        recall.add(scored(batch))
    return recall.document()


def test_recall_of_each_source_alone_and_of_the_union(report: RecallReport) -> None:
    everything = report.slices["all"]
    assert (everything.users, everything.pairs, everything.recall) == (2, 5, 0.6)
    assert {name: share.recall for name, share in everything.sources.items()} == pytest.approx(
        {"als": 0.2, "popular": 0.4, "new_items": 0.2}
    )


def test_the_unique_contribution_is_the_recall_lost_without_the_source(report: RecallReport) -> None:
    unique = {name: share.unique for name, share in report.slices["all"].sources.items()}
    assert unique == {"als": 0.0, "popular": 0.2, "new_items": 0.2}


def test_candidates_are_counted_for_users_with_truth_only(report: RecallReport) -> None:
    everything = report.slices["all"]
    assert everything.candidates_per_user == 2.5
    assert {name: share.candidates_per_user for name, share in everything.sources.items()} == {
        "als": 1.5,
        "popular": 1.0,
        "new_items": 1.0,
    }


def test_slices_have_the_truth_and_candidates_of_cold_users_and_items(report: RecallReport) -> None:
    users, items = report.slices["cold_users"], report.slices["cold_items"]
    assert (users.users, users.pairs, users.recall, users.candidates_per_user) == (1, 3, pytest.approx(2 / 3), 3.0)
    assert (items.users, items.pairs, items.recall, items.candidates_per_user) == (2, 1, 1.0, 0.5)
    assert items.sources["new_items"] == SourceShare(recall=1.0, unique=1.0, candidates_per_user=0.5)
    assert items.sources["als"] == SourceShare(recall=0.0, unique=0.0, candidates_per_user=0.0)


def test_truth_of_items_that_the_log_did_not_have_is_counted(report: RecallReport) -> None:
    assert report.unreachable == 1


def test_batches_add_up(recall: SourceRecall, report: RecallReport) -> None:
    fresh = SourceRecall(
        pairs([(1, 10), (1, 11), (2, 10), (2, 12), (2, 99)]), ON, np.array([2]), np.array([12]), np.arange(10, 14)
    )
    fresh.add(scored([row for batch in BATCHES for row in batch]))
    assert fresh.document() == report


def test_what_was_collected_of_some_users_adds_up() -> None:
    def collected(users: set[int]) -> SourceRecall:
        truth = pairs([pair for pair in TRUTH if pair[0] in users])
        made = SourceRecall(truth, ON, np.array([2]), np.array([12]), np.arange(10, 14))
        made.add(scored([row for batch in BATCHES for row in batch if row[0] in users]))
        return made

    whole, merged = collected({1, 2}), SourceRecall(pairs(TRUTH), ON, np.array([2]), np.array([12]), np.arange(10, 14))
    for users in ({1}, {2}):
        part = collected(users)
        merged.merge(part.found, json.loads(json.dumps(part.offered)))
    assert merged.document() == whole.document()


def test_without_truth_nothing_is_measured() -> None:
    nobody: list[tuple[int, int]] = []
    empty = SourceRecall(pairs(nobody), ON, np.array([]), np.array([]), np.array([10]))
    empty.add(scored([(1, 10, ALS)]))
    everything = empty.document().slices["all"]
    assert (everything.users, everything.recall, everything.candidates_per_user) == (0, None, None)
    assert everything.sources["als"] == SourceShare(recall=None, unique=None, candidates_per_user=None)


def test_the_report_is_immutable_and_survives_json(report: RecallReport) -> None:
    assert RecallReport.model_validate_json(report.model_dump_json()) == report
    with pytest.raises(ValidationError, match="frozen"):
        report.unreachable = 3  # type: ignore[misc]


def test_cold_users_and_items_follow_from_the_log_before_the_day() -> None:
    day = 16_000
    known = [Event(100, 10 + number, day - 20, 5.0, 1.0) for number in range(5)]
    few = [Event(102, 10 + number, day - 20, 5.0, float(number < 4)) for number in range(5)]
    late = [Event(100, 20, day - 7, 5.0, 0.0), Event(100, 21, day, 5.0, 1.0), Event(102, 13, day, 5.0, 1.0)]
    events = canonical([*known, *few, *late])
    scenario = world_scenario(factors__signals={"like": 1.0})
    truth = pairs([(100, 20), (100, 21), (102, 13), (104, 10)])
    document = SourceRecall.at(events, truth, day, scenario).document()
    assert document.unreachable == 1  # item 21
    assert {name: part.users for name, part in document.slices.items()} == {
        "all": 3,
        "cold_users": 2,  # 102 with four positive interactions, and 104 with none
        "cold_items": 3,
    }
    assert {name: part.pairs for name, part in document.slices.items()} == {
        "all": 4,
        "cold_users": 2,
        "cold_items": 1,  # item 20
    }
    assert list(document.slices["all"].sources) == ["als", "popular", "co_occurrence", "attributes"]
