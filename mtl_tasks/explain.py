"""Why a finished run predicts what it predicts for one user and one item."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from mtl_tasks import columns
from mtl_tasks.errors import ConfigError, DataError
from mtl_tasks.features.build import Tables, build_features
from mtl_tasks.features.words import value_text, words
from mtl_tasks.members.boosted import BoostedMember
from mtl_tasks.report.labels import SCORE_UNITS
from mtl_tasks.scoring import Scorer
from mtl_tasks.serving import ServedContext
from mtl_tasks.splits import day_text
from mtl_tasks.tables import newest

Json = dict[str, Any]


def explain_pair(
    scorer: Scorer, events: pd.DataFrame, tables: Tables, pair: tuple[str, str], day: int, top: int
) -> Json:
    """Return what is predicted for a user and an item as of a day, and what led to it.

    Parameters
    ----------
    pair
        Ids of user and item as text; they are read like the log's.
    top
        How many features to name for each task.

    Returns
    -------
    dict
        ``user_id``, ``item_id``, ``title`` (null without one), ``new_user``, and by task under ``tasks``: ``kind``, the
        fused ``prediction`` with its ``method`` and ``calibration``, ``members`` with their own prediction and their
        weight in the fusion, and ``explained``: the boosted member of the largest weight with the features that moved
        its prediction most (null if none has any weight).

    Raises
    ------
    ConfigError
        If an id cannot be one of the log's.
    DataError
        If the item has no event before the day.
    """
    past = events[events[columns.DAY] < day]
    user = _parse_id(pair[0], past[columns.USER], "--user")
    item = _parse_id(pair[1], past[columns.ITEM], "--item")
    if not (past[columns.ITEM] == item).any():
        raise DataError(
            f"--item {pair[1]}: no event before {day_text(day)} in the {len(past):,} that {scorer.scenario.name!r} "
            "may read: check the id, or choose a later --as-of"
        )
    rows = pd.DataFrame(
        {
            columns.USER: pd.Series([user], dtype=past[columns.USER].dtype),
            columns.ITEM: pd.Series([item], dtype=past[columns.ITEM].dtype),
            columns.DAY: pd.Series([day], dtype=past[columns.DAY].dtype),
        }
    )
    rows = ServedContext.of(past, scorer.scenario, day).add(rows)
    features = build_features(past, tables, rows, scorer.spaces, scorer.scenario)
    items = newest(tables.items, columns.ITEM, day)
    titles = items.loc[items[columns.ITEM] == item, columns.TITLE]
    return {
        "user_id": user,
        "item_id": item,
        "title": (titles.iloc[0] or None) if len(titles) else None,
        "new_user": not (past[columns.USER] == user).any(),
        "tasks": _tasks(scorer, features, top),
    }


def _parse_id(text: str, ids: pd.Series[Any], option: str) -> int | str:
    if pd.api.types.is_string_dtype(ids.dtype):
        return text
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise ConfigError(f"{option} {text!r}: ids of this log are whole numbers, such as {ids.iloc[-1]}")
    return int(text)


def _tasks(scorer: Scorer, features: pd.DataFrame, top: int) -> Json:
    fused = scorer.fuse(features)
    predicted = {name: member.predict(features) for name, member in scorer.members.items()}
    made = {}
    for task, settings in scorer.scenario.tasks.items():
        fusion = scorer.fusions[task]
        weights = {name: float(fusion["weights"][name]) for name in scorer.members}
        made[task] = {
            "kind": settings.kind,
            "prediction": float(fused[columns.prediction(task)].iloc[0]),
            "method": fusion["method"],
            "calibration": fusion["calibration"]["kind"],
            "members": [
                {"member": name, "prediction": float(predicted[name][task][0]), "weight": weight}
                for name, weight in weights.items()
            ],
            "explained": _explained(scorer, features, task, weights, top),
        }
    return made


def _explained(scorer: Scorer, features: pd.DataFrame, task: str, weights: dict[str, float], top: int) -> Json | None:
    boosted = {name: member for name, member in scorer.members.items() if isinstance(member, BoostedMember)}
    weighing = [name for name in boosted if weights[name] > 0]
    if not weighing:
        return None
    name = max(weighing, key=lambda one: weights[one])
    member = boosted[name]
    *parts, base = member.contributions(features, task)[0]
    names, told = member.contribution_names(task), member.told(features, task)[0]
    order = np.argsort(-np.abs(parts), kind="stable")
    return {
        "member": name,
        "unit": SCORE_UNITS[scorer.scenario.tasks[task].kind],
        "score": float(base + sum(parts)),
        "base": float(base),
        "contributions": [
            _contribution(names[k], features[names[k]].iloc[0] if names[k] in features else told[k], parts[k])
            for k in order[:top]
        ],
        "others": {"features": len(order[top:]), "contribution": float(sum(parts[k] for k in order[top:]))},
    }


def _contribution(name: str, value: Any, part: float) -> Json:
    plain = value if isinstance(value, str) or value is None else float(value)
    known = isinstance(plain, str) or (plain is not None and math.isfinite(plain))
    return {
        "feature": name,
        "words": f"{words(name)}: {value_text(plain)}",
        "value": plain if known else None,
        "contribution": float(part),
    }
