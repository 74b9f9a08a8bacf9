"""A trained run that scores any (user, item, day): the only path from rows to predictions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, UTILITY, top_lists
from mtl_tasks.features.builder import FactorModels, FeatureMaker, Tables, build_features
from mtl_tasks.features.interactions import encode, with_context
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.models import Member, Predictions
from mtl_tasks.models.calibration import logit
from mtl_tasks.models.fusion import Fitted, fuse
from mtl_tasks.recommend.candidates import SOURCES, Candidates, sorted_codes
from mtl_tasks.recommend.serving_context import ServingContext
from mtl_tasks.scenario import Formula, Scenario, Task

log = logging.getLogger(__name__)

BATCH_SCORES: Final = 1 << 26  # bounds memory: a candidate source scores every item for each user of the batch
BATCH_USERS: Final = 500  # bounds memory: a batch has about 250 candidates per user with all features
CHECKED: Final = 200  # users who also get recommendations without the shortlist, to measure its loss
KEPT_ENOUGH: Final = 0.99  # below this share the log warns: recommend.shortlist_factor may be raised
RARE: Final = 0.2  # pseudo-interactions per week of an item without any; .2 beat 1 on `movies`, July 2013


@dataclass(frozen=True)
class Scorer:
    """Factors, fitted members and fusions of one run.

    ``spaces`` must extend to the days that are scored.
    """

    scenario: Scenario
    spaces: FactorModels
    members: dict[str, Member]
    fusions: dict[str, Fitted]

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
        self, events: pd.DataFrame, tables: Tables, users: NDArray[Any], day: int, memory: FeatureSnapshot | None = None
    ) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Score the candidates of some users on a day, a batch of users at a time.

        Parameters
        ----------
        memory
            Snapshot from the day or before, of these events and tables; by default everything is counted.

        Yields
        ------
        tuple of pandas.DataFrame
            First, ordered by user: user, item, day, the mask of the ``sources`` that offered the item, the ranking
            scores (``popular_7d``, ``als`` and ``utility``), and the predictions behind the utility; utility and
            predictions are NaN for rows not on the shortlist. Second, the features of the same rows, from which
            :meth:`fuse` predicts the other tasks.
        """
        past = events[events[columns.DAY] < day]
        coded, _ = encode(past, past.iloc[:0], self.scenario)
        maker = FeatureMaker(coded, tables, self.spaces, self.scenario, memory)
        maker.advance(day)
        codes = sorted_codes(coded.user_ids, users)
        candidates = Candidates(maker, day, self.scenario)
        context = ServingContext.of(past, self.scenario, day)
        size = max(1, min(BATCH_USERS, BATCH_SCORES // max(len(coded.item_ids), 1)))
        for batch in np.array_split(codes, max(1, -(-len(codes) // size))):
            rows, sources = candidates.rows(batch)
            if not len(rows):  # no users in the batch, or users who have every item
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
            scored[ALS] = features["taste.dot"].to_numpy(dtype=np.float64)
            yield scored.join(self._shortlisted(scored, features)), features

    def utilities(self, scored: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
        """Return the utility of candidates, and the predictions behind it."""
        return self._with_utility(self.fuse(features, self._needed), scored)

    @property
    def _needed(self) -> list[str]:
        return list(self.scenario.formula.tasks)

    def _with_utility(self, predictions: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
        made = utility(predictions, scored[POPULAR], self.scenario.utility, self.scenario)
        return predictions.assign(**{UTILITY: made})

    def _shortlisted(self, scored: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
        """Return :meth:`utilities` of each user's most promising candidates only."""
        most, needed = self.scenario.recommend.shortlist, self._needed
        if most is None:
            return self.utilities(scored, features)
        # Also if all candidates fit on it: sums in two steps round differently, and a user's recommendations must not
        # depend on how many candidates others in the batch have.
        previews = {name: member.preview(features, asked) for name, member, asked in self._asked(needed)}
        first = {name: preview.predictions for name, preview in previews.items()}
        early = self._with_utility(self._fused(first, needed, scored.index), scored)[UTILITY]
        best = top_lists(scored.assign(**{UTILITY: early}), UTILITY, most).index.sort_values()
        whole = {name: preview.complete(best.to_numpy()) for name, preview in previews.items()}
        return self._with_utility(self._fused(whole, needed, best), scored.loc[best])


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
        self._people, self._listed, self._kept = 0, 0, 0

    def add(self, scored: pd.DataFrame, features: pd.DataFrame) -> None:
        """Add a batch of scored candidates with their features."""
        few = scored[columns.USER].isin(self._asked).to_numpy()
        if self._scorer.scenario.recommend.shortlist is None or not few.any():
            return
        short, pairs = scored[few], []
        for utilities in (short[UTILITY], self._scorer.utilities(short, features[few])[UTILITY]):
            best = top_lists(short.assign(**{UTILITY: utilities}), UTILITY, self._k)
            pairs.append(pd.MultiIndex.from_frame(best[[columns.USER, columns.ITEM]]))
        self._people += short[columns.USER].nunique()
        self._listed += len(pairs[1])
        self._kept += int(pairs[1].isin(pairs[0]).sum())

    def document(self) -> dict[str, Any] | None:
        """Return the number of users and the share of their recommendations that was kept; None without a shortlist."""
        if not self._listed:
            return None
        kept = self._kept / self._listed
        say = log.warning if kept < KEPT_ENOUGH else log.info
        say("shortlist: kept %.2f %% of the recommendations of %d users", 100 * kept, self._people)
        return {"people": self._people, "kept": kept}


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
