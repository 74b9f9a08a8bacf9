"""Batch recommendations for every active user, and a sample of users to inspect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import id_array
from mtl_tasks.core.top_lists import SCORE, UTILITY, top_lists
from mtl_tasks.data.attribute_tables import newest
from mtl_tasks.features.builder import Tables
from mtl_tasks.features.groups.affinity import TASTE
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.recommend.item_facts import ItemFacts, first_event_days
from mtl_tasks.recommend.rankers import RankingRows
from mtl_tasks.recommend.reranking import RerankingCounts, rerank
from mtl_tasks.recommend.scorer import Scorer, to_label_units
from mtl_tasks.scenario import Scenario

SAMPLE_USERS: Final = 3
SAMPLE_LIST: Final = 5
SAMPLE_HISTORY: Final = 8
KNOWN_ENOUGH: Final = 3  # interactions of a sample user, so that a reader can judge the recommendations


@dataclass(frozen=True)
class Recommendations:
    """Top-k recommendations of some users.

    Attributes
    ----------
    lists
        User, rank (1 is best), item, title, score, utility, and a prediction column per task, in the units of its
        label.
    counts
        What the rules of ``recommend.reranking`` did; None without any.
    excluded
        Number of items that the rules exclude.
    """

    lists: pd.DataFrame
    counts: RerankingCounts | None = None
    excluded: int = 0


def active_users(events: pd.DataFrame, scenario: Scenario, day: int) -> NDArray[Any]:
    """Return the ids of the users with an interaction in the last ``recommend.active_days`` before a day."""
    recent = events[events[columns.DAY].between(day - scenario.recommend.active_days, day - 1)]
    return np.asarray(recent[columns.USER].unique())


def recommend_top_k(
    scorer: Scorer,
    events: pd.DataFrame,
    tables: Tables,
    users: NDArray[Any],
    day: int,
    memory: FeatureSnapshot | None = None,
    exclusions: pd.DataFrame | None = None,
    timed: Callable[[Iterator[RankingRows]], Iterator[RankingRows]] = iter,
) -> Recommendations:
    """Return the top-k recommendations of some users; a user who has taken every candidate gets none.

    Parameters
    ----------
    users
        Ids; unknown ones are left out. A user's recommendations do not depend on the others.
    memory
        See :meth:`~mtl_tasks.recommend.scorer.Scorer.candidates`.
    exclusions
        For ``recommend.reranking.exclude_table``; see :func:`~mtl_tasks.data.exclusions.read_exclusions`.
    timed
        Is given the batches of candidates, to note when they come.
    """
    settings, tasks, parts = scorer.scenario.recommend, scorer.scenario.tasks, []
    facts = item_facts(scorer, events, tables, day, exclusions) if settings.reranking.active else None
    counts, excluded = None if facts is None else RerankingCounts(), None if facts is None else facts.excluded_ids
    for rows in timed(scorer.candidates(events, tables, users, day, memory, without=excluded)):
        if facts is None or counts is None:
            best = top_lists(rows.scored, SCORE, settings.top_k)
        else:
            best, changed = rerank(rows.scored, SCORE, settings.top_k, settings.reranking, facts)
            counts += changed
        parts.append(scorer.completed(RankingRows(best, rows.features)))
    predictions = [columns.prediction(task) for task in tasks]
    kept = [columns.USER, columns.RANK, columns.ITEM, columns.TITLE, SCORE, UTILITY, *predictions]
    if not parts:
        return Recommendations(pd.DataFrame(columns=kept), counts, 0 if excluded is None else len(excluded))
    lists = to_label_units(pd.concat(parts, ignore_index=True), tasks)
    titles = newest(tables.items, columns.ITEM, day)[[columns.ITEM, columns.TITLE]]
    titled = lists.merge(titles, on=columns.ITEM, how="left", validate="many_to_one").fillna({columns.TITLE: ""})
    ordered = titled[kept].sort_values([columns.USER, columns.RANK], ignore_index=True)
    return Recommendations(ordered, counts, 0 if excluded is None else len(excluded))


def item_facts(
    scorer: Scorer, events: pd.DataFrame, tables: Tables, day: int, exclusions: pd.DataFrame | None = None
) -> ItemFacts:
    """Return the facts about the items on a day that the rules of ``recommend.reranking`` read.

    Parameters
    ----------
    exclusions
        None: the rule ``exclude_table`` does not apply.
    """
    rules = scorer.scenario.recommend.reranking
    past = events[events[columns.DAY] < day]
    codes, ids = pd.factorize(past[columns.ITEM], sort=True)
    item_ids = id_array(pd.Index(ids))
    rows, fitted = scorer.factor_models[TASTE].at(day, item_ids)
    vectors = np.zeros((len(item_ids), fitted.shape[1]), dtype=np.float32)
    vectors[rows] = fitted
    if exclusions is None:
        rules = rules.model_copy(update={"exclude_table": None})
    first_days = first_event_days(codes.astype(np.int64), past[columns.DAY].to_numpy(), len(item_ids))
    return ItemFacts.of(
        rules,
        scorer.scenario,
        item_ids,
        day,
        table=tables.items,
        vectors=vectors,
        first_days=first_days,
        exclusions=exclusions,
    )


def sample_users(
    lists: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario
) -> list[dict[str, Any]]:
    """Return users with a short, a medium and a long history: recent interactions and recommendations."""
    counts = events[events[columns.USER].isin(lists[columns.USER])].groupby(columns.USER).size()
    enough = counts[counts >= KNOWN_ENOUGH]
    ordered = (enough if len(enough) >= SAMPLE_USERS else counts).sort_values(kind="stable").index
    inner = np.linspace(0, len(ordered) - 1, SAMPLE_USERS + 2)[1:-1]
    positions = np.arange(len(ordered)) if len(ordered) <= SAMPLE_USERS else np.unique(inner.astype(int))
    titles = items.set_index(columns.ITEM)[columns.TITLE]
    return [_person(ordered[int(place)], lists, events, titles, scenario) for place in positions]


def _person(
    user: Any, lists: pd.DataFrame, events: pd.DataFrame, titles: pd.Series, scenario: Scenario
) -> dict[str, Any]:
    mine = events[events[columns.USER] == user].sort_values(columns.TIME, kind="stable")
    history = mine[columns.ITEM].tail(SAMPLE_HISTORY)
    offered = lists[lists[columns.USER] == user].head(SAMPLE_LIST)
    shown = []
    for record in offered.to_dict("records"):
        entry = {task: round(float(record[columns.prediction(task)]), 4) for task in scenario.tasks}
        title = record[columns.TITLE] or str(record[columns.ITEM])
        shown.append({"title": title, **entry, "utility": round(float(record[UTILITY]), 4)})
    named = [titles.get(item) or str(item) for item in history[::-1]]
    return {"user_id": user if isinstance(user, str) else int(user), "history": named, "recommendations": shown}
