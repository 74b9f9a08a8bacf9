"""The report is one offline page that says everything, the same bytes for the same run."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from mtl_tasks.evaluation.drift import incomparable
from mtl_tasks.report import RunDocument, overview, render_report
from mtl_tasks.store.documents.drift import Drift, Shifts
from tests.report.sample import FILMS, metric, sample_document, wide_document

VOID = {"meta", "link", "br", "img", "input", "hr"}


@cache
def sample_page(decision: str = "promote") -> str:
    return render_report(sample_document(decision))


@pytest.fixture(scope="module")
def page() -> str:
    return sample_page()


class _Tags(HTMLParser):
    """Checks that tags nest, and gathers them with their attributes and the text of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


@cache
def words(page: str) -> str:
    return " ".join(" ".join(parsed(page).text).split())


def test_tags_nest(page: str) -> None:
    assert parsed(page).seen


def test_same_run_gives_same_bytes(page: str) -> None:
    assert render_report(sample_document()) == page


def test_page_loads_nothing_and_its_only_script_asks_nobody(page: str) -> None:
    tags = parsed(page).seen
    assert not {tag for tag, _ in tags} & {"img", "iframe", "object", "embed"}
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
    script = page.partition("<script>")[2]
    assert not re.search(r"fetch|XMLHttpRequest|import\b|WebSocket|https?:", script)
    references = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(value is not None and value.startswith(("#", "data:")) for value in references)
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page


def test_links_lead_to_sections(page: str) -> None:
    tags = parsed(page).seen
    targets = {attributes["id"] for _, attributes in tags if attributes.get("id")}
    links = {str(a["href"])[1:] for tag, a in tags if tag == "a"}
    assert len(links) == 14
    assert links <= targets


def test_page_is_light(page: str) -> None:
    assert len(page.encode()) < 400_000


@pytest.mark.parametrize(("decision", "word"), [("promote", "Promoted"), ("reject", "Rejected")])
def test_verdict_is_said_in_words_with_a_reason_for_each_rule(decision: str, word: str) -> None:
    document = sample_document(decision)
    text = words(sample_page(decision))
    assert word in text
    sentences = [overview.RuleRow(rule, None).sentence for rule in document.verdict.rules]
    assert [text.count(sentence) for sentence in sentences] == [1] * len(sentences)


def test_failed_rules_come_first() -> None:
    text = words(sample_page("reject"))
    assert text.index("✗ fail") < text.index("✓ pass")


def test_dry_run_is_said() -> None:
    document = sample_document("reject")
    text = words(render_report(replace(document, verdict=document.verdict.model_copy(update={"mode": "dry_run"}))))
    assert "Dry run" in text


@pytest.mark.parametrize(
    "expected",
    [
        "1.5790 [1.5632, 1.5948]",  # the fusion's RMSE
        "▲ +0.0680",  # its gain over the floor
        "▼ −0.0550",  # ALS is worse than the floor
        "popular, last 7 days",
        "18.1 %",
        "cold users",
        "independent alone 0.4630 taken",
        "calibration isotonic",
        "user × item: rating factors",
        "out of range: rating",
        "28 days: read by the gate and this report only",
        "member:independent",
        FILMS[8],
        "include/bin/mtl run movies --as-of 2013-08-25 --set boosting.rounds=800",
        "lightgbm 4.7.0",
    ],
)
def test_page_tells(page: str, expected: str) -> None:
    assert expected in words(page)


@pytest.fixture(scope="module")
def wide() -> str:
    """A page of six members and seven tasks."""
    return render_report(wide_document(("watch_ratio", "click", "long_view", "like", "comment", "follow", "forward")))


def test_six_members_are_folded_but_for_the_one_with_the_most_say(wide: str) -> None:
    folded = [attributes for tag, attributes in parsed(wide).seen if attributes.get("class") == "card member"]
    assert ["open" in attributes for attributes in folded] == [False, False, False, True]
    assert "shared_tail the largest weight in the fusions" in words(wide)


def test_a_page_of_many_models_stays_within_bounds(wide: str) -> None:
    assert len(wide.encode()) < 1_500_000


def test_conflict_and_moving_weights_are_drawn_for_members_that_share(wide: str, page: str) -> None:
    for label in ("agreement of the tasks&#39; gradients", "task weights"):
        assert [f'aria-label="{member}: {label}"' in wide for member in ("cascade", "shared", "shared_tail")] == [
            False,
            True,
            True,
        ]
        assert label not in page


def test_weights_that_do_not_move_are_not_drawn() -> None:
    document = wide_document(("rating", "purchase"))
    fixed = document.scenario.model_copy(update={"boosting": sample_document().scenario.boosting})
    page = render_report(replace(document, scenario=fixed))
    assert "shared: agreement" in page
    assert "shared: task weights" not in page


def test_what_moves_predictions_is_drawn_with_its_rows(page: str) -> None:
    text = words(page)
    assert "mean absolute SHAP value (label points)" in text
    assert "mean absolute SHAP value (log-odds)" in text
    assert "SHAP values on 1,873 test rows." in text
    assert "own trees" in text
    assert text.count("in the trees that all tasks share and in its own") == 1  # the purchase has trees of one kind


def test_best_value_of_a_column_is_bold(page: str) -> None:
    assert '<span class="value best">1.5790</span>' in page
    assert '<span class="value">1.6470</span>' in page


def test_text_from_the_data_is_escaped() -> None:
    document = sample_document()
    first = document.sample[0]
    row = first.recommendations[0].model_copy(update={"title": "<script>alert(1)</script>"})
    page = render_report(replace(document, sample=(first.model_copy(update={"recommendations": (row,)}),)))
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_values_that_could_not_be_computed_are_shown_as_missing() -> None:
    document = sample_document()
    purchase = document.evaluation.tasks["purchase"]
    missing = {name: metric(None) for name in purchase.fusion}
    versus_floor = {**purchase.versus_floor, "fusion": missing}
    changed = purchase.model_copy(update={"fusion": missing, "versus_floor": versus_floor})
    tasks = {**document.evaluation.tasks, "purchase": changed}
    evaluation = document.evaluation.model_copy(update={"tasks": tasks})
    text = words(render_report(replace(document, evaluation=evaluation)))
    assert "nan" not in text.lower().split()
    assert "not computed" in text


def minimal(document: RunDocument) -> RunDocument:
    """Only the floor was trained, nothing was quarantined, nobody gets a list."""
    rating = document.evaluation.tasks["rating"]
    floor = {"members": {"popularity": rating.members["popularity"]}, "versus_floor": {"popularity": {}}}
    tasks = {"rating": rating.model_copy(update=floor)}
    evaluation = document.evaluation.model_copy(update={"tasks": tasks, "slices": {}, "calibration": {}})
    fusion = document.fusion["rating"].model_copy(update={"method": "mean", "weights": {}})
    return replace(
        document,
        evaluation=evaluation,
        describe={"popularity": document.describe["popularity"]},
        fusion={"rating": fusion},
        validation=document.validation.model_copy(update={"quarantined": {}}),
        sample=(),
        libraries={},
        overrides={},
        curves=None,
    )


def test_smallest_run_has_a_page_too() -> None:
    text = words(render_report(minimal(sample_document())))
    assert "No row was set aside." in text
    assert "No binary task in this scenario." in text


def test_page_follows_the_color_scheme(page: str) -> None:
    assert "color-scheme: light dark;" in page
    assert re.search(r"--ink: light-dark\(#\w+, #\w+\);", page)
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in drawn
    assert not re.search(r"(fill|stroke): #", drawn)


def test_the_largest_shifts_stand_before_the_others_and_each_is_read_in_words(page: str) -> None:
    told = words(page)
    assert "Against the test rows of the champion of 2013-08-18" in told
    assert "user × item: rating factors features 0.310 large 0.001 20,000 19,500" in told
    assert "rating predictions 0.131 some" in told
    assert "12 more features shifted by 0.028 or less." in told
    assert "Only one side has item.runtime." in told


def test_a_run_without_distributions_says_so() -> None:
    told = words(render_report(replace(sample_document(), drift=None)))
    assert "This run was made before distributions were recorded." in told


def test_a_champion_that_cannot_be_compared_with_says_why() -> None:
    champion = incomparable("no artifact here", run_key="77aa" * 16, as_of="2013-08-18")
    drift = Drift(champion=champion, since_train=Shifts(shifts=(), unmatched=()))
    assert "Nothing could be compared: no artifact here." in words(
        render_report(replace(sample_document(), drift=drift))
    )
    first = drift.model_copy(update={"champion": None})
    assert "there is no champion to compare with" in words(render_report(replace(sample_document(), drift=first)))
