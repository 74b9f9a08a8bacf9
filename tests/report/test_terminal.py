"""The terminal's tables fit, name everything, and stay plain when nobody is watching."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mtl_tasks.cli.progress import StageProgress
from mtl_tasks.evaluation.drift import incomparable
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.report.document import RunDocument
from mtl_tasks.report.overview import overview
from mtl_tasks.report.terminal import print_summary
from mtl_tasks.report.terminal_explanation import print_explanation
from mtl_tasks.store.artifacts import Ref
from mtl_tasks.store.documents.drift import Drift, DriftReport, Shifts
from mtl_tasks.store.documents.explanation import RunExplanation
from tests.report.sample import FILMS, sample_document, wide_document


def shown(document: RunDocument, *, width: int = 100, verbose: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_summary(document, console, verbose=verbose)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def printed(decision: str = "promote", width: int = 100, *, verbose: bool = False) -> str:
    return shown(sample_document(decision), width=width, verbose=verbose)


@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_summary_is_one_screen_of_a_hundred_columns(decision: str) -> None:
    lines = printed(decision).splitlines()
    assert len(lines) <= 36
    assert max(len(line) for line in lines) <= 100


def test_the_summary_of_many_tasks_is_one_screen_too() -> None:
    lines = shown(wide_document(("watch_ratio", "click", "long_view", "like", "comment", "follow", "forward")))
    assert len(lines.splitlines()) <= 36
    assert "The first metric of each task." in " ".join(lines.split())


def test_all_tables_fit_a_hundred_columns() -> None:
    assert max(len(line) for line in printed(verbose=True).splitlines()) <= 100


@pytest.mark.parametrize("count", [2, 7])
def test_six_members_and_many_tasks_fit_too(count: int) -> None:
    tasks = ("watch_ratio", "click", "long_view", "like", "comment", "follow", "forward")[:count]
    text = shown(wide_document(tasks), verbose=True)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text  # nothing was cut off
    assert "0.50 shared_tail, 0.10 popularity, 0.10 als" in text
    for task in tasks:
        assert f"{task} (" in text
        assert any(line.startswith(f"{task} ") and "weighted" in line for line in text.splitlines())
    assert all(any(f"   {title}  " in line for line in text.splitlines()) for title in FILMS[:5])


def test_the_formula_that_orders_the_lists_is_named_where_the_file_leaves_it_out() -> None:
    document = sample_document("promote")
    recommend = document.scenario.recommend.model_copy(update={"utility": None})
    plain = replace(document, scenario=document.scenario.model_copy(update={"recommend": recommend}), rank=None)
    text = shown(plain, verbose=True)
    assert "Ordered by utility = purchase; purchase stands for the odds of its prediction ×" in text


def test_a_run_without_lists_says_why_instead_of_an_empty_table() -> None:
    document = replace(sample_document("reject"), sample=(), standing="rejected")
    for text in (shown(document), shown(document, verbose=True)):
        assert "Recommendations: none, only promoted runs make recommendations, and this one is: rejected." in text
        assert "user " not in text.partition("Recommendations")[2]


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_the_rules_are_printed_once(decision: str, verbose: bool) -> None:
    document = sample_document(decision)
    text = shown(document, width=400, verbose=verbose)
    assert text.lower().count("rules") == 1
    for row in (*overview(document).failed, *overview(document).passed):
        assert text.count(row.sentence) == 1


def test_summary_has_no_escape_codes_without_a_terminal() -> None:
    assert "\x1b" not in printed()


@pytest.mark.parametrize(
    "expected",
    [
        "Films tweeted about in 2013",
        "made 2013-08-25 03:06 UTC",
        "PROMOTED  (3 of 3 rules passed)",
        "rating     RMSE ↓                1.5790 ±0.0158              +0.0680*     1.5890       +0.0100*",
        "lists      NDCG ↑                0.1180 ±0.0118              +0.0120*     0.1150        +0.0030",
        "Recommendations ordered by softmax (softmax of a few scores): softmax had the best NDCG at 10",
        "Drift since the champion of 2013-08-18: at most PSI 0.310, large (user_x_item.rating.factors).",
        "Changed since the champion of 2013-08-18: 1 setting, 1 library, code, data.",
        "Cost: 2 min 22 s in all stages, 3 min 28 s of CPU, at most 1.2 GiB.",
        "Longest: member:independent 1 min 14 s, recommend 21.7 s, features 18.3 s.",
        "Report: .store/movies/2013-08-25/report/5d1c5d1c/report.html\n--verbose prints all tables.",
    ],
)
def test_summary_tells(expected: str) -> None:
    assert expected in printed()


@pytest.mark.parametrize(
    "expected",
    [
        "Started by ada, command line; commit ab12ab12ab12 with local changes.",
        "1.5790 (+0.0680)*",
        "1.7020 (−0.0550)*",
        "weighted   0.93 independent, 0.07 popularity       1.5800   none",
        "popular, last 7 days      0.106 ±0.011",
        "18.1 % of the items they took",
        "features      user_x_item.rating.factors   0.310       0.001",
        "member:independent",
        "reused",
        "1,191",
        FILMS[0],
        "Report: .store/movies/2013-08-25/report/5d1c5d1c/report.html",
    ],
)
def test_all_tables_tell(expected: str) -> None:
    assert expected in printed(verbose=True)


@pytest.mark.parametrize(
    ("champion", "expected"),
    [
        (None, "Drift: no champion"),
        (incomparable("it is gone", run_key="77aa" * 16, as_of="2013-08-18"), "of 2013-08-18 cannot be comp"),
    ],
)
def test_drift_without_anything_to_compare_with_says_why(champion: DriftReport | None, expected: str) -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    document = sample_document()
    drift = Drift(champion=champion, since_train=Shifts(shifts=(), unmatched=()))
    print_summary(replace(document, drift=drift), console)
    print_summary(replace(document, drift=None), console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count(expected) == console.file.getvalue().count("Drift") == 1


def test_five_films_for_each_of_three_people() -> None:
    lines = printed(verbose=True).splitlines()
    listed = [
        line
        for line in lines
        if any(f"   {title}  " in line for title in FILMS) and line.rstrip().endswith(tuple("27"))
    ]
    assert len(listed) == 15


def test_rejection_shows_the_failed_rule_first() -> None:
    text = printed("reject")
    assert "REJECTED" in text
    assert text.index("✗ purchase AUC is 0.6912, below 0.70") < text.index("✓ rating RMSE")


@pytest.mark.parametrize(
    ("standing", "color"), [("promoted", "32"), ("awaits approval", "33"), ("rejected", "31"), ("retired", "31")]
)
def test_a_run_that_awaits_approval_is_neither_passed_nor_failed(standing: str, color: str) -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False, force_terminal=True, color_system="standard")
    print_summary(replace(sample_document(), standing=standing), console)
    assert isinstance(console.file, io.StringIO)
    assert f"\x1b[1;{color}m{standing.upper()}\x1b[0m" in console.file.getvalue()


def test_of_many_rules_only_the_failed_ones_are_in_the_summary() -> None:
    document = sample_document("reject")
    [failed, passed, *_] = document.verdict.rules
    many = document.verdict.model_copy(update={"rules": (failed, *[passed] * 9)})
    text = shown(replace(document, verdict=many))
    assert "REJECTED  (9 of 10 rules passed)" in text
    assert (text.count("✗ purchase AUC"), text.count("✓ rating RMSE")) == (1, 0)
    assert shown(replace(document, verdict=many), verbose=True).count("✓ rating RMSE") == 9


def test_narrow_terminals_lose_nothing_of_the_verdict() -> None:
    reason = "purchase AUC is 0.6912, below 0.70, on 71,760 rows of test."
    assert reason in " ".join(printed("reject", width=60).split())


def result(reused: bool) -> StageResult:
    return StageResult("features", Ref("store", "key", "sha256", 3), reused, 12.34, 11.0, 812.4, {})


@pytest.mark.parametrize(("reused", "expected"), [(False, "12.3 s"), (True, "reused")])
def test_progress_is_a_plain_line_a_stage_without_a_terminal(reused: bool, expected: str) -> None:
    console = Console(file=io.StringIO(), width=100)
    with StageProgress(console).shown() as progress:
        progress("features", None)
        progress("features", result(reused))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1
    assert "features" in lines[0]
    assert expected in lines[0]


def test_progress_says_how_much_is_done_and_how_long_the_rest_took_in_past_runs() -> None:
    console = Console(file=io.StringIO(), width=100)
    with StageProgress(console).shown() as progress:
        progress.expect({"features": 30.0, "fuse": 90.0})
        progress("features", result(reused=False))
        progress("fuse", replace(result(reused=False), stage="fuse"))
    assert isinstance(console.file, io.StringIO)
    first, last = console.file.getvalue().splitlines()
    assert first.endswith("25 % done, about 2 min left")
    assert len(first) <= 80
    assert "left" not in last


def test_a_stage_that_a_rejected_run_skips_is_not_left() -> None:
    console = Console(file=io.StringIO(), width=100)
    progress = StageProgress(console)
    progress.expect({"publish": 1.0, "recommend": 30.0, "report": 19.0})
    for stage in ("publish", "report"):
        progress(stage, None)
        progress(stage, replace(result(reused=False), stage=stage))
    assert isinstance(console.file, io.StringIO)
    published, reported = console.file.getvalue().splitlines()
    assert published.endswith("2 % done, about 50 s left")
    assert "left" not in reported


def test_progress_in_a_pipe_is_one_line_a_stage() -> None:
    console = Console(file=io.StringIO(), width=40)  # a pipe has no width of its own
    progress = StageProgress(console)
    progress.expect({"features": 30.0, "fuse": 90.0})
    progress("features", result(reused=False))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("\n") == 1


def test_progress_on_a_terminal_names_the_stage_at_work() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with StageProgress(console).shown() as progress:
        progress("factors", None)
    assert isinstance(console.file, io.StringIO)
    assert "factors" in console.file.getvalue()


def test_a_negative_value_of_a_feature_has_a_minus_sign() -> None:
    explained = {
        "member": "independent",
        "unit": "log-odds",
        "score": -0.1,
        "base": 0.0,
        "contributions": [
            {"feature": "x", "words": "difference of experience: -0.81", "value": -0.81, "contribution": -0.1}
        ],
        "others": {"features": 0, "contribution": 0.0},
    }
    task = {"kind": "binary", "prediction": 0.5, "method": "single", "calibration": "none", "members": []}
    explanation = RunExplanation.model_validate(
        {
            "scenario": "movies",
            "as_of": "2013-08-25",
            "run_key": "5d1c" * 16,
            "user_id": 1,
            "item_id": 2,
            "title": None,
            "new_user": False,
            "tasks": {"purchase": {**task, "explained": explained}},
        }
    )
    console = Console(file=io.StringIO(), width=100, highlight=False)
    print_explanation(explanation, console)
    assert isinstance(console.file, io.StringIO)
    assert "   −0.10  difference of experience: −0.81\n" in console.file.getvalue()
