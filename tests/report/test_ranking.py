"""The report and the summary show every ranker, why one was chosen, and what the lists were chosen from."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mtl_tasks.report import RunDocument, render_report
from mtl_tasks.report.terminal import print_summary
from mtl_tasks.store.documents.evaluation import SliceCalibration
from mtl_tasks.store.documents.lists import (
    ImpressionsDocument,
    ListsDocument,
    ListSlice,
    Measures,
    RankingEvaluation,
    RecallReport,
    SliceRecall,
    SourceShare,
)
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.rank import RankDocument, RankerEvidence, TrainingDay
from tests.report.sample import sample_document
from tests.report.test_report import words

NDCG = {"popularity": 0.1051, "als": 0.0465, "softmax": 0.1133, "stacked": 0.1131}


def measured(value: float) -> Measurement:
    return Measurement(value=value, low=value - 0.004, high=value + 0.004, rows=500)


def comparison() -> ListsDocument:
    rankers = {
        name: Measures(
            metrics={"ndcg": measured(value), "recall": measured(2 * value), "coverage": measured(0.2)},
            versus={} if name == "popularity" else {"popularity": {"ndcg": measured(value - NDCG["popularity"])}},
        )
        for name, value in NDCG.items()
    }
    return ListsDocument(
        k=10,
        starts=(15_800,),
        items=300,
        confidence=0.95,
        replicates=200,
        unreachable=0.1,
        everyone=ListSlice(lists=500, users=500, rankers=rankers),
        slices={},
    )


def impressions() -> ImpressionsDocument:
    gauc = {"popularity": 0.60, "fusion": 0.63}
    models = {name: Measures(metrics={"gauc": measured(value)}) for name, value in gauc.items()}
    return ImpressionsDocument(k=10, rows=900, groups=120, users=77, left_out=4, chance={"gauc": 0.5}, models=models)


def recall() -> RecallReport:
    share = SourceShare(recall=0.372, unique=0.062, candidates_per_user=100.0)
    part = SliceRecall(users=500, pairs=1_400, recall=0.47, candidates_per_user=246.0, sources={"new_items": share})
    return RecallReport(cold_user=5, new_days=7, unreachable=3, slices={"all": part})


def rank(*, degraded: bool = False) -> RankDocument:
    return RankDocument(
        chosen="softmax",
        requested="auto",
        note="softmax had the best NDCG at 10, 0.1869, on lists of 1,500 users as of 2013-07-29",
        degraded=degraded,
        k=10,
        target=("purchase",),
        gains={"purchase": 1.0},
        horizon_days=7,
        blend=TrainingDay(day="2013-07-29", users=1_500, lists=1_024),
        early=(TrainingDay(day="2013-07-22", users=1_500, lists=968),),
        evidence={
            "softmax": RankerEvidence(ndcg=0.1869, difference=0.0, standard_error=0.0),
            "als": RankerEvidence(ndcg=0.0408, difference=-0.1461, standard_error=0.0077),
        },
        left_out={"lambdarank": "968 lists of 1 days before the blend window have a relevant candidate"},
        rankers={"softmax": {"weights": {"als": -0.5}, "lists": 40}, "als": {}},
    )


@pytest.fixture(scope="module")
def document() -> RunDocument:
    whole = sample_document()
    ranking = RankingEvaluation(
        k=10,
        users=500,
        eligible_users=500,
        unreachable=0.1,
        candidate_recall=0.47,
        candidates_per_user=246.0,
        chosen="softmax",
        left_out=31,
        comparison=comparison(),
        impressions={"purchase": impressions()},
        sources=recall(),
    )
    cold = SliceCalibration(rows=42, expected=0.21, observed=0.25, gap=0.04, gap_se=0.013)
    slices = {"purchase": {"cold_users": cold}}
    evaluation = whole.evaluation.model_copy(update={"ranking": ranking, "slice_calibration": slices})
    return replace(whole, evaluation=evaluation, rank=rank())


@pytest.fixture(scope="module")
def text(document: RunDocument) -> str:
    """The words of the page."""
    return words(render_report(document))


def test_the_page_has_a_row_a_ranker_best_first_with_the_paired_difference(text: str) -> None:
    titles = ["softmax of a few scores", "softmax with LambdaMART", "popular, last 7 days", "ALS"]
    start = text.index("The line under NDCG is the paired difference")
    table = text[text.index("Ordered by softmax of a few scores") : start]
    places = [table.rindex(title) for title in titles]
    assert places == sorted(places)
    assert "▲ +0.0082" in table  # softmax less popularity
    assert "▼ −0.0586" in table  # ALS less popularity
    assert "31 pairs that users had taken before are not part of the truth" in text


def test_the_page_says_why_a_ranker_was_chosen_and_what_was_left_out(text: str) -> None:
    assert "Relevant is what was positive in purchase." in text
    assert "on 1,500 users' lists as of 2013-07-29" in text
    assert "−0.1461" in text
    assert "LambdaMART not fitted: 968 lists of 1 days before the blend window" in text


def test_the_page_shows_impressions_candidate_sources_and_calibration_of_slices(text: str) -> None:
    assert "Among what was shown: purchase" in text
    assert "120 days of 77 users with both labels" in text
    assert "new items 0.372 0.062 100.0" in text
    assert "all together 0.470 246.0" in text
    assert "cold users 0.210 0.250 +0.040 0.013 42" in text


def summary(document: RunDocument) -> str:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    print_summary(document, console, verbose=True)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_the_summary_names_the_ranker_and_why(document: RunDocument) -> None:
    text = summary(document)
    assert (
        "Recommendations ordered by softmax (softmax of a few scores): softmax had the best NDCG at 10, 0.1869" in text
    )
    assert "softmax with LambdaMART 0.113 ±0.004" in text
    assert "fitted to lists of earlier days (weights in standard deviations): −0.50 × ALS score." in text


def test_a_degraded_choice_is_marked_on_the_page(document: RunDocument, text: str) -> None:
    assert "degraded" not in text
    assert "✗ degraded" in words(render_report(replace(document, rank=rank(degraded=True))))
