"""Explained predictions of a past run for a user, made from stored artifacts; nothing is trained."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.documents import Document
from mtl_tasks.core.errors import DataError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.core.stages import is_scoring
from mtl_tasks.core.top_lists import SCORE, UTILITY
from mtl_tasks.features.builder import FeatureMaker, Tables
from mtl_tasks.features.interactions import IndexedRows, encode, with_context
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.past_documents import rebuild_run
from mtl_tasks.pipeline.placement import CandidateRanking, Placement
from mtl_tasks.pipeline.stages import explain
from mtl_tasks.pipeline.stages.inputs import load_events, load_scorer, load_tables
from mtl_tasks.recommend.explain import explain_features, parse_id, titles_of
from mtl_tasks.recommend.lists import item_facts
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.serving_context import ServingContext
from mtl_tasks.report.order import lift_sentence, order_sentence, utility_sentence
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Artifact, Store
from mtl_tasks.store.champions import LISTED
from mtl_tasks.store.documents.explanation import PairExplanation, RunExplanation
from mtl_tasks.store.registry import RunRecord

SHOWN_HISTORY: Final = 20
_FIGURES: Final = [SCORE, UTILITY]
_NOTHING: Final = pd.DataFrame(columns=[columns.ITEM, *_FIGURES])
READABLE_ROWS: Final = 2_000_000  # of the log: reading takes 13 CPU seconds and 1.6 GB, of which 0.8 GB stay in use


class PastEvent(Document):
    """An interaction of a user.

    Attributes
    ----------
    title
        Of the item; None without one.
    at
        Time in UTC, ISO 8601.
    labels
        By task; None where the label was not observed.
    """

    item_id: int | str
    title: str | None
    at: str
    labels: dict[str, float | None]


class Offer(PairExplanation):
    """An explained recommendation.

    Attributes
    ----------
    rank
        In the user's list, from 1.
    popular_7d
        Positive interactions with the item in the last seven days.
    score
        What the list is ordered by, unless rules change the order; None if it could not be computed.
    utility
        The value of the scenario's formula; None if it is not finite.
    why
        What lifts it above the user's mean candidate, the largest part first; None if the order is by no sum.
    """

    rank: int
    popular_7d: int
    score: float | None
    utility: float | None
    why: str | None


class PlacedPair(PairExplanation):
    """The explained predictions for a user and an item, and where the item stands for the user.

    Attributes
    ----------
    order
        What the user's candidates are ordered by.
    about_utility
        How the utility is computed; empty if the order is by it.
    """

    order: str
    about_utility: str
    placement: Placement


class UserExploration(Document):
    """A user's interactions and explained recommendations.

    Attributes
    ----------
    events
        The number of interactions.
    history
        The last interactions, the newest first.
    order
        What the recommendations are ordered by.
    about_utility
        How the utility is computed; empty if the order is by it.
    offers
        In the order of the recommendations; empty without any.
    """

    user_id: int | str
    events: int
    history: tuple[PastEvent, ...]
    order: str
    about_utility: str
    offers: tuple[Offer, ...]


def open_run(store: Store, entry: RunRecord) -> PreparedRun:
    """Read a past run's log and models and compute its feature statistics once, for any number of questions.

    Raises
    ------
    DataError
        If the log has more rows than are read for a page.
    ConfigError
        If this code can no longer parse the scenario.
    ArtifactError
        If an artifact is missing or damaged.
    """
    run, inputs = open_models(store, entry)
    _check_size(run, inputs["validate"].ref.rows)
    day, tables, scorer = run.as_of.day, load_tables(inputs), load_scorer(run.scenario, inputs)
    past = load_events(run, inputs).before(day).frame
    context = ServingContext.of(past, run.scenario, day)
    others = _users_without_events(past, tables).assign(**{columns.DAY: day})
    coded, _ = encode(past, context.add(others), run.scenario)
    maker = FeatureMaker(coded, tables, scorer.factor_models, run.scenario)
    maker.advance(day)
    log = UserLog.of(past, pd.Index(coded.user_ids), others[columns.USER].iloc[-1], run.scenario)
    excluded = np.array([])
    if run.scenario.recommend.reranking.active:  # a table of exclusions is not kept with the run
        excluded = item_facts(scorer, past, tables, day).excluded_ids
    ranking = CandidateRanking(scorer, maker, context, day, excluded)
    return PreparedRun(run, scorer, maker, context, (titles_of(tables, day), log), ranking)


@dataclass(frozen=True)
class UserLog:
    """Each user's interactions, newest first.

    Attributes
    ----------
    events
        item, time and the labels, ordered by user.
    starts
        int64 (users + 1,): start of each user's events, by user code.
    sample
        (1,): a user id, in the log's dtype.
    nobody
        The code for all unknown users.
    """

    events: pd.DataFrame
    starts: NDArray[np.int64]
    sample: pd.Series[Any]
    nobody: int

    @classmethod
    def of(cls, past: pd.DataFrame, user_ids: pd.Index[Any], nobody: int | str, scenario: Scenario) -> UserLog:
        """Order events by user; ``user_ids`` are the ids by code, ``nobody`` one of them that no user has."""
        labels = [columns.label(task) for task in scenario.tasks if columns.label(task) in past]
        newest_first = past.sort_values(columns.TIME, kind="stable", ascending=False)
        users = user_ids.get_indexer(pd.Index(newest_first[columns.USER]))
        order = np.argsort(users, kind="stable")
        starts = np.searchsorted(users[order], np.arange(len(user_ids) + 1))
        events = newest_first[[columns.ITEM, columns.TIME, *labels]].iloc[order]
        sample = newest_first[columns.USER].iloc[:1].copy()
        return cls(events, starts.astype(np.int64), sample, int(user_ids.get_indexer(pd.Index([nobody]))[0]))

    def of_user(self, code: int) -> pd.DataFrame:
        """Return the events of a user, newest first."""
        return self.events.iloc[self.starts[code] : self.starts[code + 1]]


class PreparedRun:
    """A past run, ready to answer for any user of its log; create it with :func:`open_run`.

    It holds the log's rows and statistics, about 300 bytes per row, and answers one question at a time.
    """

    def __init__(
        self,
        run: Run,
        scorer: Scorer,
        maker: FeatureMaker,
        context: ServingContext,
        known: tuple[pd.Series[Any], UserLog],
        ranking: CandidateRanking,
    ) -> None:
        self._run, self._scorer, self._maker, self._context = run, scorer, maker, context
        (self._titles, self._log), self._ranking = known, ranking
        self._users, self._items = pd.Index(maker.events.user_ids), pd.Index(maker.events.item_ids)

    def explore_user(self, user: str, lists: Artifact | None, top: int) -> UserExploration:
        """Return a user's last interactions and recommendations, with an explanation of each recommendation.

        Parameters
        ----------
        lists
            The artifact of the stage `recommend`; None without one.
        top
            Number of features to name for each task.

        Raises
        ------
        ConfigError
            If the id cannot be one of the log's.
        DataError
            If the user has no event.
        ArtifactError
            If the recommendations are damaged.
        """
        person = parse_id(user, self._log.sample, "user")
        code = self._code(person)
        mine = self._log.of_user(code)
        if mine.empty:
            raise self._unknown("user", user)
        offered = _NOTHING if lists is None else _offered(lists, person)
        return UserExploration(
            user_id=person,
            events=len(mine),
            history=tuple(self._shown(event) for event in mine.head(SHOWN_HISTORY).to_dict("records")),
            order=self._order(),
            about_utility=utility_sentence(self._run.scenario, self._scorer.ranker.kind),
            offers=tuple(self._offers(person, offered, top)),
        )

    def _order(self) -> str:
        ranker = self._scorer.ranker
        return order_sentence(self._run.scenario, ranker.kind, ranker.describe().get("weights", {}))

    def _offers(self, person: int | str, offered: pd.DataFrame, top: int) -> Iterator[Offer]:
        items = offered[columns.ITEM].tolist()
        if not items:
            return
        popular = self._ranking.popular(items)
        scores, utilities = (_finite(offered[name]) for name in _FIGURES)
        parts = self._ranking.of_user(self._code(person)).parts
        for rank, explanation in enumerate(self._explain((person, items), top)):
            yield Offer(
                **dict(iter(explanation)),
                rank=rank + 1,
                popular_7d=popular[rank],
                score=scores[rank],
                utility=utilities[rank],
                why=_why(parts, items[rank]),
            )

    def explore_pair(self, user: str, item: str, lists: Artifact | None, top: int) -> PlacedPair:
        """Return the explained predictions for a user and an item, and where the item stands for the user.

        See :func:`mtl_tasks.recommend.explain.explain_pair`.

        Raises
        ------
        ConfigError
            If an id cannot be one of the log's.
        DataError
            If the item has no event.
        """
        person = parse_id(user, self._log.sample, "user")
        wanted = parse_id(item, self._log.events[columns.ITEM], "item")
        if wanted not in self._items:
            raise self._unknown("item", item)
        listed = [] if lists is None else _offered(lists, person)[columns.ITEM].tolist()
        user_candidates = self._ranking.of_user(self._code(person))
        return PlacedPair(
            **dict(iter(self._explain((person, [wanted]), top)[0])),
            order=self._order(),
            about_utility=utility_sentence(self._run.scenario, self._scorer.ranker.kind),
            placement=self._ranking.place(user_candidates, wanted, listed),
        )

    def _explain(self, offers: tuple[int | str, Sequence[int | str]], top: int) -> list[PairExplanation]:
        (person, items), code = offers, self._code(offers[0])
        day, ids = self._run.as_of.day, self._log
        asked = pd.DataFrame(
            {
                columns.USER: pd.Series([person] * len(items), dtype=ids.sample.dtype),
                columns.ITEM: pd.Series(list(items), dtype=ids.events[columns.ITEM].dtype),
            }
        )
        codes = self._items.get_indexer(pd.Index(asked[columns.ITEM])).astype(np.int64)
        rows = IndexedRows(np.full(len(items), code), codes, np.full(len(items), day))
        context = self._context.add(asked)
        features = self._maker.make(with_context(rows, context, self._maker.events, self._run.scenario))
        new_user = self._log.of_user(code).empty
        return explain_features(self._scorer, features, offers, (self._titles, new_user), top)

    def _code(self, person: int | str) -> int:
        """Return the code of a user, or the code for all unknown users."""
        place = int(self._users.get_indexer(pd.Index([person], dtype=self._users.dtype))[0])
        return self._log.nobody if place < 0 else place

    def _shown(self, event: Mapping[Any, Any]) -> PastEvent:
        labels = [task for task in self._run.scenario.tasks if columns.label(task) in event]
        return PastEvent(
            item_id=event[columns.ITEM],
            title=self._titles.get(event[columns.ITEM]) or None,
            at=event[columns.TIME].isoformat(),
            labels={
                task: None if pd.isna(event[columns.label(task)]) else float(event[columns.label(task)])
                for task in labels
            },
        )

    def _unknown(self, kind: str, text: str) -> DataError:
        return without_event(kind, text, self._run.as_of.iso, len(self._log.events))


def without_event(kind: str, text: str, as_of: str, rows: int) -> DataError:
    """Return the error for a user or an item without an event in the rows of a run."""
    return DataError(f"{kind} {text}: no event before {as_of} in the {rows:,} that this run read: check the id")


def _offered(lists: Artifact, person: int | str) -> pd.DataFrame:
    """Return item, score and utility of a user's recommendations, in order; other users' rows are not kept."""
    listed = pd.read_parquet(
        io.BytesIO(lists.read("recommendations.parquet")),
        columns=[columns.RANK, columns.ITEM, *_FIGURES],
        filters=[(columns.USER, "==", person)],
    )
    return listed.sort_values(columns.RANK, ignore_index=True)


def _why(parts: pd.DataFrame, item: int | str) -> str | None:
    """Return the sentence of an item's score; one that is not among today's candidates has none."""
    found = parts[parts.index == item]
    return lift_sentence({str(name): float(value) for name, value in found.iloc[0].items()}) if len(found) else None


def _finite(values: pd.Series[Any]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values.astype(float)]


def _users_without_events(past: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Return rows for the users that only the user table has, and for one unknown user."""
    active = pd.Index(past[columns.USER]).unique()
    silent = pd.Index(tables.users[columns.USER]).unique().difference(active)
    nobody = _unused(active.append(silent))
    others = pd.Series([*silent, nobody], dtype=past[columns.USER].dtype)
    return pd.DataFrame({columns.USER: others, columns.ITEM: past[columns.ITEM].iloc[0]})


def _unused(ids: pd.Index[Any]) -> int | str:
    """Return an id that is not among these: one of the numbers up to their count is free."""
    numbers = pd.Index(np.arange(len(ids) + 1)).astype(ids.dtype)
    unused: int | str = numbers.difference(ids)[0]
    return unused


def explain_pair(store: Store, entry: RunRecord, user: str, item: str, top: int) -> RunExplanation:
    """Return the document of :meth:`PreparedRun.explore_pair`, with the run it is from, for a log of any size."""
    run, inputs = open_models(store, entry)
    return identified(run, entry, explain(run, inputs, (user, item), top))


def identified(run: Run, entry: RunRecord, explanation: PairExplanation) -> RunExplanation:
    """Return an explanation with the run that it is from."""
    return RunExplanation(scenario=run.scenario.name, as_of=run.as_of, run_key=entry.run_key, **dict(iter(explanation)))


def open_models(store: Store, entry: RunRecord) -> tuple[Run, Inputs]:
    """Return a past run and the artifacts that it scores with.

    Raises
    ------
    ConfigError
        If this code can no longer parse the scenario.
    ArtifactError
        If an artifact is missing or damaged.
    """
    needed = [name for name in entry.refs if name == LISTED or is_scoring(name)]
    return rebuild_run(store, entry), Inputs({name: store.open(entry.refs[name]) for name in needed})


def _check_size(run: Run, rows: int) -> None:
    if rows > READABLE_ROWS:
        raise DataError(
            f"the log of this run has {rows:,} rows, more than the {READABLE_ROWS:,} read for a page: ask for a user "
            f"and an item by {PROGRAM} explain {run.scenario.name} --as-of {run.as_of.iso} --user … --item …"
        )
