"""A project folder with one small scenario: forty days of the films, models that are fitted in seconds."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.artifacts import Payload, Store
from mtl_tasks.store.registry import Registry, RunRecord

FILMS = Path(__file__).parents[2] / "include" / "data" / "movietweetings"
FIRST_DAY, AS_OF = "2013-04-01", "2013-05-11"
NAME = "small"

SCENARIO: dict[str, Any] = {
    "title": "A slice of the films",
    "owner": "film-team",
    "schedule": "30 2 * * *",
    "source": {
        "events": "log",
        "columns": {"user": "user_id", "item": "movie_id", "time": "rated_at"},
        "items": {"path": "films.parquet", "id": "movie_id", "title": "title"},
    },
    "tasks": {
        "rating": {"kind": "regression", "label": "rating", "range": [0, 10]},
        "purchase": {"kind": "binary", "negatives": {"how": "sampled"}},
    },
    "windows": {"train": 10, "tune": 4, "blend": 4, "test": 5},
    "factors": {"dimensions": 8, "rating_dimensions": 8, "iterations": 3, "rating_iterations": 3},
    "members": ["popularity", "als", "independent"],
    "boosting": {"rounds": 20, "threads": 1},
    # The log is too small for its recommendations to be told from what is popular.
    "gate": {
        "absolute": [{"task": "rating", "metric": "rmse", "max": 3}],
        "beat_floor": False,
        "lists": [],
        "replicates": 100,
    },
    "recommend": {"top_k": 5, "candidates": 10, "active_days": 1},
}
# Sections of a scenario for tests of what is around a run: one member, and no trees that rank.
SHORT: dict[str, Any] = {
    "members": ["popularity"],
    "recommend": {**SCENARIO["recommend"], "ranking": {"days": 0}},
}


def write_scenario(root: Path, name: str = NAME, /, **sections: Any) -> Path:
    """Write a scenario file, with whole sections replaced, and return its path."""
    path = root / "include" / "scenarios" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**SCENARIO, **sections}), encoding="utf-8")
    return path


def enter_copy(project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a project into a folder, make the copy the working folder for the test, and return it."""
    shutil.copytree(project, folder / "project")
    monkeypatch.chdir(folder / "project")
    return folder / "project"


def write_log(root: Path) -> None:
    """Copy the scenario's days of the films, and the film table."""
    for day in (FILMS / "events").iterdir():
        if FIRST_DAY <= day.name.removeprefix("dt=") < AS_OF:
            shutil.copytree(day, root / "log" / day.name)
    shutil.copy(FILMS / "films.parquet", root / "films.parquet")


def run_until(
    root: Path, last: str, as_of: str, store: str, *, force: str | None = None, **overrides: Any
) -> tuple[Run, dict[str, StageResult]]:
    """Run the stages up to one, in the project's folder, and return their results by name."""
    results: dict[str, StageResult] = {}
    with contextlib.chdir(root):
        run = make_run(NAME, AsOf.parse(as_of), overrides, store, force=force)
        for name, stage in build_stages(run.scenario).items():
            results[name] = run_stage(stage, run, refs_of(results))
            if name == last:
                return run, results
    raise AssertionError(f"there is no stage {last}")


def write_past_runs(store_root: Path, days: list[str]) -> None:
    """Enter runs of but two stages: factors took 10 s on the first day, 20 on the second, …, fuse twice that."""
    store = Store(str(store_root))
    for number, as_of in enumerate(days, 1):
        refs = {}
        for stage, seconds in (("fuse", 20 * number), ("factors", 10 * number)):
            facts = {"usage": {"seconds": seconds, "peak_rss_mb": 100.0 * number}}
            refs[stage] = store.publish(store.folder(NAME, as_of, stage, "a" * 64), "a" * 64, Payload(), facts).ref
        Registry(store, NAME).append(
            RunRecord(f"{number}" * 64, as_of, "promote", ["holds"], {"name": NAME}, refs, "c0de")
        )
