"""The benchmark of `linear` and `deep` fits them as a run does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry
from tests.benchmarks.deep import CANDIDATES, fit_member
from tests.support.projects import AS_OF, NAME, write_log, write_scenario

DEEP = {"layers": [8], "batch_rows": 64, "epochs": 2}


def test_a_candidate_predicts_as_the_member_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path, members=["popularity", "linear", "deep"], deep=DEEP)
    monkeypatch.chdir(tmp_path)
    tasks = run_pipeline(make_run(NAME, AsOf.parse(AS_OF), {}, "store"), lambda stage, result: None).evaluation.tasks
    store = Store("store")
    [entry] = Registry(store, NAME).entries()
    rows = store.open(entry.refs["split"]).frame("rows")
    for kind in ("linear", "deep"):
        made = fit_member("store", entry, CANDIDATES[kind])
        assert made["cpu"][0] > 0
        for window in ("blend", "test"):
            frame = store.open(entry.refs[f"member:{kind}"]).frame(window)
            for task in tasks:
                seen = rows.loc[rows[columns.WINDOW] == window, columns.label(task)].notna().to_numpy()
                stored = frame[columns.prediction(task)].to_numpy()[seen]
                np.testing.assert_allclose(made[f"{window}.{task}"], stored, rtol=1e-2)  # a stage limits BLAS threads
