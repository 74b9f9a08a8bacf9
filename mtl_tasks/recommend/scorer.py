"""A trained run that scores any (user, item, day): the only path from rows to predictions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, RARE, SCORE, UTILITY
from mtl_tasks.features.builder import FactorModels, FeatureMaker, Tables, build_features
from mtl_tasks.features.interactions import encode, with_context
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.models import Member, Predictions
from mtl_tasks.models.calibration import logit
from mtl_tasks.models.deep.two_tower import TwoTower
from mtl_tasks.models.fusion import Fitted, fuse
from mtl_tasks.recommend.candidates import SOURCES, Candidates, sorted_codes
from mtl_tasks.recommend.rankers import Ranker, RankingRows, UtilityRanker
from mtl_tasks.recommend.serving_context import ServingContext
from mtl_tasks.scenario import Formula, Scenario, Task

log = logging.getLogger(__name__)

BATCH_SCORES: Final = 1 << 26  # bounds memory: a candidate source scores every item for each user of the batch
BATCH_USERS: Final = 500  # bounds memory: a batch has about 250 candidates per user with all features


@dataclass(frozen=True)
class Scorer:
    """Factors, fitted members, fusions and ranker of one run.

    ``factor_models`` must extend to the days that are scored. ``towers`` is None if their candidate source is off.
    """

    scenario: Scenario
    factor_models: FactorModels
    members: dict[str, Member]
    fusions: Mapping[str, Fitted]
    ranker: Ranker = field(default_factory=UtilityRanker)
    towers: TwoTower | None = None

    def score(
        self, events: pd.DataFrame, tables: Tables, rows: pd.DataFrame, memory: FeatureSnapshot | None = None
    ) -> pd.DataFrame:
        """Return a float64 prediction column per task for rows (user, item, day), aligned with them.

        Parameters
        ----------
        memory
            See :func:`~mtl_tasks.features.build_features`.
        """
        return self.fuse(build_features(events, tables, rows, self.factor_models, self.scenario, memory))

    def serving_features(
        self, past: pd.DataFrame, tables: Tables, rows: pd.DataFrame, day: int, memory: FeatureSnapshot | None = None
    ) -> pd.DataFrame:
        """Return the features of rows (user, item) on a day, in the context of recommendations.

        Parameters
        ----------
        past
            The events before the day.
        memory
            See :func:`~mtl_tasks.features.build_features`.
        """
        served = ServingContext.of(past, self.scenario, day).add(rows.assign(**{columns.DAY: np.int32(day)}))
        return build_features(past, tables, served, self.factor_models, self.scenario, memory)

    def fuse(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> pd.DataFrame:
        """Return a float64 prediction column for each of the given tasks (by default all) for features."""
        wanted = list(self.scenario.tasks if tasks is None else tasks)
        made = {name: member.predict(features, asked) for name, member, asked in self._asked(wanted)}
        return self._fused(made, wanted, features.index)

    def _asked(self, tasks: list[str]) -> Iterator[tuple[str, Member, list[str]]]:
        """Yield members with the tasks they must predict: those in whose fusion they have weight."""
        for name, member in self.members.items():
            weighing = [task for task in tasks if self.fusions[task]["weights"][name] > 0]
            if weighing:
                yield name, member, weighing

    def _fused(self, made: dict[str, Predictions], tasks: list[str], index: pd.Index[Any]) -> pd.DataFrame:
        """Fuse the members' predictions."""
        nothing = np.zeros(len(index))
        return pd.DataFrame(
            {
                columns.prediction(task): fuse(
                    self.fusions[task],
                    {name: made.get(name, {}).get(task, nothing) for name in self.members},
                    self.scenario.tasks[task].kind,
                )
                for task in tasks
            },
            index=index,
        )

    def candidates(
        self,
        events: pd.DataFrame,
        tables: Tables,
        users: NDArray[Any],
        day: int,
        memory: FeatureSnapshot | None = None,
        beside: Mapping[str, Ranker] | None = None,
        without: NDArray[Any] | None = None,
    ) -> Iterator[RankingRows]:
        """Score the candidates of some users on a day, a batch of users at a time.

        Parameters
        ----------
        memory
            Snapshot from the day or before, of these events and tables; by default everything is counted.
        beside
            Column name to a further ranker that scores the candidates too.
        without
            Ids of items that are no candidates.

        Yields
        ------
        RankingRows
            ``score`` is the ranker's. If a ranker needs predictions, there are the utility and the predictions behind
            it.
        """
        rankers = {SCORE: self.ranker, **(beside or {})}
        for rows in self.unranked(events, tables, {day: users}, memory, without):
            yield self._ranked(rows, rankers)

    def unranked(
        self,
        events: pd.DataFrame,
        tables: Tables,
        users: Mapping[int, NDArray[Any]],
        memory: FeatureSnapshot | None = None,
        without: NDArray[Any] | None = None,
    ) -> Iterator[RankingRows]:
        """Make the candidates of some users on each of some days, a batch of users at a time, without predictions.

        Parameters
        ----------
        users
            Day to the ids of its users; unknown ones are left out.
        memory
            Snapshot from the first day or before.
        without
            Ids of items that are no candidates.
        """
        past = events[events[columns.DAY] < max(users)]
        coded, _ = encode(past, past.iloc[:0], self.scenario)
        maker = FeatureMaker(coded, tables, self.factor_models, self.scenario, memory)
        allowed = np.ones(len(coded.item_ids), dtype=np.bool_)
        if without is not None:
            allowed[sorted_codes(coded.item_ids, without)] = False
        for day in sorted(users):
            maker.advance(day)
            yield from self._batches(past[past[columns.DAY] < day], maker, allowed, users[day], day)

    def _batches(
        self, past: pd.DataFrame, maker: FeatureMaker, allowed: NDArray[np.bool_], users: NDArray[Any], day: int
    ) -> Iterator[RankingRows]:
        coded = maker.events
        codes = sorted_codes(coded.user_ids, users)
        candidates = Candidates(maker, day, self.scenario, self.towers)
        context = ServingContext.of(past, self.scenario, day)
        size = max(1, min(BATCH_USERS, BATCH_SCORES // max(len(coded.item_ids), 1)))
        for batch in np.array_split(codes, max(1, -(-len(codes) // size))):
            rows, sources = candidates.rows(batch)
            kept = np.flatnonzero(allowed[rows.items])
            rows, sources = rows.at(kept), sources[kept]
            if not len(rows):  # no users in the batch, or users who have every item that is left
                continue
            scored = pd.DataFrame(
                {
                    columns.USER: coded.user_ids[rows.users],
                    columns.ITEM: coded.item_ids[rows.items],
                    columns.DAY: np.int32(day),
                }
            )
            features = maker.make(with_context(rows, context.add(scored), coded, self.scenario))
            scored[SOURCES] = sources
            scored[POPULAR] = candidates.last_week[rows.items].astype(np.float64)
            scored[POPULAR_1D] = candidates.last_day[rows.items].astype(np.float64)
            scored[ALS] = features["taste.dot"].to_numpy(dtype=np.float64)
            yield RankingRows(scored, features)

    def with_utilities(self, rows: RankingRows) -> RankingRows:
        """Add the utility of candidates, and the predictions behind it."""
        predictions = self.fuse(rows.features, list(self.scenario.formula.tasks))
        utilities = utility(predictions, rows.scored[POPULAR], self.scenario.utility, self.scenario)
        return RankingRows(rows.scored.join(predictions.assign(**{UTILITY: utilities})), rows.features)

    def completed(self, rows: RankingRows) -> pd.DataFrame:
        """Return rows with the utility and the predictions of all tasks, as far as they are missing."""
        features = rows.features.loc[rows.scored.index]
        if UTILITY not in rows.scored:  # the ranker needs no predictions
            rows = self.with_utilities(RankingRows(rows.scored, features))
        missing = [task for task in self.scenario.tasks if columns.prediction(task) not in rows.scored]
        return rows.scored.join(self.fuse(features, missing)) if missing else rows.scored

    def _ranked(self, rows: RankingRows, rankers: Mapping[str, Ranker]) -> RankingRows:
        """Add each ranker's score."""
        if any(ranker.needs_predictions for ranker in rankers.values()):
            rows = self.with_utilities(rows)
        scores = {name: ranker.scores(rows) for name, ranker in rankers.items()}
        return RankingRows(rows.scored.assign(**scores), rows.features)


def utility(
    predictions: pd.DataFrame, taken_7d: pd.Series[float], formula: str, scenario: Scenario
) -> NDArray[np.float64]:
    """Evaluate the scenario's utility formula, float64 (n,).

    A task's value is its prediction, in the units of its label. If negatives were sampled in proportion to popularity,
    the prediction is relative to popularity, and ranking by it would favor rare items. The odds times the item's number
    of interactions in the last week undo the sampling (the log-Q correction, Yi et al., RecSys 2019).
    """
    parsed, values = Formula.parse(formula, list(scenario.tasks)), {}
    for name in parsed.tasks:
        prediction = predictions[columns.prediction(name)].to_numpy()
        negatives = scenario.tasks[name].negatives
        if negatives is not None and negatives.how == "sampled":
            takes = np.log(taken_7d.to_numpy() + RARE)
            values[name] = np.exp(logit(prediction) + negatives.power * takes)
        else:
            values[name] = in_units(prediction, scenario.tasks[name])
    return np.asarray(parsed.evaluate(values), dtype=np.float64)


def to_label_units(predictions: pd.DataFrame, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Return a frame whose prediction columns are in the units of the labels."""
    names = {columns.prediction(name): task for name, task in tasks.items()}
    return predictions.assign(**{name: in_units(predictions[name].to_numpy(), task) for name, task in names.items()})


def in_units(prediction: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Return a task's prediction in the units of its label, also if its logarithm was learned."""
    return np.expm1(prediction) if task.scale == "log" else prediction
