"""Batch recommendations for every active user, and a sample of users to inspect."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.core.top_lists import SCORE, UTILITY, top_lists
from mtl_tasks.data.attribute_tables import newest
from mtl_tasks.features.builder import Tables
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.recommend.rankers import RankingRows
from mtl_tasks.recommend.scorer import Scorer, ShortlistCheck, in_units
from mtl_tasks.scenario import Scenario

SAMPLE_PEOPLE: Final = 3
SAMPLE_LIST: Final = 5
SAMPLE_HISTORY: Final = 8
KNOWN_ENOUGH: Final = 3  # interactions of a sample user, so that a reader can judge the recommendations


def best_lists(
    scorer: Scorer, events: pd.DataFrame, tables: Tables, day: int, memory: FeatureSnapshot | None = None
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Return the top-k recommendations of every user with an interaction in the last ``active_days``.

    Parameters
    ----------
    memory
        See :meth:`~mtl_tasks.recommend.scorer.Scorer.candidates`.

    Returns
    -------
    tuple
        A frame of user, rank (1 is best), item, title, score, utility, and a prediction column per task, in the units
        of its label; and the :meth:`~mtl_tasks.recommend.scorer.ShortlistCheck.document` of the recommendations.
    """
    settings = scorer.scenario.recommend
    recent = events[events[columns.DAY].between(day - settings.active_days, day - 1)]
    people, parts = recent[columns.USER].unique(), []
    check, tasks = ShortlistCheck(scorer, people), scorer.scenario.tasks
    for rows in scorer.candidates(events, tables, people, day, memory):
        check.add(rows)
        best = RankingRows(top_lists(rows.scored, SCORE, settings.top_k), rows.features)
        parts.append(scorer.completed(best))
    if not parts:
        raise DataError(
            f"recommend: no user was active in the {settings.active_days} days before {day_text(day)}, or all of them "
            f"have taken everything: lengthen recommend.active_days in {scorer.scenario.file}"
        )
    lists = pd.concat(parts, ignore_index=True)
    for name, task in tasks.items():
        lists[columns.prediction(name)] = in_units(lists[columns.prediction(name)].to_numpy(), task)
    titles = newest(tables.items, columns.ITEM, day)[[columns.ITEM, columns.TITLE]]
    titled = lists.merge(titles, on=columns.ITEM, how="left", validate="many_to_one").fillna({columns.TITLE: ""})
    predictions = [columns.prediction(task) for task in tasks]
    kept = [columns.USER, columns.RANK, columns.ITEM, columns.TITLE, SCORE, UTILITY, *predictions]
    return titled[kept].sort_values([columns.USER, columns.RANK], ignore_index=True), check.document()


def sample_people(
    lists: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario
) -> list[dict[str, Any]]:
    """Return users with a short, a medium and a long history: recent interactions and recommendations."""
    taken = events[events[columns.USER].isin(lists[columns.USER])].groupby(columns.USER).size()
    enough = taken[taken >= KNOWN_ENOUGH]
    ordered = (enough if len(enough) >= SAMPLE_PEOPLE else taken).sort_values(kind="stable").index
    inner = np.linspace(0, len(ordered) - 1, SAMPLE_PEOPLE + 2)[1:-1]
    positions = np.arange(len(ordered)) if len(ordered) <= SAMPLE_PEOPLE else np.unique(inner.astype(int))
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
