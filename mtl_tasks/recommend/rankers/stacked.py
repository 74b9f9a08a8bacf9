"""Softmax over the few scores and LambdaMART's, which learned from earlier days."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.recommend.rankers.base import LabeledLists, Ranker, RankingRows, Values
from mtl_tasks.recommend.rankers.lambdarank import LambdaRanker
from mtl_tasks.recommend.rankers.softmax import fit_weights, score_column, score_names
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json

_FILE: Final = "stacked.json"
_TREES: Final = "lambdarank"


@dataclass(frozen=True)
class StackedRanker(Ranker):
    """A linear score of predictions, popularity, the ALS score and a :class:`LambdaRanker`'s score.

    The trees never saw the lists that the weights are fitted on, nor the members the labels.

    Attributes
    ----------
    weights, standardized, lists
        As of :class:`~mtl_tasks.recommend.rankers.softmax.SoftmaxRanker`.
    """

    kind: ClassVar[str] = "stacked"
    needs_predictions: ClassVar[bool] = True
    trees: LambdaRanker
    weights: dict[str, float]
    standardized: dict[str, float]
    lists: int

    @classmethod
    def fit(cls, labeled: LabeledLists, trees: LambdaRanker, trees_score: Values, scenario: Scenario) -> Self:
        """Fit the weights on lists that each have a relevant candidate.

        Parameters
        ----------
        trees_score
            float64 (n,): the score that ``trees`` gives these lists' rows.
        """
        scores = {name: score_column(labeled.rows, name) for name in score_names(scenario)}
        return cls(trees, *fit_weights({**scores, _TREES: trees_score}, labeled), len(labeled))

    def scores(self, rows: RankingRows) -> Values:
        """See :class:`Ranker`."""
        return self.combined(rows, self.trees.scores(rows))

    def combined(self, rows: RankingRows, trees_score: Values) -> Values:
        """Return the same, given the score of the trees."""
        made = self.weights[_TREES] * trees_score
        for name, weight in self.weights.items():
            if name != _TREES:
                made += weight * score_column(rows, name)
        return made

    def parts(self, rows: RankingRows) -> dict[str, Values]:
        """See :class:`Ranker`."""
        return {
            name: weight * (self.trees.scores(rows) if name == _TREES else score_column(rows, name))
            for name, weight in self.weights.items()
        }

    def with_trees(self, trees: LambdaRanker) -> Self:
        """Return a copy with trees that were fitted on more lists."""
        return replace(self, trees=trees)

    def files(self) -> dict[str, bytes]:
        """See :class:`Ranker`."""
        facts = {"weights": self.weights, "standardized": self.standardized, "lists": self.lists}
        return {_FILE: to_json(facts), **self.trees.files()}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Ranker`."""
        try:
            return cls(LambdaRanker.load(files, scenario), **json.loads(files[_FILE]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{cls.kind}: {_FILE} cannot be read ({error}); run again with --force") from error

    def describe(self) -> dict[str, Any]:
        """See :class:`Ranker`."""
        return {"weights": self.standardized, "lists": self.lists, "trees": self.trees.describe()}
