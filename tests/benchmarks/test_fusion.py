"""The fusion benchmark reads finished runs and measures what the runs measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.store.artifacts import Store
from tests.benchmarks.fusion import METHODS, read_cases
from tests.support.projects import AS_OF, NAME, write_log, write_scenario


def test_the_default_method_has_the_metric_that_the_run_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path, fusion={"method": "auto"})
    monkeypatch.chdir(tmp_path)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, "store")
    tasks = run_pipeline(run, lambda stage, result: None).evaluation.tasks
    cases = {case.task: case for case in read_cases(Store("store"))}
    assert set(cases) == set(tasks)
    for task, case in cases.items():
        found = case.value(METHODS["auto"](case.blend))
        assert found == pytest.approx(tasks[task].fusion[case.metric].value, abs=2e-5)
        members = [entry[case.metric].value for entry in tasks[task].members.values()]
        assert case.best_member() == pytest.approx((min if case.metric == "rmse" else max)(members))
