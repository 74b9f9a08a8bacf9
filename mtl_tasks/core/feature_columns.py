"""Declared feature columns: what a column holds, so that models and explanations need not parse its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# What a column's values are.
ColumnKind = Literal[
    "count",  # number of events, 0 or more
    "days",  # a time span in days
    "number",  # any other number
    "category",  # a pandas category; every other kind is float32
    "rate",  # mean of a binary label, damped toward a prior, 0 to 1
    "mean",  # mean of a regression label, damped likewise
    "bias",  # damped deviation of labels from what the other side or a context explains
    "spread",  # standard deviation of a label
    "baseline",  # a label as expected from overall mean and biases
    "residual",  # damped mean of what the baseline leaves unexplained of a label
    "factor_residual",  # the residual predicted from rating factors
    "neighbor_residual",  # mean of the residuals of similar items
    "share",  # share of interactions, 0 to 1
    "lift",  # logarithm of a share's ratio to the share of everybody
    "usual",  # mean of a trait over a user's past items
    "difference",  # a trait, minus what is usual
    "factor_score",  # dot product of the preference factors of user and item
    "factor_cosine",  # cosine of preference factors
    "factor_norm",  # length of a vector of preference factors
    "factor",  # one dimension of a vector of preference factors
    "content",  # one dimension of an item's text or given vector
    "content_cosine",  # cosine of texts or given vectors
    "co_occurrence",  # damped number of users that items share
    "prediction",  # another task's prediction
]
# What a column's values are about. `attribute`: the values of an attribute of the row's item. `user_context` and
# `item_context`: the user or the item in the row's context.
Subject = Literal["user", "item", "pair", "attribute", "context", "user_context", "item_context"]


@dataclass(frozen=True)
class FeatureColumn:
    """A column of features.

    Attributes
    ----------
    name
        Name in the table of features, of the form ``<whose>.<what>``.
    kind
        What its values are.
    description
        A noun phrase that reports and explanations show.
    about
        What its values are about.
    task
        The task or signal whose label it is made of, if it is made of one.
    days
        Length of the window it looks back; None for all of the past.
    """

    name: str
    kind: ColumnKind
    description: str
    about: Subject
    task: str | None = None
    days: int | None = None


def select(
    columns: Iterable[FeatureColumn], kind: ColumnKind, about: Subject, task: str | None = None, days: int | None = None
) -> list[str]:
    """Return the names of the columns with exactly these properties, in their order.

    >>> select([FeatureColumn("item.count", "count", "interactions of the item", "item")], "count", "item")
    ['item.count']
    """
    wanted = kind, about, task, days
    return [one.name for one in columns if (one.kind, one.about, one.task, one.days) == wanted]


def readable(name: str) -> str:
    """Return the name of a task, an attribute or a context as a description shows it.

    >>> readable("long_view")
    'long view'
    """
    return name.replace("_", " ")


def recently(days: int | None) -> str:
    """Return the end of the description of a column that looks back some days.

    >>> recently(None), recently(1), recently(7)
    ('', ' in the last day', ' in the last 7 days')
    """
    if days is None:
        return ""
    return " in the last day" if days == 1 else f" in the last {days} days"
