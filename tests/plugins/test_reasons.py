"""Drawings of reasons: a waterfall adds up, and events lie on their line in order."""

from __future__ import annotations

import pytest

from mtl_tasks.pipeline.explore import PastEvent
from mtl_tasks.store.documents.explanation import Contribution, MemberScore, OtherFeatures
from plugins.model_board.reasons import WIDTH, event_strip, waterfall

PARTS = [("age", 0.5), ("genre", -0.25)]
SCORE = MemberScore(
    member="independent",
    unit="log-odds",
    base=-3.0,
    score=-2.85,
    contributions=tuple(Contribution(feature=name, words=name, value=1.0, contribution=part) for name, part in PARTS),
    others=OtherFeatures(features=7, contribution=-0.1),
)


def test_a_waterfall_leads_from_the_baseline_to_the_sum() -> None:
    base, *parts, total = waterfall(SCORE)
    assert [step.words for step in parts] == ["age", "genre", "7 other features"]
    assert [step.sign for step in parts] == ["up", "down", "down"]
    assert base.amount + sum(step.amount for step in parts) == pytest.approx(total.amount)
    assert base.left == 0  # the smallest of all ends
    assert parts[0].left + parts[0].width == pytest.approx(parts[1].left + parts[1].width)  # where the next begins
    assert parts[1].left == pytest.approx(parts[2].left + parts[2].width)
    assert total.left == pytest.approx(parts[2].left)
    assert max(step.left + step.width for step in (base, *parts, total)) <= WIDTH


def test_a_member_without_any_contribution_has_a_baseline_and_a_sum() -> None:
    alone = SCORE.model_copy(update={"contributions": (), "others": OtherFeatures(features=0, contribution=0.0)})
    assert [step.sign for step in waterfall(alone)] == ["sum", "sum"]


def test_events_lie_on_a_line_from_the_oldest_to_the_newest() -> None:
    days = ("2013-05-03", "2013-05-02", "2013-05-01")
    events = [PastEvent(item_id=7, title=None, at=f"{day}T00:00:00+00:00", labels={}) for day in days]
    strip = event_strip(events)
    assert strip is not None
    assert (strip.first, strip.last) == ("2013-05-01", "2013-05-03")
    assert [place for place, _ in strip.events] == [99.0, 50.0, 1.0]
    assert strip.events[0][1] == "2013-05-03: 7"
    assert event_strip([]) is None
