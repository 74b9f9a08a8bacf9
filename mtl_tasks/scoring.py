"""A trained run, ready to score any (user, item, day): the one way from rows to predictions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns
from mtl_tasks.calibration import logit
from mtl_tasks.candidates import candidate_rows, sorted_codes
from mtl_tasks.errors import ConfigError, nearest
from mtl_tasks.features.build import TASTE, Ground, Spaces, build_features
from mtl_tasks.features.coding import encode
from mtl_tasks.fusion import Fitted, fuse
from mtl_tasks.members import Member
from mtl_tasks.scenario import Scenario

BATCH_USERS: Final = 500  # bounds memory: a batch holds about 250 candidates a user in full width
POPULAR: Final = "popular_7d"
ALS: Final = "als"
UTILITY: Final = "utility"
RARE: Final = 0.2  # pseudo-takes in a week of an item that nobody took; .2 beat 1 on lists of July 2013 (films)


@dataclass(frozen=True)
class Scorer:
    """Factor spaces, fitted members and fusions of one run.

    ``spaces`` must reach the days that are scored.
    """

    scenario: Scenario
    spaces: Spaces
    members: dict[str, Member]
    fusions: dict[str, Fitted]

    def score(self, events: pd.DataFrame, items: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
        """Return a float64 prediction column a task for rows (user, item, day), aligned with them."""
        return self.fuse(build_features(events, items, rows, self.spaces, self.scenario))

    def fuse(self, features: pd.DataFrame) -> pd.DataFrame:
        """Return a float64 prediction column a task for features."""
        by_member = {name: member.predict(features) for name, member in self.members.items()}
        return pd.DataFrame(
            {
                columns.prediction(task): fuse(
                    self.fusions[task], {name: made[task] for name, made in by_member.items()}, settings.kind
                )
                for task, settings in self.scenario.tasks.items()
            }
        )

    def candidates(
        self, events: pd.DataFrame, items: pd.DataFrame, users: NDArray[Any], day: int
    ) -> Iterator[pd.DataFrame]:
        """Score the candidates of some users on a day, a batch of users at a time.

        Yields
        ------
        pandas.DataFrame
            user, item, day, prediction columns, and the scores that lists may be ordered by: ``popular_7d``, ``als``
            and ``utility``.
        """
        past = events[events[columns.DAY] < day]
        coded, _ = encode(past, past.iloc[:0], self.scenario)
        ground = Ground.prepare(coded, items, self.spaces, self.scenario)
        codes = sorted_codes(coded.user_ids, users)
        for batch in np.array_split(codes, max(1, -(-len(codes) // BATCH_USERS))):
            rows = candidate_rows(
                coded, batch, day, ground.fitted[TASTE], ground.multi, self.scenario.recommend.candidates
            )
            features = build_features(past, items, rows, self.spaces, self.scenario)
            scored = pd.concat([rows, self.fuse(features)], axis=1)
            scored[POPULAR] = features["item.count_7d"].to_numpy(dtype=np.float64)
            scored[ALS] = features["taste.dot"].to_numpy(dtype=np.float64)
            scored[UTILITY] = utility(scored, self.scenario)
            yield scored


def utility(scored: pd.DataFrame, scenario: Scenario) -> NDArray[np.float64]:
    """Evaluate the scenario's utility formula, float64 (n,).

    A task enters by its prediction. Where negatives were sampled in proportion to popularity, the prediction is
    relative to popularity, and lists ordered by it would be full of rarities; the odds times the item's number of
    interactions in the last week undo the sampling (the log-Q correction, Yi et al., RecSys 2019).
    """
    values = {}
    takes = scored[POPULAR].to_numpy() + RARE
    for name, task in scenario.tasks.items():
        prediction = scored[columns.prediction(name)]
        if task.sampled and task.negatives is not None:
            values[name] = np.exp(logit(prediction.to_numpy()) + task.negatives.power * np.log(takes))
        else:
            values[name] = prediction.to_numpy()
    check_utility(scenario.recommend.utility, list(values))
    return np.asarray(pd.eval(scenario.recommend.utility, local_dict=values, engine="python"), dtype=np.float64)


def check_utility(formula: str, tasks: list[str]) -> None:
    """Refuse a formula that is not plain arithmetic over task names.

    Raises
    ------
    ConfigError
        Naming what is wrong with it.
    """
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, ast.Constant, ast.operator, ast.unaryop)
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError as error:
        raise ConfigError(f"recommend.utility: {formula!r} is not a formula: {error.msg}") from error
    for node in ast.walk(tree):
        if not isinstance(node, allowed):
            raise ConfigError(f"recommend.utility: {formula!r}: only + - * / ** over task names and numbers is allowed")
        if isinstance(node, ast.Name) and node.id not in tasks:
            raise ConfigError(f"recommend.utility: {formula!r}: unknown task {node.id!r}{nearest(node.id, tasks)}")


def top_lists(scored: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """Return the k best rows of each user by a score (NaN last), best first, with a ``rank`` column from 1.

    Ties are broken by last week's popularity, then by item id, so that a list is a function of its scores.
    """
    by = [columns.USER, score, POPULAR] if score != POPULAR else [columns.USER, POPULAR]
    ascending = [True, *[False] * (len(by) - 1), True]
    ordered = scored.sort_values([*by, columns.ITEM], ascending=ascending, na_position="last", kind="stable")
    best = ordered.groupby(columns.USER, sort=False).head(k).reset_index(drop=True)
    best[columns.RANK] = best.groupby(columns.USER, sort=False).cumcount() + 1
    return best
