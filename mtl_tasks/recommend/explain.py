"""Explanation of a finished run's predictions for a user and an item."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ConfigError, DataError, quoted
from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.data.attribute_tables import newest
from mtl_tasks.features.builder import Tables, build_features
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.serving_context import ServingContext

Json = dict[str, Any]


def explain_pair(
    scorer: Scorer, events: pd.DataFrame, tables: Tables, pair: tuple[str, str], day: int, top: int
) -> Json:
    """Return the predictions for a user and an item as of a day, with their explanation.

    Parameters
    ----------
    pair
        Ids of user and item as text; they are parsed like the log's.
    top
        Number of features to name for each task.

    Returns
    -------
    dict
        One entry of :func:`explain_items`.

    Raises
    ------
    ConfigError
        If an id cannot be one of the log's.
    DataError
        If the item has no event before the day.
    """
    past = events[events[columns.DAY] < day]
    user = parse_id(pair[0], past[columns.USER], "--user")
    item = parse_id(pair[1], past[columns.ITEM], "--item")
    if not (past[columns.ITEM] == item).any():
        raise DataError(
            f"--item {pair[1]}: no event before {day_text(day)} in the {len(past):,} that {scorer.scenario.name!r} "
            "may read: check the id, or choose a later --as-of"
        )
    return explain_items(scorer, past, tables, (user, [item]), day, top)[0]


def explain_items(
    scorer: Scorer,
    past: pd.DataFrame,
    tables: Tables,
    offers: tuple[int | str, Sequence[int | str]],
    day: int,
    top: int,
) -> list[Json]:
    """Return the predictions for a user and each of some items as of a day, with their explanation.

    Parameters
    ----------
    past
        The events before the day.
    offers
        The user's id and the items' ids; every item has an event.

    Returns
    -------
    list of dict
        ``user_id``, ``item_id``, ``title`` (None without one), ``new_user``, and by task under ``tasks``: ``kind``, the
        fused ``prediction`` with its ``method`` and ``calibration``, ``members`` with their own prediction and their
        weight in the fusion, and ``explained``: the boosted member with the largest weight and the features that moved
        its prediction most (None if none has any weight).
    """
    user, offered = offers
    rows = pd.DataFrame(
        {
            columns.USER: pd.Series([user] * len(offered), dtype=past[columns.USER].dtype),
            columns.ITEM: pd.Series(list(offered), dtype=past[columns.ITEM].dtype),
            columns.DAY: pd.Series([day] * len(offered), dtype=past[columns.DAY].dtype),
        }
    )
    rows = ServingContext.of(past, scorer.scenario, day).add(rows)
    features = build_features(past, tables, rows, scorer.spaces, scorer.scenario)
    new_user = not (past[columns.USER] == user).any()
    return explain_features(scorer, features, offers, (titles_of(tables, day), new_user), top)


def titles_of(tables: Tables, day: int) -> pd.Series[Any]:
    """Return item titles as known before a day, by item id."""
    return newest(tables.items, columns.ITEM, day).set_index(columns.ITEM)[columns.TITLE]


def explain_features(
    scorer: Scorer,
    features: pd.DataFrame,
    offers: tuple[int | str, Sequence[int | str]],
    known: tuple[pd.Series[Any], bool],
    top: int,
) -> list[Json]:
    """Return the result of :func:`explain_items` from existing features.

    Parameters
    ----------
    features
        A row for each item of ``offers``, in their order.
    known
        The titles from :func:`titles_of`, and whether the user is new.
    """
    (user, offered), (titles, new_user) = offers, known
    tasks = _tasks(scorer, features, top)
    return [
        {"user_id": user, "item_id": item, "title": titles.get(item) or None, "new_user": new_user, "tasks": made}
        for item, made in zip(offered, tasks, strict=True)
    ]


def parse_id(text: str, ids: pd.Series[Any], option: str) -> int | str:
    """Parse an id like the log's.

    Raises
    ------
    ConfigError
        If the log's ids are whole numbers and it is not; the message starts with ``option``.
    """
    if pd.api.types.is_string_dtype(ids.dtype):
        return text
    if not (re.fullmatch(r"[+-]?\d{1,19}", text) and -(2**63) <= int(text) < 2**63):
        example = quoted(f", such as {ids.iloc[-1]}")
        raise ConfigError(f"{option} {text!r}: ids of this log are whole numbers{example}")
    return int(text)


def _tasks(scorer: Scorer, features: pd.DataFrame, top: int) -> list[Json]:
    """Return the ``tasks`` part of every row's explanation."""
    fused = scorer.fuse(features)
    predicted = {name: member.predict(features) for name, member in scorer.members.items()}
    made: list[Json] = [{} for _ in range(len(features))]
    for task, settings in scorer.scenario.tasks.items():
        fusion = scorer.fusions[task]
        weights = {name: float(fusion["weights"][name]) for name in scorer.members}
        explained = _explained(scorer, features, task, weights, top)
        for row, parts in enumerate(made):
            parts[task] = {
                "kind": settings.kind,
                "prediction": float(fused[columns.prediction(task)].iloc[row]),
                "method": fusion["method"],
                "calibration": fusion["calibration"]["kind"],
                "members": [
                    {"member": name, "prediction": float(predicted[name][task][row]), "weight": weight}
                    for name, weight in weights.items()
                ],
                "explained": explained[row],
            }
    return made


def _explained(
    scorer: Scorer, features: pd.DataFrame, task: str, weights: dict[str, float], top: int
) -> list[Json] | list[None]:
    boosted = {name: member for name, member in scorer.members.items() if isinstance(member, BoostedMember)}
    weighing = [name for name in boosted if weights[name] > 0]
    if not weighing:
        return [None] * len(features)
    name = max(weighing, key=lambda one: weights[one])
    member = boosted[name]
    names, task_matrix = member.contribution_names(task), member.task_matrix(features, task)
    declared = (*declared_columns(scorer.scenario), *member.makes(scorer.scenario))
    described = {column.name: column for column in declared}
    return [
        {"member": name, "unit": scorer.scenario.tasks[task].score_unit}
        | _moved(
            parts,
            [features[n].iloc[row] if n in features else task_matrix[row][k] for k, n in enumerate(names)],
            [described[name] for name in names],
            top,
        )
        for row, parts in enumerate(member.contributions(features, task))
    ]


def _moved(shares: NDArray[np.float64], values: list[Any], features: Sequence[FeatureColumn], top: int) -> Json:
    """Return the contributions to one prediction; ``shares`` has those of the features, then the base."""
    *parts, base = shares
    order = np.argsort(-np.abs(parts), kind="stable")
    return {
        "score": float(base + sum(parts)),
        "base": float(base),
        "contributions": [_contribution(features[k], values[k], parts[k]) for k in order[:top]],
        "others": {"features": len(order[top:]), "contribution": float(sum(parts[k] for k in order[top:]))},
    }


def _contribution(feature: FeatureColumn, value: Any, part: float) -> Json:
    plain = value if isinstance(value, str) or value is None else float(value)
    known = isinstance(plain, str) or (plain is not None and math.isfinite(plain))
    return {
        "feature": feature.name,
        "words": f"{feature.description}: {value_text(plain)}",
        "value": plain if known else None,
        "contribution": float(part),
    }


def value_text(value: object) -> str:
    """Format a feature's value: whole numbers without decimals, others with three significant digits.

    >>> value_text(31.0), value_text(0.12345), value_text(float("nan")), value_text("web")
    ('31', '0.123', 'unknown', 'web')
    """
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "unknown"
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"
