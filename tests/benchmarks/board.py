"""Response times of the model board for a scenario of many runs: each view in its own process, then again."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from mtl_tasks.store.artifacts import Payload, Ref, Store
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from tests.support import board
from tests.support.projects import NAME, write_log, write_scenario

FOLDER: Final = pathlib.Path(".bench/board")
FIRST: Final = np.datetime64("2020-01-01")
VIEWS: Final = {
    "all scenarios": "/",
    "scenario": f"/scenarios/{NAME}",
    "scenario, JSON": f"/api/scenarios/{NAME}",
    "run": f"/scenarios/{NAME}/runs/{{last}}",
    "run, JSON": f"/api/scenarios/{NAME}/runs/{{last}}",
    "time and memory": f"/scenarios/{NAME}/costs",
    "compare": f"/scenarios/{NAME}/compare?run={{first}}&run={{last}}",
}


@dataclass(frozen=True)
class Answer:
    """Wall-clock and CPU seconds of the server, and the size of the answer."""

    seconds: float
    cpu_seconds: float
    size: int


def main(runs: int, console: Console) -> None:
    """Write the runs if they are not there, ask for every view, print the table."""
    root = (FOLDER / str(runs)).resolve()
    if not (root / "ready").exists():
        console.print(f"writing {runs:,} runs …")
        write_runs(root, runs)
        (root / "ready").touch()
    entries = Registry(Store(str(root / ".store")), NAME).entries()
    keys = {"first": entries[-2].run_key, "last": entries[-1].run_key}
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        console.print(_measured(root, keys, environment))


def _measured(root: pathlib.Path, keys: dict[str, str], environment: dict[str, str]) -> Table:
    table = Table("view", "opened first, s", "CPU s", "again, s", "CPU s", "size, kB")
    for view, path in VIEWS.items():
        first, again = _ask(root, path.format(**keys), environment)
        cells = (f"{answer:.2f}" for one in (first, again) for answer in (one.seconds, one.cpu_seconds))
        table.add_row(view, *cells, f"{first.size / 1000:,.0f}")
    return table


def write_runs(root: pathlib.Path, count: int) -> None:
    """Make one run, and enter it ``count`` times, a day apart, each with metrics of its own."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_log(root)
    write_scenario(root)
    board.run_once(root, "2013-05-11")
    store, registry = board.store(root), board.registry(root)
    made = registry.entries()[0]
    rng = np.random.default_rng(1)
    for number in range(count):
        as_of = str(FIRST + number)
        key = hashlib.sha256(as_of.encode()).hexdigest()
        evaluated, metrics = _evaluated(store, made, as_of, key, rng)
        decision = "promote" if number == 0 or rng.random() < 0.7 else "reject"
        reasons = [f"rating rmse <= 3: {'holds' if decision == 'promote' else 'fails'}", *made.reasons]
        entry = replace(made, run_key=key, as_of=as_of, decision=decision, reasons=reasons, metrics=metrics)
        registry.append(replace(entry, refs={**made.refs, "evaluate": evaluated}))
        if number % 50 == 49:
            registry.append(Decision(key, as_of, "retire", "someone", "a benchmark", f"{as_of}T08:00:00+00:00"))


def _evaluated(
    store: Store, made: RunRecord, as_of: str, key: str, rng: np.random.Generator
) -> tuple[Ref, dict[str, Any]]:
    artifact = store.open(made.refs["evaluate"])
    document = artifact.json("evaluation")
    payload = Payload({name: artifact.read(name) for name in artifact.names}, artifact.summary, artifact.ref.rows)
    for part in document["tasks"].values():
        for metric in part["fusion"].values():
            shift = 0.02 * rng.standard_normal()
            metric.update({end: metric[end] + shift for end in ("value", "low", "high") if metric[end] is not None})
    payload.add_json("evaluation", document)
    facts = {name: artifact.manifest[name] for name in ("stage", "inputs", "usage", "libraries")}
    ref = store.publish(store.folder(NAME, as_of, "evaluate", key), key, payload, facts).ref
    return ref, {task: part["fusion"] for task, part in document["tasks"].items()}


def _ask(root: pathlib.Path, path: str, environment: dict[str, str]) -> tuple[Answer, Answer]:
    command = [sys.executable, "-m", "tests.benchmarks.board", str(root), path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, again = json.loads(done.stdout.splitlines()[-1])
    return Answer(**first), Answer(**again)


def answer(root: str, path: str) -> list[dict[str, Any]]:
    """Ask the app twice in this process, which has loaded its libraries and read nothing before."""
    from mtl_tasks.report import charts, page

    page.make_environment()
    charts.timeline({"test": ("2024-02-23", "2024-03-03")}, "2024-03-04")  # draws as the page of a run does
    with board.reading(pathlib.Path(root)) as client:
        client.get("/openapi.json")
        made = []
        for _ in range(2):
            started, used = time.perf_counter(), time.process_time()
            given = client.get(path, headers={"Accept": "text/html"})
            assert given.status_code == 200, given.text
            spent = time.perf_counter() - started, time.process_time() - used
            made.append({"seconds": spent[0], "cpu_seconds": spent[1], "size": len(given.content)})
    return made


if __name__ == "__main__":
    print(json.dumps(answer(*sys.argv[1:])))
