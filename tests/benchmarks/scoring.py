"""Time of scoring rows by the trees of finished runs: LightGBM, numpy and numba, on one thread; no model is trained."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mtl_tasks.models import member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.models.boosting.bit_slices import SlicedTrees
from mtl_tasks.models.boosting.compiled import TreeRange, scored_by_block
from mtl_tasks.models.boosting.leaf_masks import MaskedTrees, compile_seconds
from mtl_tasks.models.boosting.tree_arrays import TreeArrays
from mtl_tasks.pipeline.days.features import read_days
from mtl_tasks.pipeline.engine import code_version, library_versions
from mtl_tasks.pipeline.stages.inputs import member_files
from mtl_tasks.scenario import BOOSTED
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.scenarios import Finished, newest

RESULTS: Final = pathlib.Path(".bench/scoring.json")
REPEATS: Final = 3

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """Nanoseconds of CPU a row and tree; ``difference`` is the largest one from LightGBM's raw score, at any row.

    Attributes
    ----------
    reading
        Seconds of CPU from the model to the form that numpy scores.
    """

    scenario: str
    as_of: str
    member: str
    task: str
    rows: int
    trees: int
    nodes: int
    reading: float
    lightgbm: float
    numpy: float
    numba: float | None
    difference: float


def main(store: str, rows: int, console: Console) -> None:
    """Measure every boosted member of the newest run of each scenario, print the table, write the JSON."""
    compiling = None if importlib.util.find_spec("numba") is None else compile_seconds()
    opened = Store(store, key_from(os.environ))
    folders = sorted(folder.parent for folder in opened.root.glob("*/registry") if any(folder.iterdir()))
    names = [folder.name for folder in folders]
    found = [measured for name in names for measured in _measure(newest(opened, name), rows)]
    console.print(_table(found))
    if compiling is not None:
        console.print(f"numba: {compiling:.1f} CPU seconds once a process, with its import")
    compared = sum(measured.rows * measured.trees for measured in found)
    console.print(
        f"{compared:,} rows times trees compared, largest difference {max(model.difference for model in found)}"
    )
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "code": code_version(),
        "libraries": library_versions(),
        "compile_seconds": compiling,
        "models": [asdict(model) for model in found],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"Written to {RESULTS}")


def _measure(run: Finished, rows: int) -> Iterator[Measured]:
    total = run.artifacts["features"].manifest["rows"]
    chosen = np.sort(np.random.default_rng(0).choice(total, min(rows, total), replace=False))
    features = read_days(run.store, run.artifacts["features"], None, chosen)
    for kind in BOOSTED:
        if f"member:{kind}" not in run.artifacts:
            continue
        member = member_class(kind).load(member_files(run.artifacts[f"member:{kind}"]), run.scenario)
        assert isinstance(member, BoostedMember)
        for task, trees in member.learned.trees.items():
            matrix, booster = member.task_matrix(features, task), trees.boosters[0]
            part = TreeRange(booster, 0, trees.rounds[0])
            yield Measured(
                run.scenario.name, run.entry.as_of, kind, task, len(matrix), part.count, **_ways(part, matrix)
            )


def _ways(part: TreeRange, matrix: Matrix) -> dict[str, Any]:
    unit = 1e-9 * len(matrix) * part.count
    started = time.process_time()
    arrays = TreeArrays.of([part.text()], "model")
    sliced = SlicedTrees(arrays)
    reading = time.process_time() - started
    seconds, expected = _timed(lambda: part.scores(matrix, 1))
    ways: dict[str, float | None] = {"lightgbm": seconds / unit, "numba": None}
    found = {"numpy": _timed(lambda: scored_by_block(sliced, matrix, 1)[:, 0])}
    if importlib.util.find_spec("numba") is not None:
        masked = MaskedTrees(arrays)
        found["numba"] = _timed(lambda: scored_by_block(masked, matrix, 1)[:, 0])
    ways |= {name: seconds / unit for name, (seconds, _) in found.items()}
    difference = max(float(np.abs(scores - expected).max()) for _, scores in found.values())
    return {**ways, "nodes": len(arrays.feature), "reading": reading, "difference": difference}


def _timed(work: Callable[[], NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    """Return the least CPU seconds of some repetitions, and the result."""
    least, result = np.inf, np.zeros(0)
    for _ in range(REPEATS):
        started = time.process_time()
        result = work()
        least = min(least, time.process_time() - started)
    return float(least), result


def _table(found: list[Measured]) -> Table:
    table = Table(box=SIMPLE)
    for heading in ("scenario", "as of", "member", "task"):
        table.add_column(heading)
    for heading in ("rows", "trees", "reading, ms a tree", "LightGBM", "numpy", "numba", "difference"):
        table.add_column(heading, justify="right")
    for model in found:
        table.add_row(
            *(model.scenario, model.as_of, model.member, model.task, f"{model.rows:,}", f"{model.trees:,}"),
            f"{1000 * model.reading / model.trees:.2f}",
            *(f"{model.lightgbm:.1f}", f"{model.numpy:.1f}", "–" if model.numba is None else f"{model.numba:.1f}"),
            f"{model.difference:g}",
        )
    return table
