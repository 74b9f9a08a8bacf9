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
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, RARE, SCORE, UTILITY, top_lists
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
CHECKED: Final = 200  # users who also get recommendations without the shortlist, to measure its loss
KEPT_ENOUGH: Final = 0.99  # below this share the log warns: recommend.shortlist_factor may be raised
_CHEAP: Final = (columns.USER, columns.ITEM, columns.DAY, POPULAR, POPULAR_1D, ALS)


@dataclass(frozen=True)
class Scorer:
    """Factors, fitted members, fusions and ranker of one run.

    ``spaces`` must extend to the days that are scored. ``towers`` is None if their candidate source is off.
    """

    scenario: Scenario
    spaces: FactorModels
    members: dict[str, Member]
    fusions: dict[str, Fitted]
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
        return self.fuse(build_features(events, tables, rows, self.spaces, self.scenario, memory))

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
            it, NaN for rows on no ranker's shortlist. A score is NaN for rows not on its ranker's shortlist.
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
        maker = FeatureMaker(coded, tables, self.spaces, self.scenario, memory)
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
        return RankingRows(self._joined(rows.scored, self.fuse(rows.features, self._needed)), rows.features)

    def completed(self, rows: RankingRows) -> pd.DataFrame:
        """Return rows with the utility and the predictions of all tasks, as far as they are missing."""
        features = rows.features.loc[rows.scored.index]
        if UTILITY not in rows.scored:  # the ranker needs no predictions
            rows = self.with_utilities(RankingRows(rows.scored, features))
        elif rows.scored[UTILITY].isna().any():  # rules reached beyond the shortlist
            rows = RankingRows(self._filled(rows.scored, features), features)
        missing = [task for task in self.scenario.tasks if columns.prediction(task) not in rows.scored]
        return rows.scored.join(self.fuse(features, missing)) if missing else rows.scored

    def _filled(self, scored: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
        """Fill in utility, predictions and score of the rows that have none."""
        bare = scored[UTILITY].isna()
        predicted = [UTILITY, SCORE, *(columns.prediction(task) for task in self._needed)]
        rows = self.with_utilities(RankingRows(scored[bare].drop(columns=predicted), features[bare.to_numpy()]))
        found = rows.scored.assign(**{SCORE: self.ranker.scores(rows)})
        whole = scored.copy()
        whole.loc[bare, predicted] = found[predicted]
        return whole

    @property
    def _needed(self) -> list[str]:
        return list(self.scenario.formula.tasks)

    def _joined(self, scored: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
        """Add predictions and the utility of some or all of the rows; NaN for the others."""
        made = utility(predictions, scored.loc[predictions.index, POPULAR], self.scenario.utility, self.scenario)
        return scored.join(predictions.assign(**{UTILITY: made}))

    def _ranked(self, rows: RankingRows, rankers: Mapping[str, Ranker]) -> RankingRows:
        """Add each ranker's score."""
        reading = {name: ranker for name, ranker in rankers.items() if ranker.needs_predictions}
        scores = {name: ranker.scores(rows) for name, ranker in rankers.items() if name not in reading}
        if reading and self.scenario.recommend.shortlist is None:
            rows = self.with_utilities(rows)
            scores |= {name: ranker.scores(rows) for name, ranker in reading.items()}
        elif reading:
            rows, shortlists = self._shortlisted(rows, reading)
            scores |= {name: _where(shortlists[name], ranker.scores(rows)) for name, ranker in reading.items()}
        return RankingRows(rows.scored.assign(**{name: scores[name] for name in rankers}), rows.features)

    def _shortlisted(
        self, rows: RankingRows, rankers: Mapping[str, Ranker]
    ) -> tuple[RankingRows, dict[str, NDArray[np.bool_]]]:
        """Add utilities and predictions of each user's most promising candidates only.

        Returns
        -------
        tuple
            The rows, and each ranker's shortlist as a mask of them.
        """
        most, needed, scored = self.scenario.recommend.shortlist, self._needed, rows.scored
        assert most is not None
        # Also if all candidates fit on it: sums in two steps round differently, and a user's recommendations must not
        # depend on how many candidates others in the batch have.
        previews = {name: member.preview(rows.features, asked) for name, member, asked in self._asked(needed)}
        first = {name: preview.predictions for name, preview in previews.items()}
        early = RankingRows(self._joined(scored, self._fused(first, needed, scored.index)), rows.features)
        shortlists = {}
        for name, ranker in rankers.items():
            best = top_lists(scored.assign(**{SCORE: ranker.scores(early)}), SCORE, most).index
            shortlists[name] = np.asarray(scored.index.isin(best))
        best = scored.index[np.any(list(shortlists.values()), axis=0)]
        whole = {name: preview.complete(best.to_numpy()) for name, preview in previews.items()}
        return RankingRows(self._joined(scored, self._fused(whole, needed, best)), rows.features), shortlists


def _where(mask: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mask, values, np.nan)


class ShortlistCheck:
    """Compares the recommendations of some users with and without the shortlist.

    Parameters
    ----------
    users
        Ids of the users to check; if there are many, a sample is drawn.
    """

    def __init__(self, scorer: Scorer, users: NDArray[Any]) -> None:
        self._scorer, self._k = scorer, scorer.scenario.recommend.top_k
        rng = np.random.default_rng(scorer.scenario.seed)
        self._asked = users if len(users) <= CHECKED else rng.choice(users, CHECKED, replace=False)
        self._users, self._listed, self._kept = 0, 0, 0

    def add(self, rows: RankingRows) -> None:
        """Add a batch of scored candidates."""
        few = rows.scored[columns.USER].isin(self._asked).to_numpy()
        if not self._scorer.ranker.needs_predictions or self._scorer.scenario.recommend.shortlist is None:
            return
        if not few.any():
            return
        short, pairs = rows.where(few), []
        plain = RankingRows(short.scored[[*_CHEAP]], short.features)
        complete = self._scorer.ranker.scores(self._scorer.with_utilities(plain))
        for score in (short.scored[SCORE], complete):
            best = top_lists(short.scored.assign(**{SCORE: score}), SCORE, self._k)
            pairs.append(pd.MultiIndex.from_frame(best[[columns.USER, columns.ITEM]]))
        self._users += short.scored[columns.USER].nunique()
        self._listed += len(pairs[1])
        self._kept += int(pairs[1].isin(pairs[0]).sum())

    def document(self) -> dict[str, Any] | None:
        """Return the number of users and the share of their recommendations that was kept; None without a shortlist."""
        if not self._listed:
            return None
        kept = self._kept / self._listed
        say = log.warning if kept < KEPT_ENOUGH else log.info
        say("shortlist: kept %.2f %% of the recommendations of %d users", 100 * kept, self._users)
        return {"people": self._users, "kept": kept}


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


def in_units(prediction: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Return a task's prediction in the units of its label, also if its logarithm was learned."""
    return np.expm1(prediction) if task.scale == "log" else prediction
