"""The section `recommend.reranking`: rules that change a user's recommendations after the ranking."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final

from pydantic import ConfigDict, Field, model_validator

from mtl_tasks.core.errors import nearest
from mtl_tasks.scenario.base import Days, Fraction, Line, Model, Name, Whole

SECTION: Final = "recommend.reranking"

Places = Annotated[Whole, Field(ge=1, le=1000)]  # as many as recommend.top_k allows


class ExcludedValues(Model):
    """Values of an item attribute; an item with any of them is never recommended."""

    attribute: Name = Field(description="categorical or multi-valued attribute of `source.items`")
    values: tuple[Line, ...] = Field(min_length=1, description="values that exclude an item, as they are in the table")


class ExclusionTable(Model):
    """A table of items that are not recommended during some days; an item may have several rows."""

    # A key named `from` cannot be an attribute of a class; what is written must be readable again.
    model_config = ConfigDict(serialize_by_alias=True)

    path: Line = Field(description="a Parquet or CSV file, one row for each item and period")
    item: Line = Field(description="column of item ids, as in the log")
    start: Line | None = Field(
        default=None,
        alias="from",
        description="column of the first day of the exclusion; a missing value or null: since always",
    )
    until: Line | None = Field(
        default=None,
        description="column of the day on which the exclusion has ended; a missing value or null: without an end",
    )


class NewItems(Model):
    """Minimum exposure of new items."""

    days: Days = Field(default=7, description="an item is new if its first event is at most this many days old")
    at_least: Places = Field(
        default=1, description="places of each user's recommendations for new items, if the user has such candidates"
    )


class Reranking(Model):
    """Rules that change a user's recommendations after the ranking; all are off by default."""

    diversity: Fraction = Field(
        default=0.0,
        description="maximal marginal relevance: weight of the largest cosine similarity to the items that are already "
        "chosen; the relevance, a user's rank scaled to 0 to 1, has the rest of the weight. 0: off",
    )
    pool_factor: Whole = Field(
        default=5,
        ge=1,
        le=1000,
        description="best candidates of a user among which `diversity` chooses, in multiples of top_k",
    )
    at_most: dict[Name, Places] = Field(
        default={},
        description="item attribute -> most items with the same value in a user's recommendations; an item with "
        "several values counts for each, an item without a value for none",
    )
    exclude: tuple[ExcludedValues, ...] = Field(default=(), description="items never recommended, by attribute values")
    exclude_table: ExclusionTable | None = Field(
        default=None, description="items not recommended during some days, by a table"
    )
    new_items: NewItems | None = Field(default=None, description="minimum exposure of new items; null: none")

    @property
    def attributes(self) -> list[str]:
        """Item attributes that the rules name, without repetition."""
        return list(dict.fromkeys([*self.at_most, *(rule.attribute for rule in self.exclude)]))

    @property
    def selects(self) -> bool:
        """Whether a rule makes the choice of an item depend on the other items of the list."""
        return self.diversity > 0 or bool(self.at_most) or self.new_items is not None

    @property
    def active(self) -> bool:
        """Whether any rule is on."""
        return self.selects or bool(self.exclude) or self.exclude_table is not None

    @model_validator(mode="after")
    def _each_once(self) -> Reranking:
        named = [rule.attribute for rule in self.exclude]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"`exclude` names {name!r} twice: list all of its values in one entry")
        return self


def check_reranking(rules: Reranking, attributes: Collection[str], top_k: int) -> None:
    """Refuse, when the scenario loads, rules that its other sections contradict.

    Parameters
    ----------
    attributes
        Categorical and multi-valued attributes of ``source.items``.
    top_k
        Items recommended to each user.

    Raises
    ------
    ValueError
        If a rule names another attribute, or asks for more new items than a list has places.
    """
    keys = [*((name, f"at_most.{name}") for name in rules.at_most), *((r.attribute, "exclude") for r in rules.exclude)]
    for name, key in keys:
        if name not in attributes:
            known = sorted(attributes)
            raise ValueError(
                f"{SECTION}.{key}: {name!r} is not a categorical or multi-valued attribute of source.items"
                f"{nearest(name, known)} (known: {', '.join(known) or 'none'})"
            )
    if rules.new_items is not None and rules.new_items.at_least > top_k:
        raise ValueError(
            f"{SECTION}.new_items.at_least: is {rules.new_items.at_least}, but a list has {top_k} places: lower it, or "
            "raise recommend.top_k"
        )
