"""The section `compression`: the finished run that a run is a smaller model of, and the size of the distilled trees."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mtl_tasks.scenario.base import Model, Whole
from mtl_tasks.scenario.members import Boosting, Rate

RUN_KEY: Final = r"^[0-9a-f]{64}$"

RunKey = Annotated[str, Field(pattern=RUN_KEY)]


class Compression(Model):
    """A smaller model of a finished run, which `mtl compress` chooses."""

    teacher: RunKey | None = Field(
        default=None,
        description="key of a promoted run of the same day, in full: the gate's rules against the champion then "
        "compare with this run, and the member `distilled` learns from its predictions; null: the run compresses none",
    )
    rounds: Whole = Field(default=40, ge=1, le=100_000, description="`distilled`: maximum boosting rounds of a task")
    learning_rate: Rate = Field(default=0.3, description="`distilled`: learning rate of the trees")
    num_leaves: Whole = Field(default=31, ge=2, le=131_072, description="`distilled`: maximum leaves of a tree")

    def boosting(self, settings: Boosting) -> Boosting:
        """Return LightGBM's settings of `distilled`: those of the other boosted members, but one seed and its own size.

        A soft label has no positives to count, so that a leaf is bounded by its rows alone.
        """
        own = {"rounds": self.rounds, "learning_rate": self.learning_rate, "num_leaves": self.num_leaves}
        return settings.model_copy(update={**own, "seeds": 1, "min_sum_hessian_in_leaf": 0.001})
