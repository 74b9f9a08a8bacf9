"""Every kind of source gives the same log, and none shows the environment that it is opened with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
from sqlalchemy import create_engine, text
from upath import UPath

from mtl_tasks.data.sources import open_log
from mtl_tasks.scenario import Scenario
from tests.contracts.log_source import LogSourceContract
from tests.support.databases import PASSWORD, fill, sql_scenario
from tests.support.logs import tiny_scenario, write_log


class TestFileLog(LogSourceContract):
    def scenario(self, root: Path) -> Scenario:
        return tiny_scenario()

    def write(self, root: Path, rows: pd.DataFrame) -> None:
        shutil.rmtree(root / "log", ignore_errors=True)
        write_log(root, rows)

    def remove(self, root: Path) -> str:
        shutil.rmtree(root / "log")
        return r"source\.events 'log'"


class TestDatabaseLog(LogSourceContract):
    def url(self, root: Path) -> str:
        return f"sqlite:///{root}/log.db"

    def scenario(self, root: Path) -> Scenario:
        return sql_scenario(self.url(root))

    def write(self, root: Path, rows: pd.DataFrame) -> None:
        fill(self.url(root), rows)

    def remove(self, root: Path) -> str:
        engine = create_engine(self.url(root))
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE log"))
        engine.dispose()
        return rf"source\.sql\.url {re.escape(self.url(root))}"


def test_a_source_does_not_show_its_environment(tmp_path: Path) -> None:
    environment = {"TINY_URL": f"postgresql://tiny:{PASSWORD}@host/log"}
    source = open_log(sql_scenario(PASSWORD), tmp_path, UPath(tmp_path / "kept"), environment)
    assert PASSWORD not in repr(source)
