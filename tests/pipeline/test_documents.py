"""The documents between the processes of a run keep their keys, and anything else is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import Run, Stage, StageResult
from mtl_tasks.pipeline.tasks import execute_stage
from mtl_tasks.store.artifacts import Payload, Ref, Store
from tests.support.logs import AS_OF_DAY, tiny_scenario, write_log

REF = {"uri": "small/2013-05-11/split/0a", "key": "0a", "sha256": "f" * 64, "rows": 3}
# As tasks of earlier versions returned it.
RESULT = {"stage": "split", "ref": REF, "reused": False, "seconds": 1.5, "cpu_seconds": 1, "peak_rss_mb": 100.25}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)
    return Run(tiny_scenario(), AsOf(AS_OF_DAY), Store(str(tmp_path / "store")), "monday")


def passed_on(document: Any) -> Any:
    return json.loads(json.dumps(document))


def reads(*needs: str) -> Stage:
    return Stage("fuse", needs, lambda run: {}, lambda run, inputs: Payload())


def test_a_specification_survives_json_with_the_keys_that_running_dags_have(run: Run) -> None:
    spec = RunSpec.of(run)
    document = passed_on(spec.to_json())
    assert list(document) == ["scenario", "as_of", "store", "force"]
    assert json.loads(document["scenario"]) == run.scenario.model_dump(mode="json")
    assert document["as_of"] == run.as_of.iso
    assert RunSpec.from_json(document) == spec
    assert RunSpec.from_json(document).open() == run


def test_a_specification_has_overrides_and_warnings_where_they_were_given(run: Run) -> None:
    document = RunSpec.of(run).to_json() | {"overrides": {"windows.train": 28}, "warnings": ["warning: it fell back"]}
    assert passed_on(RunSpec.from_json(document).to_json()) == document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"as_of": "soon"}, r"not the specification of a run \(as_of: .*'soon' is not a date.*\): trigger a new run"),
        ({"as_of": None}, "as_of: "),
        ({"store": 3}, "store: Input should be a valid string"),
        ({"secret": "x"}, "secret: Extra inputs are not permitted"),
    ],
)
def test_another_document_is_no_specification(run: Run, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        RunSpec.from_json(RunSpec.of(run).to_json() | change)
    assert "\n" not in str(refused.value)


def test_a_result_survives_json_without_its_summary() -> None:
    result = StageResult("split", Ref(**REF), False, 1.5, 1.0, 100.25, {"windows": {}})
    document = passed_on(result.to_json())
    assert document == RESULT
    assert StageResult.from_json(document) == StageResult("split", Ref(**REF), False, 1.5, 1.0, 100.25)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("split", r"'split': not the result of a stage \(.*\); clear the task that returned it"),
        ({"stage": "split"}, "ref: Field required"),
        ({**RESULT, "reused": "no"}, "reused: Input should be a valid boolean"),
        ({**RESULT, "seconds": "1.5"}, "seconds: Input should be a valid number"),
        (
            {**RESULT, "ref": "split"},
            "^result of stage 'split': 'split': not a reference to an artifact .*; clear the task",
        ),
        (
            {**RESULT, "ref": {**REF, "uri": "../split"}},
            "^result of stage 'split': .*not a path in a store.*; clear the task",
        ),
    ],
)
def test_another_document_is_no_result(document: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        UpstreamResults.from_json([[document]])


class Lazy(Sequence[Any]):
    """The value that a scheduler passes for a mapped task: each item that is read by itself costs a request."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __getitem__(self, at: Any) -> Any:
        assert isinstance(at, slice)
        return self.items[at]

    def __len__(self) -> int:
        raise AssertionError("costs a request")


def test_results_are_found_in_any_nesting() -> None:
    features = {**RESULT, "stage": "features"}
    upstream = UpstreamResults.from_json([None, RESULT, Lazy([None, features]), [[]]])
    assert {name: result.ref for name, result in upstream.items()} == {"split": Ref(**REF), "features": Ref(**REF)}
    assert list(upstream.in_order(["features", "fuse", "split"])) == ["features", "split"]
    assert upstream.refs(reads("features")) == {"features": Ref(**REF)}
    assert len(UpstreamResults.from_json([None])) == 0


def test_a_missing_result_is_named() -> None:
    upstream = UpstreamResults.from_json([RESULT])
    with pytest.raises(ArtifactError, match=r"^fuse: no result of member:als was passed to it \(there are: split\)"):
        upstream.refs(reads("split", "member:als"))


def test_a_stage_finds_only_the_artifacts_that_its_upstream_results_name(run: Run) -> None:
    spec = RunSpec.of(run)
    first = execute_stage("resolve", spec, UpstreamResults())
    again = execute_stage("resolve", spec, UpstreamResults([first]))
    assert (first.reused, again.reused) == (False, True)
    assert again.ref == first.ref
    changed = {**first.to_json(), "ref": {**first.ref.to_json(), "sha256": "0" * 64}}
    with pytest.raises(ArtifactError, match="does not match the reference"):
        execute_stage("validate", spec, UpstreamResults.from_json([[changed], None]))
