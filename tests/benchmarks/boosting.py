"""Quality and cost of ways to boost several tasks at once, each fit in a process of its own.

A finished fit is kept in ``.bench/boosting`` under a key of all that it depends on, so that a bench that was stopped
goes on where it was.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from rich.console import Console

import mtl_tasks
from mtl_tasks.pipeline.engine import library_versions
from tests.benchmarks.catalog import FULL_ONLY, METHODS, PROBLEMS, REFERENCE
from tests.benchmarks.comparison import Trial, compare, cost_table, quality_table
from tests.benchmarks.problems import Problem

FOLDER: Final = pathlib.Path(".bench/boosting")
RESULTS: Final = pathlib.Path(".bench/boosting.json")
HERE: Final = pathlib.Path(__file__).parent
FILTERS: Final = ("problem", "method", "seed", "size")
SOURCES: Final = {"kuairand": ("kuairand.py", "kuairand_features.py"), "films": ("movies.py",)}


@dataclass(frozen=True)
class Options:
    """Options of the benchmark.

    Attributes
    ----------
    only
        Filter to patterns, any of which must match: ``{"problem": ["related*"], "seed": ["0"]}``.
    jobs, threads
        Fits at a time, and threads of each.
    """

    only: Mapping[str, list[str]] = field(default_factory=dict)
    full: bool = False
    fresh: bool = False
    jobs: int = 2
    threads: int = 1

    def takes(self, **names: str) -> bool:
        """Whether no filter excludes any of these."""
        return all(
            any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only.get(key, [name]))
            for key, name in names.items()
        )


def parse_only(settings: Iterable[str]) -> dict[str, list[str]]:
    """Read ``key=pattern`` filters.

    >>> parse_only(["problem=related*", "problem=films"])
    {'problem': ['related*', 'films']}
    """
    only: dict[str, list[str]] = {}
    for text in settings:
        key, separator, pattern = text.partition("=")
        if key not in FILTERS or not separator:
            raise SystemExit(f"--only {text}: expected one of {', '.join(FILTERS)}, then = and a pattern")
        only.setdefault(key, []).append(pattern)
    return only


def main(options: Options, console: Console) -> None:
    """Run what is missing, print the tables, write the JSON."""
    methods = _methods(options, console)
    document = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name, entry in PROBLEMS.items():
        if not options.takes(problem=name, size=entry.size) or not (entry.default or options.full or options.only):
            continue
        count = entry.full_seeds if options.full else entry.seeds
        seeds = [seed for seed in range(count) if options.takes(seed=str(seed))]
        document[name] = _bench(name, seeds, methods, options, console)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"Written to {RESULTS}")


def _methods(options: Options, console: Console) -> list[str]:
    """Names of the methods that are asked for and can run; a line says why one cannot."""
    asked = "method" in options.only
    chosen = []
    for name, method in METHODS.items():
        if name != REFERENCE and not options.takes(method=name):
            continue
        if name in FULL_ONLY and not (asked or options.full):
            continue
        if (why := method.missing) is not None:
            console.print(f"skipped: {name}: {why}")
        else:
            chosen.append(name)
    return chosen


def _bench(name: str, seeds: list[int], methods: list[str], options: Options, console: Console) -> dict[str, Any]:
    console.print(f"{name}, seeds {', '.join(map(str, seeds))} …")
    problems = {seed: PROBLEMS[name].make(seed) for seed in seeds}
    draws = dict.fromkeys(part for method in methods for part in METHODS[method].parts or ((method, 0),))
    wanted = {
        (method, draw, seed): _path(problems[seed], method, draw, seed, options)
        for seed in seeds
        for method, draw in draws
    }
    if options.fresh:
        for path in wanted.values():
            path.unlink(missing_ok=True)
    failures = _run_missing(name, wanted, options, console)
    trials = {
        key: Trial(json.loads(path.read_text()), dict(np.load(path.with_suffix(".npz"))))
        for key, path in wanted.items()
        if path.is_file()
    }
    made = compare(problems, methods, trials)
    notes = [f"{method} refused: {why}" for method, why in failures.items()]
    console.print(quality_table(name, made, notes))
    console.print(cost_table(name, made, options.threads))
    return {**made, "notes": notes, "threads": options.threads, "libraries": library_versions()}


def _run_missing(
    problem: str, wanted: Mapping[tuple[str, int, int], pathlib.Path], options: Options, console: Console
) -> dict[str, str]:
    """Fit what is not there yet; return the last line that each failing method had to say."""
    missing = {key: path for key, path in wanted.items() if not path.is_file()}
    failures: dict[str, str] = {}

    def run(key: tuple[str, int, int]) -> None:
        method, draw, seed = key
        done = _fit(problem, key, missing[key], options.threads)
        if done.returncode:
            failures[method] = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            console.print(f"  {method}, seed {seed}, draw {draw}: failed: {failures[method]}", markup=False)
        else:
            facts = json.loads(missing[key].read_text())
            console.print(f"  {method}, seed {seed}, draw {draw}: {facts['fit']['cpu_seconds']:.1f} s of CPU")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, missing))
    return failures


def _fit(problem: str, key: tuple[str, int, int], path: pathlib.Path, threads: int) -> subprocess.CompletedProcess[str]:
    method, draw, seed = key
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = [problem, method, str(seed), str(draw), str(threads), str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.trial", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _path(problem: Problem, method: str, draw: int, seed: int, options: Options) -> pathlib.Path:
    """Return the path of a fit's result; the key in it changes with everything that the result depends on."""
    depends = {
        "boosting": problem.scenario.boosting.model_dump(mode="json"),
        "tasks": problem.scenario.model_dump(mode="json")["tasks"],
        "settings": dict(METHODS[method].settings),
        "threads": options.threads,
        "libraries": library_versions(),
        "code": _code(problem.name, METHODS[method].package is not None),
    }
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "_", method.lower()).strip("_")
    return FOLDER / problem.name / f"{slug}.{seed}.{draw}.{key}.json"


@cache
def _code(problem: str, peer: bool) -> str:
    """Hash of the source that makes the problem and fits the model."""
    files = [HERE / name for name in ("problems.py", "trial.py", *SOURCES.get(problem, ("simulated.py",)))]
    if peer:
        files.append(HERE / "peers.py")
    else:
        library = pathlib.Path(str(mtl_tasks.__file__)).parent
        files += sorted((library / "models").rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
