"""LambdaMART over all features of the candidates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import lightgbm as lgb
import numpy as np
import pandas as pd

from mtl_tasks.core.categories import concat_rows
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.top_lists import POPULAR, POPULAR_1D
from mtl_tasks.models.boosting.binning import Encoder
from mtl_tasks.models.boosting.compiled import CompiledTrees, TreeRange
from mtl_tasks.models.boosting.trees import digest_of, from_bytes, to_bytes
from mtl_tasks.recommend.rankers.base import LabeledLists, Ranker, RankingRows, Values
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json

ROUNDS: Final = 300
PATIENCE: Final = 30
_MODEL, _FACTS = "lambdarank.lightgbm.txt", "lambdarank.json"


@dataclass(frozen=True)
class LambdaRanker(Ranker):
    """LightGBM's ``lambdarank`` (Burges, MSR-TR-2010-82) over all features and the popularity of two spans.

    It reads no prediction: on the days that it learns from, the members have seen the labels.

    Attributes
    ----------
    rounds
        Trees, chosen by NDCG at ``top_k`` on a day after those it was first fitted on.
    lists
        Number of lists that it was fitted on.
    """

    kind: ClassVar[str] = "lambdarank"
    booster: lgb.Booster
    encoder: Encoder
    rounds: int
    lists: int
    threads: int

    @classmethod
    def fit(cls, train: Sequence[LabeledLists], tune: LabeledLists | None, scenario: Scenario, rounds: int = 0) -> Self:
        """Fit on lists that each have a relevant candidate.

        Parameters
        ----------
        train
            The lists of each day.
        tune
            Lists of a later day, for early stopping; None if ``rounds`` is given.
        """
        features = concat_rows([_with_popularity(day.rows) for day in train])
        encoder, levels = Encoder.learn(features), _gain_levels(train)
        data = _dataset(encoder, features, train, levels, None)
        del features
        settings = scenario.boosting
        parameters = {
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": [scenario.recommend.top_k],
            "lambdarank_truncation_level": scenario.recommend.top_k + 5,
            "label_gain": levels.tolist(),
            "learning_rate": settings.learning_rate,
            "num_leaves": min(settings.num_leaves, 31),
            "min_data_in_leaf": max(settings.min_data_in_leaf, 100),
            "feature_fraction": settings.feature_fraction,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": settings.lambda_l2,
            "num_threads": settings.threads,
            "seed": scenario.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        if tune is None:
            return cls(lgb.train(parameters, data, rounds), encoder, rounds, sum(map(len, train)), settings.threads)
        held = _dataset(encoder, _with_popularity(tune.rows), [tune], levels, data)
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        booster = lgb.train(parameters, data, ROUNDS, valid_sets=[held], callbacks=[stop])
        rounds = booster.best_iteration
        return cls(booster, encoder, rounds, sum(map(len, train)), settings.threads)

    def scores(self, rows: RankingRows) -> Values:
        """See :class:`Ranker`."""
        matrix = self.encoder.matrix(_with_popularity(rows))
        return self._trees.scores(matrix, self.threads)[:, 0]

    @cached_property
    def _trees(self) -> CompiledTrees:
        return CompiledTrees([TreeRange(self.booster, 0, self.rounds)], self.kind)

    def files(self) -> dict[str, bytes]:
        """See :class:`Ranker`."""
        model = to_bytes(self.booster)
        facts = {"encoder": asdict(self.encoder), "rounds": self.rounds, "lists": self.lists}
        return {_MODEL: model, _FACTS: to_json({**facts, "sha256": digest_of(model)})}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Ranker`."""
        try:
            facts = json.loads(files[_FACTS])
            booster = from_bytes(files[_MODEL], _MODEL, facts["sha256"])
            encoder = Encoder(**facts["encoder"])
            return cls(booster, encoder, facts["rounds"], facts["lists"], scenario.boosting.threads)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{cls.kind}: {_FACTS} cannot be read ({error}); run again with --force") from error

    def describe(self) -> dict[str, Any]:
        """See :class:`Ranker`."""
        gain = self.booster.feature_importance("gain")
        share, names = gain / max(gain.sum(), 1e-12), self.booster.feature_name()
        top = [[names[place], round(float(share[place]), 6)] for place in np.argsort(-share, kind="stable")[:30]]
        return {"rounds": self.rounds, "lists": self.lists, "importance": top}


_LEVELS: Final = 31  # distinct grades of LightGBM's labels


def _gain_levels(days: Sequence[LabeledLists]) -> Values:
    """Return the gain of each grade, ascending from 0; if there are too many distinct gains, quantiles of them."""
    found = np.unique(np.concatenate([day.gain for day in days])).astype(np.float64)
    if len(found) > _LEVELS:
        found = np.unique(np.quantile(found, np.linspace(0, 1, _LEVELS)))
    return found


def _with_popularity(rows: RankingRows) -> pd.DataFrame:
    scores = {name: rows.scored[name].to_numpy(dtype=np.float32) for name in (POPULAR, POPULAR_1D)}
    return pd.concat([pd.DataFrame(scores, index=rows.features.index), rows.features], axis=1)


def _dataset(
    encoder: Encoder,
    features: pd.DataFrame,
    days: Sequence[LabeledLists],
    levels: Values,
    reference: lgb.Dataset | None,
) -> lgb.Dataset:
    data = encoder.binned(features, "cpu", reference)
    between = (levels[1:] + levels[:-1]) / 2
    data.set_label(np.searchsorted(between, np.concatenate([day.gain for day in days]), side="left"))
    data.set_group(np.concatenate([np.bincount(day.lists) for day in days]))
    return data
