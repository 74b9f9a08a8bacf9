"""A champion whose distributions cannot be read is no reference for drift, and the report says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.evaluation.drift import RECORD
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.judge import _drift
from mtl_tasks.store.artifacts import Payload, Store
from mtl_tasks.store.registry import RunRecord
from tests.support.logs import tiny_scenario

KEY = "ab" * 32
SKETCHES = {"labels": {}, "predictions": {}, "features": {}, "since_train": {"shifts": [], "unmatched": []}}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "it was made before distributions were recorded"),
        ({**SKETCHES, "schema_version": 2}, "distributions.json: written with schema version 2, and this code reads 1"),
        ({"labels": {}}, "distributions.json: not a document of the expected form (predictions: Field required"),
    ],
)
def test_a_champion_without_readable_distributions_is_incomparable(
    document: dict[str, Any] | None, problem: str, tmp_path: Path
) -> None:
    store, payload, scenario = Store(str(tmp_path)), Payload(), tiny_scenario()
    if document is not None:
        payload.add_json(RECORD, document)
    made = store.publish(store.folder(scenario.name, "2013-05-06", "evaluate", KEY), KEY, payload, {})
    refs = {"evaluate": made.ref}
    champion = RunRecord(KEY, "2013-05-06", "promote", [], scenario.model_dump(mode="json"), refs, "c0de")
    report = _drift(Run(scenario, AsOf.parse("2013-05-08"), store), Inputs({}), champion)
    assert report.problem is not None
    assert problem in report.problem
    assert (report.run_key, report.as_of, report.shifts) == (KEY, "2013-05-06", ())
