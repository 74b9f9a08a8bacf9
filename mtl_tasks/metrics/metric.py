"""Definition of a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mtl_tasks.metrics.ranking import Ranking, Values


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, compared and shown.

    Attributes
    ----------
    kind
        Kind of task that it judges; ``lists`` for recommendations, whose metrics come from
        :func:`mtl_tasks.metrics.lists.graded_list_metrics` and its neighbors; ``impressions`` for the order of what
        users were shown, from :class:`mtl_tasks.metrics.grouped.GroupRanking`.
    better
        1 if higher is better, -1 if lower is, 0 if unknown.
    share
        Whether its values are from 0 to 1.
    gain_unit
        Whether a difference of two values has its unit.
    loss
        Loss of each row, of which the metric is the weighted mean.
    root
        Whether it is the square root of that mean.
    ranked
        Function of the ranked rows and their weights, for a metric that is not a mean of losses.
    explanation
        The metric in one sentence, for readers who do not know it.
    """

    name: str
    title: str
    unit: str
    better: Literal[1, -1, 0]
    kind: Literal["regression", "binary", "lists", "impressions", ""] = ""
    share: bool = False
    gain_unit: bool = False
    loss: Callable[[Values, Values], Values] | None = None
    root: bool = False
    ranked: Callable[[Ranking, Values], float] | None = None
    digits: int = 4
    explanation: str = ""

    @property
    def arrow(self) -> str:
        """Direction in which the metric improves."""
        return {1: "↑", -1: "↓"}.get(self.better, "")

    @property
    def heading(self) -> str:
        """Title and direction."""
        return f"{self.title} {self.arrow}".strip()
