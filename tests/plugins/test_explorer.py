"""Exploring costs a run's log once, whoever asks, and shows what there is now."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pandas as pd
import pytest

from mtl_tasks.core.errors import DataError
from mtl_tasks.pipeline.explore import PreparedRun, open_run
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import RunRecord
from plugins.model_board.explorer import Explorer
from plugins.model_board.turns import Turns
from tests.support import board
from tests.support.projects import NAME

FIRST, LATER = "2013-05-08", "2013-05-10"


class Counted:
    """Prepares runs, and keeps the dates of those."""

    def __init__(self) -> None:
        self.dates: list[str] = []

    def __call__(self, store: Store, entry: RunRecord) -> PreparedRun:
        self.dates.append(entry.as_of)
        return open_run(store, entry)


@pytest.fixture
def prepared() -> Counted:
    return Counted()


@pytest.fixture
def explorer(prepared: Counted) -> Explorer:
    return Explorer(Turns(600, 40), prepared)


@pytest.fixture
def copied(board_project: Path, tmp_path: Path) -> Path:
    """A copy of the project's store, to be changed."""
    shutil.copytree(board_project / ".store", tmp_path / ".store")
    return tmp_path


def listed(root: Path) -> list[str]:
    """Users who have a list of the first run."""
    lists = pd.read_parquet(next((root / ".store" / NAME / FIRST / "recommend").rglob("*.parquet")))
    return [str(user) for user in lists["user_id"].unique()]


def ask(explorer: Explorer, root: Path, as_of: str, *users: str) -> list[Any]:
    """Ask for users at once, and return answers and faults."""
    key = board.entry_of(root, as_of).run_key

    async def all_of_them() -> list[Any]:
        asked = (explorer.answer(board.store(root), NAME, key, user, None) for user in users)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_many_at_once_have_the_run_read_once(explorer: Explorer, prepared: Counted, board_project: Path) -> None:
    users = listed(board_project)[:6]
    answers = ask(explorer, board_project, FIRST, *users, *users)
    assert [str(answer.user_id) for answer in answers] == [*users, *users]
    assert all(len(answer.offers) == 5 for answer in answers)
    assert prepared.dates == [FIRST]


def test_a_stranger_is_looked_for_once(explorer: Explorer, prepared: Counted, board_project: Path) -> None:
    user = listed(board_project)[0]
    [first] = ask(explorer, board_project, FIRST, "99999999")
    ask(explorer, board_project, LATER, user)  # only one run is held
    [again] = ask(explorer, board_project, FIRST, "99999999")
    assert isinstance(again, DataError)
    assert str(again) == str(first)
    assert prepared.dates == [FIRST, LATER]


def test_lists_that_are_made_later_are_shown(explorer: Explorer, prepared: Counted, copied: Path) -> None:
    user = listed(copied)[0]
    folder = copied / ".store" / NAME / FIRST / "recommend"
    shutil.move(folder, copied / "later")
    [early] = ask(explorer, copied, FIRST, user)
    shutil.move(copied / "later", folder)
    [late] = ask(explorer, copied, FIRST, user)
    assert (len(early.offers), len(late.offers)) == (0, 5)
    assert prepared.dates == [FIRST]


def test_a_fault_of_the_store_is_not_kept(explorer: Explorer, prepared: Counted, copied: Path) -> None:
    user = listed(copied)[0]
    folder = board.store(copied).open(board.entry_of(copied, FIRST).refs["factors"]).folder
    shutil.move(folder, copied / "later")
    [fault] = ask(explorer, copied, FIRST, user)
    assert "no artifact here" in str(fault)
    shutil.move(copied / "later", folder)
    [found] = ask(explorer, copied, FIRST, user)
    assert str(found.user_id) == user
    assert prepared.dates == [FIRST, FIRST]


@pytest.fixture
def blocked(board_project: Path, airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """The board, whose questions wait for an event: for 0 seconds, unless a test says otherwise."""
    event = Event()

    def prepare(store: Store, entry: RunRecord) -> PreparedRun:
        event.wait()
        return open_run(store, entry)

    monkeypatch.setattr("plugins.model_board.app.EXPLORER", Explorer(Turns(0, 64), prepare))
    yield event
    event.set()


@pytest.mark.parametrize("path", [f"/api/scenarios/{NAME}/explore", f"/scenarios/{NAME}/explore"])
def test_who_gets_no_answer_in_time_is_told_when_to_ask_again(blocked: Event, board_project: Path, path: str) -> None:
    asked = {"run": board.entry_of(board_project, FIRST).run_key, "user": "1"}
    with board.reading(board_project) as reader:
        answer = reader.get(path, params=asked, headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "0"
    assert "The model board answers one such question at a time" in answer.text
    assert "The store does not answer" not in answer.text


# FastAPI silences it for a while that other threads can end: per request, where dependencies are overridden.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.UnsupportedFieldAttributeWarning")
def test_those_who_wait_keep_nobody_from_other_pages(
    blocked: Event, board_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.model_board.app import EXPLORER, app

    monkeypatch.setattr(EXPLORER, "_turns", Turns(600, 64))
    asked = {"run": board.entry_of(board_project, FIRST).run_key, "user": "99999999"}

    async def crowd() -> tuple[int, set[int]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://board") as client:
            waiting = [
                asyncio.create_task(client.get(f"/api/scenarios/{NAME}/explore", params=asked, timeout=None))
                for _ in range(50)  # more than the server has threads for requests
            ]
            other = await client.get(f"/api/scenarios/{NAME}")
            assert not any(task.done() for task in waiting)
            blocked.set()
            return other.status_code, {answer.status_code for answer in await asyncio.gather(*waiting)}

    with board.reading(board_project):
        assert asyncio.run(crowd()) == (200, {422})
