"""Output of a benchmark: tables in Markdown, and one JSON file for each command with all that its figures depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.engine import JAX, LIBRARIES

PROJECT: Final = Path(__file__).parents[2]
FOLDER: Final = Path(".bench/results")
# Beside those that a run's results depend on: what scores trees, and the peers of `make bench`.
FURTHER: Final = ("numba", "duckdb", "polars", "xgboost-cpu")


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResultColumn(_Stored):
    """Heading of a column, and the side that its cells are aligned to."""

    heading: str
    align: Literal["left", "right"] = "left"


class ResultTable(_Stored):
    """A table as it is shown: every cell is text."""

    title: str | None = None
    columns: tuple[ResultColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str | None = None

    @classmethod
    def of(cls, table: Table) -> ResultTable:
        """Return the cells of a table of rich."""
        columns = [
            ResultColumn(heading=str(column.header), align="right" if column.justify == "right" else "left")
            for column in table.columns
        ]
        rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
        title, caption = (None if text is None else str(text) for text in (table.title, table.caption))
        return cls(title=title, columns=tuple(columns), rows=tuple(rows), caption=caption)

    def lines(self) -> list[str]:
        """Return the table in Markdown, without title and caption."""
        rules = ["---:" if column.align == "right" else "---" for column in self.columns]
        rows = [[column.heading for column in self.columns], rules, *self.rows]
        return [_line(cells) for cells in rows]

    def markdown(self) -> str:
        """Return title, table and caption in Markdown."""
        parts = (self.title, "\n".join(self.lines()), self.caption)
        return "\n\n".join(part for part in parts if part)


class Machine(_Stored):
    """Where a benchmark ran; ``cores`` are those that its process may use."""

    processor: str
    cores: int
    memory_mib: int
    system: str


class BenchmarkResult(_Stored):
    """Tables of one command.

    Attributes
    ----------
    arguments
        Of ``python -m tests.benchmarks``.
    commit, changed
        Commit of the code, and whether files differed from it; None without git.
    libraries
        Version by package, of those that are installed.
    """

    section: str
    arguments: tuple[str, ...]
    date: datetime
    commit: str | None
    changed: bool | None
    machine: Machine
    python: str
    libraries: dict[str, str]
    tables: tuple[ResultTable, ...]

    @classmethod
    def read(cls, path: Path) -> BenchmarkResult:
        """Read a stored result.

        Raises
        ------
        ConfigError
            If there is no such file, or it is none of :meth:`write`.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}: name a file of {FOLDER}") from None
        except (ValidationError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not a result of make bench: {str(error).splitlines()[0]}") from None

    def write(self, folder: Path) -> Path:
        """Write the result to a new file named by section and date, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.section}-{self.date:%Y%m%dT%H%M%SZ}.json"
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    def markdown(self) -> str:
        """Return all tables in Markdown."""
        return "\n\n".join(table.markdown() for table in self.tables)


class Output(Console):
    """Console of a benchmark: it prints each table as Markdown, and keeps it for the JSON file."""

    def __init__(self) -> None:
        super().__init__(width=130, highlight=False)
        self.tables: list[ResultTable] = []

    def print(self, *objects: Any, **options: Any) -> None:
        """Print a table as Markdown, and anything else as :class:`rich.console.Console` does."""
        tables = [ResultTable.of(one) for one in objects if isinstance(one, Table)]
        for table in tables:
            super().print(f"\n{table.markdown()}\n", markup=False, soft_wrap=True)
        self.tables += tables
        others = [one for one in objects if not isinstance(one, Table)]
        if others or not objects:
            super().print(*others, **options)


def make_table(headings: Sequence[str], right: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose columns named in ``right`` are aligned to the right."""
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    for cells in rows:
        table.add_row(*cells)
    return table


def make_result(section: str, arguments: Sequence[str], tables: Sequence[ResultTable]) -> BenchmarkResult:
    """Return the tables with the machine, the versions and the commit of this process."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain")
    return BenchmarkResult(
        section=section,
        arguments=tuple(arguments),
        date=datetime.now(UTC).replace(microsecond=0),
        commit=commit,
        changed=None if status is None else bool(status),
        machine=_machine(),
        python=platform.python_version(),
        libraries=_libraries(),
        tables=tuple(tables),
    )


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |".replace("|  ", "| ")


def _machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1,
        memory_mib=psutil.virtual_memory().total >> 20,
        system=f"{platform.system()} {platform.machine()}",
    )


def _processor() -> str:
    """Return the model of the CPU; :func:`platform.processor` knows it on few systems."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _libraries() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*LIBRARIES, *JAX, *FURTHER):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    """Return the output of git in the project; None without git, or if the project is not a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
