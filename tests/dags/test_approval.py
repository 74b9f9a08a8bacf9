"""The question for approval: who is asked, and what an answer does to a run that somebody has decided meanwhile."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import GateError
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.promotion import promote
from mtl_tasks.store.registry import Registry
from tests.support.projects import AS_OF, NAME, enter_copy, write_log, write_scenario

if TYPE_CHECKING:
    from dags.approval import PromotionApproval

AT = datetime(2026, 1, 2, tzinfo=UTC)
GATE = {
    "absolute": [{"task": "rating", "metric": "rmse", "max": 3}],
    "beat_floor": False,
    "replicates": 100,
    "approval": "required",
    "approvers": ["7", "ada"],
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store(str(tmp_path / "project" / ".store")), NAME)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, StageResult]]:
    """A project with a run that awaits approval, and the results of its stages."""
    root = tmp_path_factory.mktemp("judged")
    write_log(root)
    write_scenario(root, members=["popularity"], gate=GATE)
    results: dict[str, StageResult] = {}
    with contextlib.chdir(root):
        run = make_run(NAME, AsOf.parse(AS_OF), {}, ".store")
        run_pipeline(run, lambda name, result: results.update({} if result is None else {name: result}))
    return root, results


@pytest.fixture
def approval(
    judged: tuple[Path, dict[str, StageResult]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PromotionApproval:
    """The task of a run that has been judged and awaits approval."""
    from dags import approval, scenario_files

    pristine, results = judged
    root = enter_copy(pristine, tmp_path, monkeypatch)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, str(root / ".store"))
    monkeypatch.setattr(scenario_files, "ROOT", root)
    monkeypatch.setattr(approval, "run_spec", lambda: RunSpec.of(run))
    upstream = [results[name].to_json() for name in ("gate", "publish")]
    return approval.PromotionApproval(task_id="approve", subject="Promote?", results=upstream)


def event(chosen: str, user: dict[str, str] | None) -> dict[str, Any]:
    return {"chosen_options": [chosen], "params_input": {}, "responded_at": AT, "responded_by_user": user}


def test_whom_the_scenario_names_is_asked_and_nobody_else_is_recorded(
    approval: PromotionApproval, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    told: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: told.update(detail))  # goes to a running server
    with pytest.raises(TaskAwaitingInput):
        approval.execute({"task_instance": SimpleNamespace(id="0")})
    assert told["assigned_users"] == [{"id": "7", "name": "7"}, {"id": "ada", "name": "ada"}]
    with pytest.raises(GateError, match="the answer of user '8' is not recorded"):
        approval.execute_complete({}, event("Approve", {"id": "8", "name": "ada"}))
    assert len(registry.records()) == 1
    given = approval.execute_complete({}, event("Approve", {"id": "7", "name": "Ada"}))
    assert given["chosen_options"] == ["Approve"]
    assert [ruling.by for ruling in registry.rulings(registry.entries()[0].run_key)] == ["Ada"]


def test_what_follows_a_late_answer_goes_by_the_decision_that_stands(
    approval: PromotionApproval, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    [entry] = registry.entries()
    promote(registry, Store(str(Path(".store").resolve())), entry.run_key, by="ada", reason="urgent", at="2026-01-01")
    given = approval.execute_complete({}, event("Reject", None))
    assert given["chosen_options"] == ["Approve"]
    assert registry.champion() == entry
    assert "is ignored" in caplog.text
    assert "was decided before it, approved by ada" in caplog.text
