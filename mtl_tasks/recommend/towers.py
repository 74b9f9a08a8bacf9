"""Inputs of the two towers from a log and its attribute tables, and their training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError
from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.builder import FactorModels, FeatureMaker, Tables
from mtl_tasks.features.groups.content import ItemContent
from mtl_tasks.features.interactions import Codes, encode
from mtl_tasks.features.running_sums import expand
from mtl_tasks.features.user_history import UserHistory
from mtl_tasks.models.deep.two_tower import LAST, Described, TwoTower
from mtl_tasks.models.deep.two_tower_training import TowerData, fit_two_tower
from mtl_tasks.scenario import Scenario

MOST: Final = 200_000  # newest positive interactions that are learned from


def fit_towers(
    events: pd.DataFrame, tables: Tables, factor_models: FactorModels, scenario: Scenario, day: int
) -> TwoTower:
    """Train two towers on the positive interactions before a day.

    Raises
    ------
    DataError
        If there is none.
    ConfigError
        If JAX is missing, or the training fails.
    """
    past = events[events[columns.DAY] < day]
    coded, _ = encode(past, past.iloc[:0], scenario)
    maker = FeatureMaker(coded, tables, factor_models, scenario)
    data, settings = tower_data(maker, day), scenario.recommend.two_tower
    if not len(data.items):
        raise DataError(
            "recommend.sources.two_tower: there is no positive interaction to learn from before the first list: set "
            f"the size to 0 in {scenario.file}, or choose a later as_of"
        )
    return fit_two_tower(data, settings.dimensions, settings.epochs, settings.learning_rate, scenario.seed)


def tower_data(maker: FeatureMaker, day: int) -> TowerData:
    """Return the newest positive interactions before a day, and what is known of users and items on it."""
    positives = maker.positives.before(day)
    newest = slice(max(len(positives.days) - MOST, 0), None)
    users, items, days = positives.users[newest], positives.items[newest], positives.days[newest]
    return TowerData(
        maker.events.item_ids,
        users,
        items,
        last_items(history_of(maker), users, days),
        about_items(maker, day),
        about_users(maker, day),
        day,
    )


def history_of(maker: FeatureMaker) -> UserHistory:
    """Return each user's positive interactions."""
    positives = maker.positives
    return UserHistory.of(positives.users, positives.items, positives.days, positives.items, len(positives.user_ids))


def last_items(past: UserHistory, users: Codes, days: Codes) -> NDArray[np.int64]:
    """Return the last items that a user took before a day, int64 (len(users), ``LAST``), -1 where there are fewer."""
    starts, ends = past.before(users, days)
    starts = np.maximum(starts, ends - LAST)
    owner, position = expand(starts, ends)
    made = np.full((len(users), LAST), -1, dtype=np.int64)
    made[owner, position - starts[owner]] = past.items[position]
    return made


def about_items(maker: FeatureMaker, day: int) -> Described:
    """Return the items' attributes, texts and given vectors as known before a day."""
    return _described(maker.about_items, len(maker.events.item_ids), day, maker.contents)


def about_users(maker: FeatureMaker, day: int) -> Described:
    """Return the users' attributes as known before a day."""
    return _described(maker.user_attributes, len(maker.events.user_ids), day, ())


def _described(about: AttributeLookup, count: int, day: int, contents: Sequence[ItemContent]) -> Described:
    codes, days = np.arange(count), np.full(count, day)
    labels, blocks = list[str](), list[sparse.csr_matrix]()
    for name in about.numeric:
        values = about.numeric[name][about.versions.at(codes, days)]
        known = np.flatnonzero(np.isfinite(values))
        blocks.append(_block(values[known], known, np.zeros(len(known), dtype=np.int64), (count, 1)))
        labels.append(f"number:{name}")
    for attribute in about.listed:
        owner, value = attribute.of(codes, days)
        several = np.bincount(owner, minlength=count)
        blocks.append(_block(1.0 / np.sqrt(several[owner]), owner, value, (count, attribute.size)))
        labels += [f"value:{attribute.name}={label}" for label in attribute.labels]
    for content in contents:
        vectors = content.vectors_at(day)
        blocks.append(sparse.csr_matrix(vectors))
        labels += [f"{content.name}:{axis}" for axis in range(vectors.shape[1])]
    nothing = sparse.csr_matrix(np.zeros((count, 0), dtype=np.float32))
    return Described(labels, sparse.csr_matrix(sparse.hstack([nothing, *blocks])))


def _block(values: NDArray[np.float64], rows: Codes, places: Codes, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((values.astype(np.float32), (rows, places)), shape=shape)
