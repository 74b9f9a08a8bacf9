"""The document's JSON form is what `--json` promises."""

from __future__ import annotations

import json

from tests.report.sample import sample_document


def test_json_has_exactly_the_promised_keys() -> None:
    document = sample_document().to_json()
    assert list(document) == [
        "scenario",
        "as_of",
        "run_key",
        "verdict",
        "standing",
        "rulings",
        "drift",
        "tasks",
        "ranking",
        "stages",
        "report",
        "made_at",
        "origin",
    ]
    assert set(document["verdict"]) == {"decision", "reasons"}
    for task in document["tasks"].values():
        assert set(task) == {"members", "fusion"}
        assert set(task["fusion"]) == {"method", "weights", "metrics"}
    for stage in document["stages"]:
        assert set(stage) == {"name", "seconds", "cpu_seconds", "peak_rss_mb", "reused", "key"}


def test_metrics_are_plain_values() -> None:
    tasks = sample_document().to_json()["tasks"]
    assert tasks["rating"]["members"]["popularity"]["rmse"] == 1.647
    assert tasks["rating"]["fusion"]["metrics"]["rmse"] == 1.579
    ranking = sample_document().to_json()["ranking"]
    assert ranking["lists"]["popularity"]["ndcg"] == 0.106
    assert ranking["candidate_recall"] == 0.42


def test_json_form_survives_a_round_trip() -> None:
    document = sample_document().to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_candidate_that_was_taken_is_one_of_those_with_a_loss() -> None:
    document = sample_document()
    assert [fusion.candidate for fusion in document.fusion.values()] == ["weighted", "single:independent"]
    assert all(fusion.candidate in fusion.blend_loss for fusion in document.fusion.values())


def test_a_single_member_weighs_one() -> None:
    assert sample_document().weights("purchase") == {"popularity": 0.0, "als": 0.0, "independent": 1.0}
