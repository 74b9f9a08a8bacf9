"""Heavy questions take turns: who waits too long is told so, and nobody waits in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event, get_ident

import pytest

from plugins.model_board.turns import BusyError, Turns


@pytest.fixture
def gate() -> Iterator[Event]:
    """An event that work waits for; set at the end, so that no thread is left."""
    event = Event()
    yield event
    event.set()


def test_questions_are_answered_one_at_a_time_in_one_thread() -> None:
    running, most, threads = [0], [0], set()

    def work(number: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        threads.add(get_ident())
        running[0] -= 1
        return number

    async def ask() -> list[int]:
        turns = Turns(60, 10)
        return await asyncio.gather(*(turns.ask(lambda number=number: work(number)) for number in range(10)))

    assert asyncio.run(ask()) == list(range(10))
    assert (most, len(threads)) == ([1], 1)


def test_a_fault_is_raised_to_who_asked() -> None:
    def work() -> None:
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        asyncio.run(Turns(60, 1).ask(work))


def test_who_gets_no_turn_in_time_is_told_so_and_their_question_is_left(gate: Event) -> None:
    begun = Event()

    def slow() -> None:
        begun.set()
        gate.wait()

    async def ask() -> None:
        turns, asked = Turns(0, 2), []
        with pytest.raises(BusyError, match="after 0 seconds"):
            await turns.ask(slow)
        await asyncio.to_thread(begun.wait)
        with pytest.raises(BusyError, match="still waits for questions before it"):
            await turns.ask(lambda: asked.append("never"))
        gate.set()
        patient = Turns(60, 1)
        patient._thread = turns._thread
        await patient.ask(lambda: asked.append("at last"))
        assert asked == ["at last"]

    asyncio.run(ask())


def test_what_takes_too_long_goes_on_alone_and_fills_no_threads(gate: Event) -> None:
    begun = Event()

    def slow() -> None:
        begun.set()
        gate.wait()

    async def ask() -> None:
        turns = Turns(0, 3)
        for _ in range(20):
            with pytest.raises(BusyError):
                await turns.ask(slow)
        await asyncio.to_thread(begun.wait)
        assert len(turns._thread._threads) == 1

    asyncio.run(ask())


def test_more_than_may_wait_are_sent_away_at_once_and_places_come_free_again(gate: Event) -> None:
    async def ask() -> None:
        turns = Turns(60, 2)
        waiting = [asyncio.create_task(turns.ask(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)  # lets both ask
        with pytest.raises(BusyError, match="2 questions are waiting already") as sent:
            await turns.ask(gate.wait)
        assert sent.value.seconds == 60
        gate.set()
        assert await asyncio.gather(*waiting) == [True, True]
        assert await turns.ask(lambda: "again") == "again"

    asyncio.run(ask())
