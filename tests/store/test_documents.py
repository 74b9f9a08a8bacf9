"""Documents of a run, read from its artifacts by those who judge and show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.artifacts import Artifact, Payload, Store
from mtl_tasks.store.documents import read_document, read_part
from mtl_tasks.store.documents.data import SampleUsers
from mtl_tasks.store.documents.drift import Distributions
from mtl_tasks.store.documents.lists import RankingEvaluation
from mtl_tasks.store.documents.training import TaskFusion
from mtl_tasks.store.documents.verdict import RuleResult, Verdict

SHIFTS = {"shifts": [], "unmatched": []}
SKETCHES = {"labels": {}, "predictions": {}, "features": {}, "since_train": SHIFTS}


def artifact_with(root: Path, name: str, document: Any) -> Artifact:
    store, payload, key = Store(str(root)), Payload(), "ab" * 32
    payload.add_json(name, document)
    return store.publish(store.folder("small", "2013-05-08", "gate", key), key, payload, {})


def rule(*, passed: bool) -> RuleResult:
    return RuleResult(
        rule="auc >= 0.6",
        kind="absolute",
        passed=passed,
        value=0.7,
        limit=0.6,
        low=0.6,
        high=0.8,
        rows=100,
        reason=f"auc >= 0.6: {'holds' if passed else 'fails'}",
    )


def verdict(*rules: RuleResult, warnings: tuple[str, ...] = ()) -> Verdict:
    return Verdict(
        decision="promote" if all(rule.passed for rule in rules) else "reject",
        first=True,
        mode="enforce",
        champion=None,
        warnings=warnings,
        rules=rules,
        reasons=tuple(rule.reason for rule in rules),
    )


def test_a_verdict_survives_storing_and_says_its_line(tmp_path: Path) -> None:
    made = verdict(rule(passed=True), rule(passed=False), warnings=("warning: one was passed over",))
    found = read_document(artifact_with(tmp_path, "verdict", made.to_stored()), "verdict", Verdict)
    assert found == made
    assert found.passed == 1
    assert found.line == "reject: 1 of 2 rules passed; auc >= 0.6: fails; warning: one was passed over"


def test_a_verdict_of_before_there_were_warnings_and_versions_is_read(tmp_path: Path) -> None:
    document = verdict(rule(passed=True)).to_json()
    del document["warnings"]
    assert read_document(artifact_with(tmp_path, "verdict", document), "verdict", Verdict).warnings == ()


def test_a_document_of_a_later_version_is_refused_by_its_path(tmp_path: Path) -> None:
    artifact = artifact_with(tmp_path, "verdict", {**verdict(rule(passed=True)).to_stored(), "schema_version": 2})
    with pytest.raises(ArtifactError, match=r"/gate/\w+/verdict\.json: written with schema version 2, and this code"):
        read_document(artifact, "verdict", Verdict)


def test_distributions_of_before_their_version_was_called_so_are_read() -> None:
    assert Distributions.parse({**SKETCHES, "format": 1}, "distributions.json").groups["labels"] == {}
    with pytest.raises(ArtifactError, match="format"):
        Distributions.parse({**SKETCHES, "format": 2}, "distributions.json")


def test_keys_from_before_they_were_renamed_are_read_and_written_with_their_new_names() -> None:
    old = {"a": {"rows": 3, "missing": 1, "kinds": {"red": 2}}}
    read = Distributions.parse({**SKETCHES, "labels": old}, "distributions.json")
    assert read.to_json()["labels"] == {"a": {"rows": 3, "missing": 1, "counts": {"red": 2}}}
    assert Distributions.parse(read.to_stored(), "distributions.json") == read
    shares = {"unreachable": 0.1, "candidate_recall": 0.5, "candidates_per_user": 9.0}
    ranking = RankingEvaluation.model_validate({"k": 5, "users": 8, "people": 9, **shares})
    assert ranking.to_json() == {"k": 5, "users": 8, "eligible_users": 9, **shares}
    assert RankingEvaluation.model_validate(ranking.to_json()) == ranking


def test_the_figures_of_a_recommendation_are_all_but_its_title(tmp_path: Path) -> None:
    sample = [{"user_id": 7, "history": ["A"], "recommendations": [{"title": "B", "purchase": 0.4, "utility": 0.2}]}]
    [user] = read_part(artifact_with(tmp_path, "sample", sample), "sample", SampleUsers)
    assert user.recommendations[0].figures == {"purchase": 0.4, "utility": 0.2}
    assert [one.to_json() for one in (user,)] == sample


@pytest.mark.parametrize(
    ("method", "weights", "expected"),
    [("single", None, {"als": 1.0, "popularity": 0.0}), ("weighted", {"als": 0.25}, {"als": 0.25, "popularity": 0.0})],
)
def test_weights_of_members_are_zero_unless_they_are_given(
    method: str, weights: dict[str, float] | None, expected: dict[str, float]
) -> None:
    given = {"method": method, "member": "als", "weights": weights, "blend_loss": {}, "requested": "auto"}
    fusion = TaskFusion.model_validate({**given, "calibration": {"kind": "none"}})
    assert {name: fusion.weight_of(name) for name in expected} == expected
    assert fusion.candidate == ("single:als" if method == "single" else "weighted")
