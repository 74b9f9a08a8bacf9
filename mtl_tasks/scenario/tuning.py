"""The section `tuning`: which settings are searched, and between which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, field_validator, model_validator

from mtl_tasks.core.errors import nearest
from mtl_tasks.scenario.base import Flag, Model, Short, Value, Whole
from mtl_tasks.scenario.members import BOOSTED, MemberKind

_SHARED: Final[frozenset[MemberKind]] = frozenset({"shared", "shared_tail"})
# A distilled member learns from a finished run of its own day, so that it cannot be fitted on the folds of a study.
_FITTED: Final[frozenset[MemberKind]] = BOOSTED - {"distilled"}
# Key to the members that read it. Settings that buy quality with time, such as seeds, are left to the user.
TUNABLE: Final[dict[str, frozenset[MemberKind]]] = {
    "boosting.learning_rate": _FITTED - {"shared"},
    "boosting.num_leaves": _FITTED,
    "boosting.min_data_in_leaf": _FITTED,
    "boosting.min_sum_hessian_in_leaf": _FITTED,
    "boosting.bagging_fraction": _FITTED,
    "boosting.feature_fraction": _FITTED,
    "boosting.lambda_l2": _FITTED,
    "boosting.shared.combine": _SHARED,
    "boosting.shared.learning_rate": _SHARED,
    "boosting.shared.leaf_l2": _SHARED,
    "boosting.shared.split_hessian": _SHARED,
    "boosting.shared.task_weighting": _SHARED,
}
_KEY: Final = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
Setting = str | float  # the value of a tuned key; a whole number stays an int


class Dimension(Model):
    """Values that one setting may take: a range, or a list of choices."""

    low: Value | None = Field(default=None, description="smallest value of a range")
    high: Value | None = Field(default=None, description="largest value of a range")
    log: Flag = Field(
        default=False, description="range: whether every factor, rather than every step, is equally likely"
    )
    choices: tuple[Short | Value, ...] | None = Field(
        default=None, min_length=2, max_length=50, description="the values, in place of a range"
    )

    @field_validator("choices")
    @classmethod
    def _of_one_type(cls, choices: tuple[str | float, ...] | None) -> tuple[str | float, ...] | None:
        if len({isinstance(choice, str) for choice in choices or ()}) > 1:
            raise ValueError("give either texts or numbers")
        return choices

    @model_validator(mode="after")
    def _consistent(self) -> Dimension:
        given = [end is not None for end in (self.low, self.high)]
        if any(given) != all(given) or all(given) == (self.choices is not None):
            raise ValueError("give `low` and `high`, or `choices`")
        if self.low is None or self.high is None:
            if self.log:
                raise ValueError("`log` belongs to a range: give `low` and `high`")
            return self
        if not self.low < self.high:
            raise ValueError(f"`low` {self.low:g} must be below `high` {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"`low` {self.low:g} must be above 0 where `log` is true")
        return self

    @property
    def ends(self) -> Iterator[tuple[str, Setting]]:
        """The values that limits are checked on, each with the key that gives it."""
        for name, end in (("low", self.low), ("high", self.high)):
            if end is not None:
                yield name, end
        yield from (("choices", choice) for choice in self.choices or ())


class Tuning(Model):
    """Settings of `tune`, which searches for better settings of the boosted members."""

    space: dict[Annotated[str, Field(pattern=_KEY)], Dimension] = Field(
        default={},
        max_length=30,
        description="key of the scenario, such as boosting.num_leaves -> the values to try; empty: a default space of "
        "the scenario's members",
    )
    startup_trials: Whole = Field(
        default=5, ge=1, le=1000, description="trials that must be complete before any trial is pruned"
    )
    warmup_fits: Whole = Field(
        default=1,
        ge=0,
        le=1000,
        description="fits, each of one member as of one day, that a trial makes before it may be pruned",
    )


def with_setting(section: Mapping[str, Any], path: list[str], value: Setting) -> dict[str, Any]:
    """Return a copy of a nested document with one key set.

    >>> with_setting({"shared": {"leaf_l2": 30.0}}, ["shared", "leaf_l2"], 10.0)
    {'shared': {'leaf_l2': 10.0}}
    """
    first, *rest = path
    return {**section, first: with_setting(section[first], rest, value) if rest else value}


def setting_of(section: Mapping[str, Any], path: list[str]) -> Any:
    """Return the value at a path of a nested document."""
    value: Any = section
    for name in path:
        value = value[name]
    return value


def as_kind(value: Setting, like: Any) -> Setting:
    """Return a number as an int where the setting takes whole numbers and it is one.

    >>> as_kind(31.0, 15), as_kind(0.5, 15), as_kind(1.0, 0.8)
    (31, 0.5, 1.0)
    """
    whole = isinstance(like, int) and not isinstance(value, str) and float(value).is_integer()
    return int(value) if whole else value


def check_space(space: Mapping[str, Dimension], sections: Mapping[str, Model]) -> None:
    """Refuse a key that is not tunable, and a value that its setting does not take.

    Parameters
    ----------
    sections
        The scenario's sections that have tunable keys, by name.

    Raises
    ------
    ValueError
        If the space has such a key or value.
    """
    for key, dimension in space.items():
        if key not in TUNABLE:
            raise ValueError(
                f"tuning.space: {key!r} cannot be tuned{nearest(key, list(TUNABLE))} (tunable: {', '.join(TUNABLE)})"
            )
        name, *path = key.split(".")
        section = sections[name]
        document = section.model_dump(mode="json")
        current = setting_of(document, path)
        if isinstance(current, dict):
            raise ValueError(  # noqa: TRY004 - pydantic makes a message of it
                f"tuning.space: {key} has a value for each task: give it one number, or leave it out"
            )
        for end, value in dimension.ends:
            try:
                type(section).model_validate(with_setting(document, path, as_kind(value, current)))
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]["msg"]
                raise ValueError(f"tuning.space: {key}: {end} {value!r}: {problem}") from None
