"""Explained recommendations and predictions of runs: one run is prepared at a time, and answers are cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.concurrency import run_in_threadpool

from mtl_tasks.core.errors import ConfigError, DataError, quoting_rows
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.pipeline.past_runs import read_run
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.registry import RunRecord
from plugins.model_board.turns import Turns

if TYPE_CHECKING:
    from mtl_tasks.pipeline.explore import PlacedPair, PreparedRun, UserExploration

Answer: TypeAlias = "UserExploration | PlacedPair"
Prepare = Callable[[Store, RunRecord], "PreparedRun"]

TOP_REASONS: Final = 6
KEPT_ANSWERS: Final = 64
SECONDS: Final = 45
PLACES: Final = 32


@dataclass(frozen=True)
class Question:
    """A question about a user, or a user and an item: their ids as text, a run, and its newest recommendations."""

    store: Store
    entry: RunRecord
    lists: Artifact | None
    user: str
    item: str | None

    @classmethod
    def of(cls, store: Store, scenario: str, run_key: str, user: str, item: str | None) -> Question:
        """Look up the run and its recommendations."""
        entry = read_run(store, scenario, run_key).entry
        return cls(store, entry, find_lists(store, entry), user, item)

    @property
    def run(self) -> tuple[str, str, tuple[tuple[str, Ref], ...]]:
        """Everything that the prepared run depends on."""
        return str(self.store.root), self.entry.run_key, tuple(self.entry.refs.items())

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything that the answer depends on."""
        return *self.run, None if self.lists is None else self.lists.ref, self.user, self.item


class Explorer:
    """Answers questions in turn and caches the last answers, refusals included."""

    def __init__(self, turns: Turns, prepare: Prepare) -> None:
        self._turns, self._prepare = turns, prepare
        self._answers: OrderedDict[tuple[Any, ...], Answer | ConfigError | DataError] = OrderedDict()
        self._lock = Lock()  # guards the answers
        self._prepared: tuple[tuple[Any, ...], PreparedRun] | None = None  # read and set in turns only

    async def answer(self, store: Store, scenario: str, run_key: str, user: str, item: str | None) -> Answer:
        """Return a run's recommendations for a user, or its predictions for a user and an item, with reasons.

        Raises
        ------
        ConfigError, DataError
            If an id cannot be one of the log's or is unknown, or the log is too large for a page.
        ArtifactError
            If there is no such run, or an artifact is missing or damaged.
        BusyError
            If there is no answer in time.
        """
        question = await run_in_threadpool(Question.of, store, scenario, run_key, user, item)
        found = self._kept(question)
        if found is None:
            found = await self._turns.ask(partial(self._work_on, question))
        if isinstance(found, Exception):
            raise type(found)(*found.args)  # a new one: the cached one must not gather the tracebacks of all callers
        return found

    def _work_on(self, question: Question) -> Answer | ConfigError | DataError:
        found = self._kept(question)  # the same was asked while this one waited
        if found is not None:
            return found
        try:
            found = self._ask(question)
        except (ConfigError, DataError) as error:
            found = type(error)(*error.args)  # without the traceback, which keeps everything that was read in memory
        with self._lock:
            self._answers[question.key] = found
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return found

    def _ask(self, question: Question) -> Answer:
        validation = question.entry.scenario_document.get("validation", {})
        with quoting_rows(validation.get("quote_rows") is True):  # more people read a page than the log
            run = self._run(question)
            if question.item is not None:
                return run.explore_pair(question.user, question.item, question.lists, TOP_REASONS)
            return run.explore_user(question.user, question.lists, TOP_REASONS)

    def _run(self, question: Question) -> PreparedRun:
        if self._prepared is None or self._prepared[0] != question.run:
            self._prepared = None  # first, so that two are never held
            self._prepared = question.run, self._prepare(question.store, question.entry)
        return self._prepared[1]

    def _kept(self, question: Question) -> Answer | ConfigError | DataError | None:
        with self._lock:
            found = self._answers.get(question.key)
            if found is not None:
                self._answers.move_to_end(question.key)
            return found


def _prepare(store: Store, entry: RunRecord) -> PreparedRun:
    from mtl_tasks.core.process import release_free_memory
    from mtl_tasks.pipeline.explore import open_run  # imports LightGBM

    release_free_memory()  # of the previous run
    run = open_run(store, entry)
    release_free_memory()
    return run


EXPLORER: Final = Explorer(Turns(SECONDS, PLACES), _prepare)
