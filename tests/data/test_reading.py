"""Reading a file: a process that reads only part of a CSV file, or fails over it, ends with the code that it chose."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from tests.support.logs import DOCUMENT

TRIES = 10  # of a run of the command line
FEWER = 3  # of a script that used to end wrongly nine times in ten
LINES = 600_000  # some 20 blocks, so that Arrow still reads ahead when the first one is done with

COLUMN_IS_MISSING = """
from mtl_tasks.data.conversion import ColumnRef
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.reading import read_columns
from mtl_tasks.data.files import source_file
from upath import UPath
try:
    liked = ColumnRef(name, "liked", "tasks.like.label", True)
    read_columns(source_file(UPath(name), name, None), ".", {"liked": liked})
except DataError:
    sys.exit(2)
"""
FIRST_ROWS = """
from mtl_tasks.onboarding.sample import read_sample
from upath import UPath
sys.exit(2 if len(read_sample(UPath(name), name, True, 10).table) == 10 else 3)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reading")
    line = b"107,3,2013-05-06T12:07:00Z,5\n"
    text = b"person,film,seen_at,stars\n" + line * LINES
    (made / "log.csv").write_bytes(text)
    (made / "log.csv.gz").write_bytes(gzip.compress(text, 1))
    return made


def codes_of(command: Sequence[str], folder: Path, tries: int) -> list[int]:
    """Return the exit code of each try."""
    done = [
        subprocess.run(
            command, cwd=folder, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, timeout=60, check=False
        )
        for _ in range(tries)
    ]
    return [one.returncode for one in done]


@pytest.mark.parametrize(
    ("name", "script"),
    [("log.csv", COLUMN_IS_MISSING), ("log.csv.gz", COLUMN_IS_MISSING), ("log.csv", FIRST_ROWS)],
)
def test_a_process_that_stops_reading_early_ends_with_its_own_code(folder: Path, name: str, script: str) -> None:
    command = [sys.executable, "-c", f"import sys; name = {name!r}\n{script}"]
    assert codes_of(command, folder, FEWER) == [2] * FEWER


def test_a_run_of_a_csv_without_a_needed_column_ends_with_code_2(folder: Path) -> None:
    source = {"events": "log.csv.gz", "format": "csv", "columns": DOCUMENT["source"]["columns"]}
    scenario = {**DOCUMENT, "source": source}
    (folder / "include/scenarios").mkdir(parents=True)
    (folder / "include/scenarios/tiny.yaml").write_text(yaml.safe_dump(scenario))
    command = [sys.executable, "-m", "mtl_tasks", "run", "tiny", "--as-of", "2013-05-07"]
    assert codes_of(command, folder, TRIES) == [2] * TRIES
