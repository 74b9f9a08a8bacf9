"""Counts of a small run that do not depend on the machine, compared with the expected ones.

``make bench ARGS=counts`` compares them with those of ``expected_counts.json``; ``--accept`` makes them the expected
ones, there and in include/docs/results.md. A process of its own does the work, since the hooks that count stay.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from sqlalchemy import event
from sqlalchemy.engine import Engine
from upath import UPath

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.database import DatabaseLog
from mtl_tasks.models.boosting.compiled import CompiledTrees
from mtl_tasks.pipeline.engine import StageResult, run_stage
from mtl_tasks.pipeline.local import make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Store

EXPECTED: Final = Path(__file__).with_name("expected_counts.json")
PROJECT: Final = Path(__file__).parents[2]
RESULTS: Final = PROJECT / "include" / "docs" / "results.md"
ACCEPT: Final = 'make bench ARGS="counts --accept"'
FILES, DATABASE = "small", "asked"  # scenarios
DAYS: Final = {"first day": "2013-05-10", "next day": "2013-05-11"}
QUERY: Final = "SELECT * FROM log WHERE rated_at >= :start AND rated_at < :end ORDER BY rated_at, user_id"
# Relative. A count without one is of the code alone. Early stopping and ties follow the last bits of sums, which differ
# between processors; so do the candidates to score. A manifest holds times, whose text has no fixed length. Python
# versions import different modules of the packages.
TOLERANCES: Final = {
    "trees grown": 0.1,
    "rows scored": 0.02,
    "rows × trees scored": 0.1,
    "bytes of files read": 0.02,
    "modules imported": 0.03,
}

Counts = dict[str, dict[str, int]]  # by phase and name


class Opened(NamedTuple):
    """A file of the project that was opened."""

    writing: bool
    size: int


class Counters:
    """Counts since the process started, by hooks that stay until it ends."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root.resolve()}{os.sep}"
        self._opened: list[Opened] = []
        self._scored: list[tuple[int, int]] = []  # rows, rows times trees
        self._queries: list[str] = []
        sys.addaudithook(self._note_file)
        event.listen(Engine, "before_cursor_execute", self._note_query)
        CompiledTrees.scores = self._noting_rows(CompiledTrees.scores)  # type: ignore[method-assign]

    def counts(self) -> dict[str, int]:
        """Return the counts so far."""
        return {
            "files read": sum(not one.writing for one in self._opened),
            "files written": sum(one.writing for one in self._opened),
            "bytes of files read": sum(one.size for one in self._opened if not one.writing),
            "rows scored": sum(rows for rows, _ in self._scored),
            "rows × trees scored": sum(product for _, product in self._scored),
            "SQL queries": len(self._queries),
        }

    @contextmanager
    def added_to(self, counts: dict[str, int]) -> Iterator[None]:
        """Add what the block counts, without zeros."""
        before = self.counts()
        yield
        counts |= {name: count - before[name] for name, count in self.counts().items() if count > before[name]}

    def _note_file(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name != "open" or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.path.abspath(os.fspath(arguments[0]))
        if path.startswith(self._root):
            writing = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
            self._opened.append(Opened(writing, 0 if writing else os.stat(path).st_size))

    def _note_query(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self._queries.append(statement)

    def _noting_rows(self, scores: Callable[..., Any]) -> Callable[..., Any]:
        def noted(trees: CompiledTrees, matrix: Any, *arguments: Any) -> Any:
            self._scored.append((len(matrix), len(matrix) * trees._trees))
            return scores(trees, matrix, *arguments)

        return noted


def main(accept: bool, console: Console) -> None:
    """Count, print the table; make the counts the expected ones, or refuse those that moved too far.

    Raises
    ------
    DataError
        If a count moved by more than its tolerance and is not accepted.
    """
    found = count()
    console.print(counts_table(found))
    if accept:
        accept_counts(found)
        console.print(f"Expected from now on: {EXPECTED}, {RESULTS}")
    elif moved := differences(read_expected(), found):
        raise DataError("\n".join(moved))


def count() -> Counts:
    """Return the counts of two days of a small log in files, and of reading two days from a database."""
    from tests.support.projects import write_log, write_scenario

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        write_log(root)
        write_scenario(root, FILES)
        _write_database(root)
        command = [sys.executable, "-m", "tests.benchmarks.counts", str(root)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    found: Counts = json.loads(done.stdout.splitlines()[-1])
    return found


def counts_table(found: Counts) -> Table:
    """Return a row for each count, with its tolerance."""
    table = Table("phase", "count")
    for heading in ("value", "tolerance"):
        table.add_column(heading, justify="right")
    for phase, counts in found.items():
        for place, (name, value) in enumerate(counts.items()):
            tolerance = TOLERANCES.get(name, 0)
            table.add_row("" if place else phase, name, f"{value:,}", f"{tolerance:.0%}" if tolerance else "none")
    return table


def read_expected() -> Counts:
    """Return the expected counts."""
    expected: Counts = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return expected


def accept_counts(found: Counts, expected: Path = EXPECTED, results: Path = RESULTS) -> None:
    """Make counts the expected ones, and replace their table in the page of results."""
    from tests.benchmarks.output import ResultTable

    old, new = (
        "\n".join(ResultTable.of(counts_table(counts)).lines())
        for counts in (json.loads(expected.read_text(encoding="utf-8")), found)
    )
    page = results.read_text(encoding="utf-8")
    if page.count(old) != 1:
        raise DataError(f"{results} does not have the table of {expected.name} once: restore both from git")
    results.write_text(page.replace(old, new), encoding="utf-8")
    expected.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(expected: Counts, found: Counts) -> list[str]:
    """Return a sentence for each count that moved by more than its tolerance."""
    moved = []
    names = [(phase, name) for one in (expected, found) for phase, counts in one.items() for name in counts]
    for phase, name in dict.fromkeys(names):
        before, now = (counts.get(phase, {}).get(name, 0) for counts in (expected, found))
        tolerance = TOLERANCES.get(name, 0)
        if abs(now - before) > tolerance * before:
            share = f" ({(now - before) / before:+.1%})" if before else ""
            allowed = f"at most {tolerance:.0%}" if tolerance else "no difference"
            moved.append(
                f"{name}, {phase}: {now:,} instead of {before:,}, {now - before:+,}{share}, {allowed} is allowed; "
                f"if the change is wanted, accept it with {ACCEPT}"
            )
    return moved


def _write_database(root: Path) -> None:
    """Write the log as a table of SQLite, and a scenario that reads it."""
    import pandas as pd
    from sqlalchemy import create_engine

    from tests.support.projects import FIRST_DAY, SCENARIO, write_scenario

    log = pd.concat(pd.read_parquet(path) for path in sorted((root / "log").rglob("*.parquet")))
    engine = create_engine(f"sqlite:///{root}/log.db")
    times = log["rated_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    log.assign(rated_at=times).to_sql("log", engine, index=False)
    engine.dispose()
    sql = {"url": f"sqlite:///{root}/log.db", "query": QUERY, "start": FIRST_DAY}
    source = {name: value for name, value in SCENARIO["source"].items() if name != "events"}
    write_scenario(root, DATABASE, source={**source, "sql": sql})


def _counted(root: Path) -> Counts:
    """Do the work in the project's folder, and count it."""
    os.chdir(root)
    counters = Counters(root)
    found: Counts = {}
    for phase, as_of in DAYS.items():
        found[phase] = counts = {}
        with counters.added_to(counts):
            results = _run(as_of, counts)
        counts |= _stored(results)
    for phase, as_of in DAYS.items():
        found[f"database, {phase}"] = counts = {}
        with counters.added_to(counts):
            log = DatabaseLog(load_scenario(DATABASE), UPath(root / "kept"), {})
            log.list_days(AsOf.parse(as_of).day)
    return found


def _run(as_of: str, counts: dict[str, int]) -> dict[str, StageResult]:
    """Run all stages, and count the modules of the project and of packages after the first validation."""
    run = make_run(FILES, AsOf.parse(as_of), {}, "store")
    results: dict[str, StageResult] = {}
    for name, stage in build_stages(run.scenario).items():
        results[name] = run_stage(stage, run, refs_of(results))
        if name == "validate" and as_of == DAYS["first day"]:
            counts["modules imported"] = len([one for one in sys.modules if _is_counted(one)])
    return results


def _is_counted(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in ("__main__", "tests")


def _stored(results: Mapping[str, StageResult]) -> dict[str, int]:
    """Return the rows in manifests of stages, and the trees in the models."""
    store = Store("store")
    artifacts = {name: store.open(result.ref) for name, result in results.items()}
    rows = {f"rows, {name}": artifacts[name].manifest["rows"] for name in ("validate", "split", "features")}
    texts = [artifact.read(name) for artifact in artifacts.values() for name in artifact.files if name.endswith(".txt")]
    return {**rows, "trees grown": sum(text.count(b"\nTree=") for text in texts)}


if __name__ == "__main__":
    print(json.dumps(_counted(Path(sys.argv[1]))))
