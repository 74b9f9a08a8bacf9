"""Behavior of every source of a log; a test class of a kind inherits this and says where the log is."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import pandas as pd
import pytest
from upath import UPath

from mtl_tasks.core.columns import FILE, PARTITION, USER
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.files import SourceFile, locate
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.sources import LogSource, open_log
from mtl_tasks.scenario import Scenario
from tests.support.logs import AS_OF_DAY, DAYS, tiny_log

FIRST = AS_OF_DAY - DAYS
CHANGED = FIRST + 2  # day


def changed_log() -> pd.DataFrame:
    """Return the tiny log with another label in a row of the day ``CHANGED``."""
    rows = tiny_log()
    rows.loc[10 * (CHANGED - FIRST) + 4, "stars"] += 1
    return rows


class LogSourceContract:
    """Inherited by the tests of every kind of source."""

    @abstractmethod
    def scenario(self, root: Path) -> Scenario:
        """Return the tiny scenario with its log in this kind of source."""

    @abstractmethod
    def write(self, root: Path, rows: pd.DataFrame) -> None:
        """Make ``rows`` the whole log."""

    @abstractmethod
    def remove(self, root: Path) -> str:
        """Remove the log and return a pattern of the name that a refusal gives it."""

    def open(self, root: Path) -> LogSource:
        return open_log(self.scenario(root), root, UPath(root / "kept"), {})

    def read(self, root: Path, files: list[SourceFile]) -> pd.DataFrame:
        return read_log(self.scenario(root), files, self.open(root).folder)

    @pytest.mark.parametrize("as_of_day", [FIRST + 1, CHANGED + 1, AS_OF_DAY, AS_OF_DAY + 3])
    def test_the_days_listed_are_those_with_rows_before_as_of(self, tmp_path: Path, as_of_day: int) -> None:
        rows = tiny_log()
        days = FIRST + (rows["seen_at"].dt.normalize() - rows["seen_at"].min().normalize()).dt.days
        self.write(tmp_path, rows[days != CHANGED])
        files = self.open(tmp_path).list_days(as_of_day)
        listed = [file.day for file in files]
        assert listed == sorted(set(listed))
        assert max(listed) < as_of_day
        counts = self.read(tmp_path, files).groupby(PARTITION).size().to_dict()
        assert counts == {day: 10 for day in range(FIRST, min(as_of_day, AS_OF_DAY)) if day != CHANGED}

    def test_a_day_read_twice_is_equal(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        day = [file for file in self.open(tmp_path).list_days(AS_OF_DAY) if file.day == CHANGED]
        assert [file for file in self.open(tmp_path).list_days(AS_OF_DAY) if file.day == CHANGED] == day
        first, again = self.read(tmp_path, day), self.read(tmp_path, day)
        assert first[USER].tolist() == list(range(100, 110))
        pd.testing.assert_frame_equal(first, again)

    def test_a_hash_changes_only_with_the_rows_of_its_day(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        first = self.open(tmp_path).list_days(AS_OF_DAY)
        self.write(tmp_path, tiny_log())
        assert self.open(tmp_path).list_days(AS_OF_DAY, renew=True) == first
        self.write(tmp_path, changed_log())
        renewed = self.open(tmp_path).list_days(AS_OF_DAY, renew=True)
        differ = [new.day for old, new in zip(first, renewed, strict=True) if old.sha256 != new.sha256]
        assert differ == [CHANGED]
        assert [old for old in first if old.day != CHANGED] == [new for new in renewed if new.day != CHANGED]

    def test_newest_first_gives_the_files_of_the_days_listed(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        source = self.open(tmp_path)
        newest_first = list(source.newest_first(AS_OF_DAY - 1))
        listed = source.list_days(AS_OF_DAY - 1)
        assert [(name, day) for _, name, day in newest_first] == [(file.path, file.day) for file in reversed(listed)]
        assert [path for path, _, _ in newest_first] == [locate(source.folder, file.path) for file in reversed(listed)]

    def test_the_rows_do_not_depend_on_the_kind_of_source(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        read = self.read(tmp_path, self.open(tmp_path).list_days(AS_OF_DAY)).drop(columns=FILE)
        assert read["label:rating"].tolist() == tiny_log()["stars"].tolist()
        assert read["event_time"].tolist() == tiny_log()["seen_at"].tolist()

    def test_a_missing_log_is_refused_by_name(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        name = self.remove(tmp_path)
        with pytest.raises(DataError, match=rf"^{name} in include/scenarios/tiny\.yaml"):
            self.open(tmp_path).list_days(AS_OF_DAY)
        with pytest.raises(DataError, match=rf"^{name} in include/scenarios/tiny\.yaml"):
            next(self.open(tmp_path).newest_first(AS_OF_DAY))

    def test_a_log_without_a_day_before_as_of_is_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path, tiny_log())
        with pytest.raises(DataError, match=r"include/scenarios/tiny\.yaml.*: choose a later as_of$"):
            self.open(tmp_path).list_days(FIRST)
