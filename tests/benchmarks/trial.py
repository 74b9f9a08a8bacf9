"""One fit in a process of its own, so that its time and memory are its own.

``python -m tests.benchmarks.trial PROBLEM METHOD SEED DRAW THREADS OUT`` writes OUT.npz (predictions on test), then
OUT.json (rounds, seconds, memory).
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import lightgbm as lgb
import numpy as np

from mtl_tasks.pipeline.engine import measured
from mtl_tasks.scenario import Scenario
from tests.benchmarks.catalog import METHODS, PROBLEMS

DRAW_STEP = 1000  # seeds of the draws of one problem are so far apart that no model is in two of them


def main(problem_name: str, method_name: str, seed: int, draw: int, threads: int, out: pathlib.Path) -> None:
    """Fit, predict, write."""
    problem = PROBLEMS[problem_name].make(seed)
    method = METHODS[method_name]
    own = {"boosting.threads": threads, "seed": 7 + seed + DRAW_STEP * draw, **method.settings}
    scenario = changed(problem.scenario, own)
    train, tune, test = (problem.table(window) for window in ("train", "tune", "test"))
    del problem
    assert method.fit is not None
    # The first use of the library starts its threads; that is no part of a fit.
    lgb.train({"verbosity": -1, "num_threads": threads}, lgb.Dataset(np.zeros((64, 1)), np.zeros(64)), 1)
    with measured() as fitting:
        fitted = method.fit(train, tune, scenario)
    with measured() as predicting:
        predictions = fitted.predict(test.features)
    np.savez(out.with_suffix(".npz"), **predictions)
    facts = {"fit": fitting, "predict": predicting, "rounds": _rounds(fitted)}
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(facts, indent=1) + "\n")
    partial.replace(out.with_suffix(".json"))


def changed(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """Return the scenario with some dotted keys set, checked like any other."""
    document = scenario.model_dump()
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[leaf] = value
    return Scenario.model_validate(document)


def _rounds(fitted: Any) -> dict[str, Any]:
    """Rounds by task, where the method says so."""
    if hasattr(fitted, "rounds") and isinstance(fitted.rounds, dict):
        return dict(fitted.rounds)
    tasks = fitted.describe()["tasks"] if hasattr(fitted, "describe") else {}
    return {task: entry.get("rounds") for task, entry in tasks.items()}


if __name__ == "__main__":
    problem_argument, method_argument, seed, draw, threads, path = sys.argv[1:]
    main(problem_argument, method_argument, int(seed), int(draw), int(threads), pathlib.Path(path))
