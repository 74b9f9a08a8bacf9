"""The search space of a scenario, and scenarios with some of its settings changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import TUNABLE, Dimension, MemberKind, Scenario, Setting, with_settings
from mtl_tasks.scenario.tuning import as_kind, setting_of

if TYPE_CHECKING:
    from optuna.trial import Trial

Settings = dict[str, Setting]  # dotted key of the scenario -> value
DIGITS: Final = 3  # significant ones of a real setting, so that the value in the proposal is the one that was tried
DEFAULTS: Final[dict[str, Dimension]] = {
    "boosting.learning_rate": Dimension(low=0.02, high=0.2, log=True),
    "boosting.num_leaves": Dimension(low=7, high=127, log=True),
    "boosting.min_data_in_leaf": Dimension(low=10, high=1000, log=True),
    "boosting.feature_fraction": Dimension(low=0.2, high=1.0),
    "boosting.bagging_fraction": Dimension(low=0.5, high=1.0),
    "boosting.lambda_l2": Dimension(low=0.01, high=100.0, log=True),
    "boosting.shared.learning_rate": Dimension(low=0.03, high=0.3, log=True),
    "boosting.shared.leaf_l2": Dimension(low=1.0, high=300.0, log=True),
}


@dataclass(frozen=True)
class SearchSpace:
    """Settings to search, with the scenario's own values.

    Attributes
    ----------
    dimensions
        Key to values. A range or list that lacked the scenario's own value was widened to include it.
    shipped
        Key to the scenario's own value.
    widened
        Keys of the dimensions that were widened.
    kinds
        Members that read any of the settings; a trial fits them.
    """

    dimensions: dict[str, Dimension]
    shipped: Settings
    widened: tuple[str, ...]
    kinds: tuple[MemberKind, ...]

    def suggest(self, trial: Trial) -> Settings:
        """Return the settings that the study's sampler suggests for a trial."""
        return {key: self._suggested(trial, key, dimension) for key, dimension in self.dimensions.items()}

    def _suggested(self, trial: Trial, key: str, dimension: Dimension) -> Setting:
        low, high, own = dimension.low, dimension.high, self.shipped[key]
        if dimension.choices is not None:
            return as_kind(cast("Setting", trial.suggest_categorical(key, dimension.choices)), own)
        assert low is not None
        assert high is not None
        if isinstance(own, int):
            return trial.suggest_int(key, int(low), int(high), log=dimension.log)
        value = trial.suggest_float(key, low, high, log=dimension.log)
        return own if value == own else min(max(_rounded(value), low), high)

    def to_json(self) -> dict[str, Any]:
        """Return the dimensions as JSON; those that were not given are left out."""
        return {key: one.model_dump(mode="json", exclude_none=True) for key, one in self.dimensions.items()}


def search_space(scenario: Scenario) -> SearchSpace:
    """Return what ``tuning.space`` asks for, or the defaults of the scenario's members if it is empty.

    Raises
    ------
    ConfigError
        If no member of the scenario reads one of the keys, or there is nothing to tune.
    """
    given = {} if scenario.tuning is None else scenario.tuning.space
    document = scenario.model_dump(mode="json")
    wanted = given or {
        key: dimension
        for key, dimension in DEFAULTS.items()
        if TUNABLE[key] & set(scenario.members) and not isinstance(setting_of(document, key.split(".")), dict)
    }
    _refuse_unread(wanted, scenario)
    shipped = {key: setting_of(document, key.split(".")) for key in wanted}
    dimensions = {key: _including(dimension, shipped[key]) for key, dimension in wanted.items()}
    widened = tuple(key for key in wanted if dimensions[key] != wanted[key])
    kinds = tuple(kind for kind in scenario.members if any(kind in TUNABLE[key] for key in wanted))
    return SearchSpace(dimensions, shipped, widened, kinds)


def trial_scenario(scenario: Scenario, settings: Mapping[str, Setting]) -> Scenario:
    """Return the scenario of a trial; its trees start from scratch, as earlier ones had other settings.

    Raises
    ------
    ConfigError
        If a value is refused.
    """
    return with_settings(scenario, {**settings, "boosting.warm_start": "none"})


def _refuse_unread(wanted: Mapping[str, Dimension], scenario: Scenario) -> None:
    if not wanted:
        raise ConfigError(
            f"{scenario.file}: none of its members has settings to tune: add one of independent, cascade, shared or "
            "shared_tail to `members`"
        )
    for key in wanted:
        readers = sorted(TUNABLE[key])
        if not TUNABLE[key] & set(scenario.members):
            raise ConfigError(
                f"{scenario.file}: tuning.space: no member reads {key}: leave it out, or add one of "
                f"{', '.join(readers)} to `members`"
            )


def _including(dimension: Dimension, own: Setting) -> Dimension:
    """Return a dimension that includes the scenario's own value, because the first trial has it."""
    if dimension.choices is not None:
        choices = dimension.choices
        return dimension if own in choices else Dimension(choices=(*choices, own))
    assert dimension.low is not None
    assert dimension.high is not None
    assert not isinstance(own, str)
    low, high = min(dimension.low, own), max(dimension.high, own)
    return Dimension(low=low, high=high, log=dimension.log and low > 0)


def _rounded(value: float) -> float:
    """Round to :data:`DIGITS` significant digits.

    >>> _rounded(0.0123456), _rounded(123.456)
    (0.0123, 123.0)
    """
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value)))) if value else 0.0


def changed(shipped: Mapping[str, Setting], settings: Mapping[str, Setting]) -> Iterator[tuple[str, Setting, Setting]]:
    """Yield key, shipped value and new value of each setting that differs."""
    for key, value in settings.items():
        if value != shipped[key]:
            yield key, shipped[key], value
