"""The overview answers first; the sections below it say what their figures mean."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from mtl_tasks.report import RunDocument, data_tables, labels, render_report
from mtl_tasks.report.document import Change, models_in_order
from mtl_tasks.report.overview import SHOWN_CHANGES, SHOWN_METRICS, SHOWN_RULES, overview
from mtl_tasks.store.documents.drift import Drift, Shift, Shifts
from mtl_tasks.store.documents.origin import Origin
from tests.report.sample import CHAMPION, sample_document, wide_document
from tests.report.test_report import parsed, words


@pytest.fixture(scope="module")
def document() -> RunDocument:
    return sample_document("reject")


@pytest.fixture(scope="module")
def page(document: RunDocument) -> str:
    return render_report(document)


def plain(document: RunDocument, **changes: Any) -> str:
    """Return a page with few charts, which cost most of the time."""
    described = {"popularity": document.describe["popularity"]}
    return render_report(replace(document, **{"curves": None, "describe": described, "explain": {}, **changes}))


def section(page: str, name: str) -> str:
    return "".join(re.findall(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL))


def test_overview_has_champion_beside_candidate_with_the_paired_interval(page: str) -> None:
    text = words(section(page, "overview"))
    assert f"Compared with the champion {CHAMPION[:12]} of 2013-08-18" in text
    assert "purchase AUC ↑ 0.6912 0.6812 ▲ +0.010 [+0.004, +0.016]" in text
    assert "lists NDCG ↑ 0.1180 0.1150 ≈ +0.003 [−0.002, +0.008] ▲ +0.012" in text


def test_overview_says_when_how_long_and_at_what_cost(page: str) -> None:
    text = words(section(page, "overview"))
    assert "Made 2013-08-25 03:06 UTC" in text
    assert "Time of all stages 2 min 22 s" in text
    assert "CPU time 3 min 28 s" in text
    assert "Peak memory 1.2 GiB" in text
    assert "Code c0dec0dec0de" in text
    assert "Started by ada, command line" in text
    assert "Commit ab12ab12ab12 with local changes" in text


@pytest.mark.parametrize("decision", ["promote", "reject"])
def test_the_rules_are_printed_once(decision: str) -> None:
    document = sample_document(decision)
    seen = overview(document)
    rows = [row.sentence for row in (*seen.failed, *seen.passed, *seen.further)]
    text = words(section(plain(document), "overview"))
    assert text.count("Rules") == 1
    assert len(rows) == len(document.verdict.rules)
    assert [text.count(sentence) for sentence in rows] == [1] * len(rows)


def test_overview_of_a_run_of_before_origins_were_kept_has_no_place_for_one() -> None:
    text = words(section(plain(sample_document(), origin=None), "overview"))
    assert "Started by" not in text
    assert "Commit" not in text


def test_a_commit_without_local_changes_is_shown_without_that_remark() -> None:
    origin = Origin(start="scheduled", commit="ab12" * 10)
    text = words(section(plain(sample_document(), origin=origin), "overview"))
    assert "Started by schedule " in text
    assert "Commit ab12ab12ab12 Code" in text


def test_overview_says_what_changed_since_the_champion(page: str) -> None:
    text = words(section(page, "overview"))
    assert "setting boosting.rounds 400 800" in text
    assert "library lightgbm 4.6.0 4.7.0" in text
    assert "data rows kept 95,100 96,500" in text


def test_further_changes_are_folded(document: RunDocument) -> None:
    assert document.champion is not None
    many = tuple(Change("setting", f"key_{number}", 1, 2) for number in range(SHOWN_CHANGES + 2))
    seen = overview(replace(document, champion=replace(document.champion, changes=many)))
    assert (len(seen.changes), len(seen.further_changes)) == (SHOWN_CHANGES, 2)


def test_failed_rules_are_all_shown_and_passed_ones_as_far_as_there_is_room(document: RunDocument) -> None:
    [failed, passed, *_] = document.verdict.rules
    rules = (*[passed] * 9, *[failed] * 3)
    seen = overview(replace(document, verdict=document.verdict.model_copy(update={"rules": rules})))
    assert (len(seen.failed), len(seen.passed), len(seen.further)) == (3, SHOWN_RULES - 3, 12 - SHOWN_RULES)


def test_of_many_tasks_the_overview_has_the_primary_metrics() -> None:
    seen = overview(wide_document(("watch_ratio", "click", "long_view", "like")))
    assert seen.shortened
    assert len(seen.metrics) <= SHOWN_METRICS
    assert [(row.group, row.shown.name) for row in seen.metrics][1] == ("click", "auc")


def test_a_run_without_the_champions_metrics_says_so(document: RunDocument) -> None:
    text = words(plain(document, versus_champion=None))
    assert "This run was made before the champion's metrics were kept." in text
    assert "Gain over it" not in text


def test_the_floor_is_first_and_the_fusion_last_and_marked(document: RunDocument, page: str) -> None:
    assert list(document.models("purchase")) == ["popularity", "als", "independent", "fusion"]
    assert list(models_in_order({"fusion": 0, "zeta": 0, "als": 0})) == ["als", "zeta", "fusion"]
    assert "popularity floor" in words(section(page, "metrics"))
    assert "fusion deployed, single" in words(section(page, "metrics"))


def test_slices_have_the_fusion_first_and_whom_the_champion_served_better(page: str) -> None:
    table = section(page, "slices").partition('aria-label="Slices of purchase by AUC"')[2].partition("</table>")[0]
    heads = [re.sub("<[^>]*>", " ", head).split() for head in re.findall(r"<th scope=\"col\".*?</th>", table)]
    assert [head[0] for head in heads] == ["AUC", "fusion", "Gain", "popularity", "als", "independent", "Rows"]
    assert "▼ −0.0300" in table


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(page: str) -> None:
    tags = parsed(page).seen
    regions = [attributes for tag, attributes in tags if attributes.get("class") == "scroll"]
    assert len(regions) > 10
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    assert all(attributes.get("tabindex") == "0" for tag, attributes in tags if tag in ("figure", "pre"))
    assert page.count("<table") == len(regions)  # no table outside of one


def test_large_shifts_differ_on_their_scale() -> None:
    def shift(name: str, psi: float) -> Shift:
        return Shift(group="labels", name=name, psi=psi, noise=0.001, rows=10, reference_rows=10)

    compared = Shifts(shifts=(shift("a", 1.551), shift("b", 0.416), shift("c", 0.05)), unmatched=())
    [table] = data_tables.drift_tables(Drift(champion=None, since_train=compared))
    first, second, third = (row.share for row in table.rows)
    assert first == 1.0
    assert 0.8 < second < 0.9
    assert third < table.scale.marks[0] < table.scale.marks[1] < second


def test_the_scale_of_shifts_is_said(page: str) -> None:
    assert "logarithmic, 0.001 to 0.50; lines at 0.1 and 0.25" in words(section(page, "drift"))


def test_rounds_are_those_of_every_seed(page: str) -> None:
    assert "412, 397" in words(section(page, "members"))
    assert "seed(s)" not in page


def test_negative_numbers_have_minus_signs(document: RunDocument) -> None:
    rule = document.verdict.rules[0].model_copy(update={"reason": "a: fails, it is -0.02 [-0.03, 0.01] on 2013-08-25"})
    verdict = document.verdict.model_copy(update={"rules": (rule,)})
    assert "a: it is −0.02 [−0.03, 0.01] on 2013-08-25" in words(plain(document, verdict=verdict))


def test_the_order_of_recommendations_is_explained(document: RunDocument, page: str) -> None:
    text = words(section(page, "recommendations"))
    assert "Ordered by a weighted sum that was fitted to lists of earlier days" in text
    by_utility = words(section(plain(document, rank=None), "recommendations"))
    assert "Ordered by utility = purchase; purchase stands for the odds of its prediction ×" in by_utility


def test_a_run_without_recommendations_says_why_in_one_line(document: RunDocument) -> None:
    page = plain(document, sample=(), standing="rejected")
    own = section(page, "recommendations")
    assert "None: only promoted runs make recommendations, and this one is: rejected." in words(own)
    assert "<table" not in own


def test_curves_are_drawn_for_every_task(page: str) -> None:
    drawn = re.findall(r'aria-label="([^"]*)"', section(page, "curves"))
    assert drawn == [
        "rating: rmse by day",
        "rating: predicted and actual, residuals",
        "purchase: auc by day",
        "purchase: ROC, precision and recall, lift",
        "purchase: predictions by class",
    ]


def test_a_run_without_curves_says_so(document: RunDocument) -> None:
    page = plain(document)
    assert "This run was made before curves were kept" in words(page)
    assert "<svg" not in section(page, "curves")


def test_every_metric_of_a_heading_is_explained(page: str) -> None:
    explained = dict(re.findall(r'<abbr tabindex="0" title="([^"]+)">([^<]+)<', page))
    assert {"AUC ↑", "RMSE ↓", "NDCG ↑"} <= set(explained.values())
    assert all(labels.metric(name).explanation for name in ("auc", "pr_auc", "log_loss", "rmse", "mae", "coverage"))


def test_long_sections_are_folded_with_what_they_say_in_brief(page: str) -> None:
    folded = re.findall(r'<section id="(\w+)">\s*<details class="section">', page)
    assert {"slices", "curves", "members", "drift", "stages", "reproduce"} <= set(folded)
    assert not {"overview", "metrics", "lists"} & set(folded)
    assert "largest shift: user × item: rating factors (features), PSI 0.310, large" in words(page)


def test_no_table_is_empty(document: RunDocument) -> None:
    page = plain(document, sample=(), champion=None, versus_champion=None, drift=None)
    assert not re.search(r"<tbody>\s*</tbody>", page)
