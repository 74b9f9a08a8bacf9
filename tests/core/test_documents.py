"""Stored documents: other versions and other forms are refused in one line, older ones are read."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from mtl_tasks.core.documents import Document, PartialDocument, StoredDocument, validate
from mtl_tasks.core.errors import ArtifactError


class Point(Document):
    x: float
    note: str | None = None


class Part(PartialDocument):
    kind: str


class Stored(StoredDocument):
    points: tuple[Point, ...]


def test_a_document_survives_storing() -> None:
    document = Stored(points=(Point(x=1.5), Point(x=2.0, note="last")))
    stored = json.loads(json.dumps(document.to_stored()))
    assert stored == {"schema_version": 1, "points": [{"x": 1.5}, {"note": "last", "x": 2.0}]}
    assert Stored.parse(stored, "run.json") == document


def test_a_document_from_before_there_were_versions_is_read_as_version_1() -> None:
    assert Stored.parse({"points": []}, "run.json") == Stored(points=())


@pytest.mark.parametrize("version", [0, 2, True, "1", None])
def test_a_document_of_another_version_is_refused(version: object) -> None:
    expected = rf"^run\.json: written with schema version {version!r}, and this code reads 1: use the code"
    with pytest.raises(ArtifactError, match=expected):
        Stored.parse({"schema_version": version, "points": []}, "run.json")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "document"),
        ({}, "points"),
        ({"points": [{"x": "SECRET"}]}, r"points\.0\.x"),
        ({"points": [{"x": float("nan")}]}, r"points\.0\.x"),
        ({"points": [], "pionts": []}, "pionts"),
    ],
)
def test_a_document_of_another_form_is_refused_in_a_line_that_names_the_field_and_no_value(
    document: object, field: str
) -> None:
    with pytest.raises(ArtifactError, match=rf"^run\.json: not a document of the expected form \({field}: ") as caught:
        Stored.parse(document, "run.json")
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_of_several_faults_the_others_are_counted() -> None:
    with pytest.raises(ArtifactError, match=r"\(a\.x: .* and 1 more\)"):
        validate(dict[str, Point], {"a": {}, "b": {}}, "points.json")


def test_what_is_not_read_of_a_document_of_others_is_kept() -> None:
    part = validate(Part, {"kind": "platt", "slope": 1.25}, "fusion.json")
    assert part.to_json() == {"kind": "platt", "slope": 1.25}


def test_a_document_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Point(x=1.0).x = 2.0  # type: ignore[misc]
