"""Explanation of a finished run's predictions for a user and an item."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ConfigError, DataError, quoted
from mtl_tasks.data.attribute_tables import newest
from mtl_tasks.features.builder import Tables
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.store.documents.explanation import (
    Contribution,
    MemberPrediction,
    MemberScore,
    OtherFeatures,
    PairExplanation,
    TaskPrediction,
)


def explain_pair(
    scorer: Scorer, events: pd.DataFrame, tables: Tables, pair: tuple[str, str], day: int, top: int
) -> PairExplanation:
    """Return the predictions for a user and an item as of a day, with their explanation.

    Parameters
    ----------
    pair
        Ids of user and item as text; they are parsed like the log's.
    top
        Number of features to name for each task.

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
) -> list[PairExplanation]:
    """Return the predictions for a user and each of some items as of a day, with their explanation.

    Parameters
    ----------
    past
        The events before the day.
    offers
        The user's id and the items' ids; every item has an event.
    """
    user, offered = offers
    rows = pd.DataFrame(
        {
            columns.USER: pd.Series([user] * len(offered), dtype=past[columns.USER].dtype),
            columns.ITEM: pd.Series(list(offered), dtype=past[columns.ITEM].dtype),
        }
    )
    features = scorer.serving_features(past, tables, rows, day)
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
) -> list[PairExplanation]:
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
        PairExplanation(user_id=user, item_id=item, title=titles.get(item) or None, new_user=new_user, tasks=made)
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


def _tasks(scorer: Scorer, features: pd.DataFrame, top: int) -> list[dict[str, TaskPrediction]]:
    """Return every row's explanations by task."""
    fused = scorer.fuse(features)
    predicted = {name: member.predict(features) for name, member in scorer.members.items()}
    made: list[dict[str, TaskPrediction]] = [{} for _ in range(len(features))]
    for task, settings in scorer.scenario.tasks.items():
        fusion = scorer.fusions[task]
        weights = {name: float(fusion["weights"][name]) for name in scorer.members}
        explained = _explained(scorer, features, task, weights, top)
        for row, parts in enumerate(made):
            parts[task] = TaskPrediction(
                kind=settings.kind,
                prediction=float(fused[columns.prediction(task)].iloc[row]),
                method=fusion["method"],
                calibration=fusion["calibration"]["kind"],
                members=tuple(
                    MemberPrediction(member=name, prediction=float(predicted[name][task][row]), weight=weight)
                    for name, weight in weights.items()
                ),
                explained=explained[row],
            )
    return made


def _explained(
    scorer: Scorer, features: pd.DataFrame, task: str, weights: Mapping[str, float], top: int
) -> list[MemberScore] | list[None]:
    boosted = {name: member for name, member in scorer.members.items() if isinstance(member, BoostedMember)}
    weighing = [name for name in boosted if weights[name] > 0]
    if not weighing:
        return [None] * len(features)
    name = max(weighing, key=lambda one: weights[one])
    member = boosted[name]
    names, task_matrix = member.contribution_names(task), member.task_matrix(features, task)
    declared = (*declared_columns(scorer.scenario), *member.makes(scorer.scenario))
    described = {column.name: column.description for column in declared}
    # A run of an earlier release may have a column that this one does not make: it is shown by its name.
    about, read = (name, scorer.scenario.tasks[task].score_unit), [(n, described.get(n, n)) for n in names]
    made = []
    for row, shares in enumerate(member.contributions(features, task)):
        values = [features[n].iloc[row] if n in features else task_matrix[row][k] for k, n in enumerate(names)]
        made.append(_breakdown(about, shares, values, read, top))
    return made


def _breakdown(
    about: tuple[str, str],
    shares: NDArray[np.float64],
    values: list[Any],
    features: Sequence[tuple[str, str]],
    top: int,
) -> MemberScore:
    """Return the contributions to one prediction.

    ``about`` is the member and the unit; ``shares`` has the contributions of the features, then the base; ``features``
    are names with descriptions.
    """
    member, unit = about
    *parts, base = shares
    order = np.argsort(-np.abs(parts), kind="stable")
    rest = order[top:]
    return MemberScore(
        member=member,
        unit=unit,
        score=float(base + sum(parts)),
        base=float(base),
        contributions=tuple(_contribution(features[k], values[k], parts[k]) for k in order[:top]),
        others=OtherFeatures(features=len(rest), contribution=float(sum(parts[k] for k in rest))),
    )


def _contribution(feature: tuple[str, str], value: Any, part: float) -> Contribution:
    plain = value if isinstance(value, str) or value is None else float(value)
    known = isinstance(plain, str) or (plain is not None and math.isfinite(plain))
    return Contribution(
        feature=feature[0],
        words=f"{feature[1]}: {value_text(plain)}",
        value=plain if known else None,
        contribution=float(part),
    )


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
