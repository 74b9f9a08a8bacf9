"""Warm start: the earlier member that a run's trees continue from, or the reason there is none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mtl_tasks.core.errors import ConfigError, nearest
from mtl_tasks.models import Member, Table, member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.scenario import MemberKind, Scenario, parse_scenario, scenario_names
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry, RunRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """The earlier member to warm-start from.

    Attributes
    ----------
    fitted, refitted
        The earlier member as fitted on its train window, and on all its windows but test; None: from scratch.
    note
        A sentence for the log, the manifest and the report; None if no warm start was requested.
    """

    fitted: BoostedMember | None = None
    refitted: BoostedMember | None = None
    note: str | None = None

    def fit(self, member: type[Member], train: Table, tune: Table, scenario: Scenario) -> Member:
        """Fit a member, warm-started if there is an earlier one."""
        if self.fitted is None:
            return member.fit(train, tune, scenario)
        assert issubclass(member, BoostedMember)
        return member.fit(train, tune, scenario, self.fitted)

    def refit(self, member: Member, table: Table) -> Member:
        """Refit a member from :meth:`fit`."""
        if self.refitted is None:
            return member.refit(table)
        assert isinstance(member, BoostedMember)
        return member.refit(table, self.refitted)


def find_start(scenario: Scenario, as_of: str, store: Store, kind: MemberKind) -> RunRecord | str:
    """Return the run to warm-start a run as of ``as_of`` from, or the reason there is none.

    No champion yet of the same scenario is fine; a missing champion of another scenario is an error.

    Raises
    ------
    ConfigError
        If another scenario is unknown, or had no champion before ``as_of``.
    """
    asked = scenario.boosting.warm_start
    name = scenario.name if asked == "champion" else asked
    if kind == "cascade":
        return "a cascade's folds may not know trees that learned from their rows"
    if kind == "distilled":
        return "it learns from its teacher, not from labels"
    champion = Registry(store, name).champion(as_of)
    if champion is None:
        if asked != "champion":
            raise _no_champion(name, as_of, store)
        return f"no run of {name} was published before {as_of}"
    if f"member:{kind}" not in champion.refs:
        return f"{name} as of {champion.as_of} has no member {kind}"
    return champion


def _no_champion(name: str, as_of: str, store: Store) -> ConfigError:
    known = scenario_names()
    if name not in known and not Registry(store, name).entries():
        return ConfigError(
            f"boosting.warm_start: no scenario {name!r}{nearest(name, known)} (known: {', '.join(known) or 'none'}): "
            "name another one, 'champion' for the scenario's own, or 'none'"
        )
    return ConfigError(
        f"boosting.warm_start: no run of {name} was published before {as_of}: run {name} for an earlier day first, or "
        "set 'none'"
    )


def from_scratch(reason: str) -> WarmStart:
    """Log the reason for starting from scratch, and return such a start."""
    note = f"trained from scratch: {reason}"
    log.warning("boosting.warm_start: %s", note)
    return WarmStart(note=note)


def warm_start(
    kind: MemberKind,
    entry: RunRecord,
    fitted: Mapping[str, bytes],
    refitted: Mapping[str, bytes],
    ours: Scenario,
    as_of: str,
    columns: list[str],
) -> WarmStart:
    """Load the earlier member of a registry entry and check that a run as of ``as_of`` may warm-start from it.

    Parameters
    ----------
    fitted, refitted
        The member's files before the refit (empty if they were not kept), and after.
    columns
        The features of this run.

    Raises
    ------
    ConfigError
        If features, tasks or seeds do not match, or it was trained on days that this run evaluates or tunes on.
    """
    where, theirs = _where(entry), check_entry(entry, ours, as_of)
    if not fitted and theirs.refit != "none":
        return from_scratch(f"{where} did not keep its trees from before the refit, as boosting.warm_start was 'none'")
    before, after = (_load(kind, files, theirs) for files in (fitted or refitted, refitted))
    for member in (before, after):
        _check_features(member, columns, where)
        most = max(max(trees.rounds) for trees in member.learned.trees.values())
        if most >= ours.boosting.rounds:
            return from_scratch(f"{where} has grown to {most} trees and boosting.rounds is {ours.boosting.rounds}")
    return WarmStart(before, after, f"warm-started from {where}")


def check_entry(entry: RunRecord, ours: Scenario, as_of: str) -> Scenario:
    """Check from the registry alone whether a run may warm-start from an earlier one; return the earlier scenario.

    Raises
    ------
    ConfigError
        If tasks or seeds do not match, the earlier run was trained on days that this run evaluates or tunes on, or its
        scenario can no longer be parsed.
    """
    where = _where(entry)
    theirs = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
    _check_days(theirs, entry.as_of, ours, as_of, where)
    if theirs.boosting.warm_start != "none" or theirs.refit == "none":  # otherwise no trees were kept: from scratch
        _check_settings(theirs, ours, where)
    return theirs


def _where(entry: RunRecord) -> str:
    return f"{entry.scenario_name} as of {entry.as_of} (run {entry.run_key[:12]})"


def _load(kind: MemberKind, files: Mapping[str, bytes], scenario: Scenario) -> BoostedMember:
    member = member_class(kind).load(files, scenario)
    assert isinstance(member, BoostedMember)
    return member


def _check_days(theirs: Scenario, their_as_of: str, ours: Scenario, as_of: str, where: str) -> None:
    """Raise if the earlier run was trained on labels that this run evaluates or tunes on."""
    for after, what in ((("tune", "blend", "test"), "chooses rounds on"), (("test",), "is judged by")):
        end, limit = (
            np.datetime64(day) - np.timedelta64(sum(getattr(scenario.windows, name) for name in after), "D")
            for scenario, day in ((theirs, their_as_of), (ours, as_of))
        )
        if end > limit:
            raise ConfigError(
                f"boosting.warm_start: {where} learned from days before {end}, of which this run {what} those from "
                f"{limit} on: set boosting.warm_start to 'none', or take windows of equal length in both scenarios"
            )


def _check_settings(theirs: Scenario, ours: Scenario, where: str) -> None:
    if ours.features.raw_factors:
        raise ConfigError(
            "boosting.warm_start: trees cannot be warm-started with features.raw_factors, as the dimensions of two "
            "runs' factors are unrelated: turn one of the two off"
        )
    if ours.source.items is not None and ours.source.items.contents:
        raise ConfigError(
            f"boosting.warm_start: trees cannot be warm-started with source.items.{ours.source.items.contents[0]}, as "
            "the dimensions of two runs' projections are unrelated: leave it out, or set boosting.warm_start to 'none'"
        )
    objectives = {name: task.objective for name, task in theirs.tasks.items()}
    if not any(objectives.get(name) == task.objective for name, task in ours.tasks.items()):
        raise ConfigError(
            f"boosting.warm_start: {where} has none of the tasks ({', '.join(objectives)}) of this scenario "
            f"({', '.join(ours.tasks)}) in the same kind and with the same loss: name tasks alike, or set "
            "boosting.warm_start to 'none'"
        )
    seeds = theirs.boosting.seeds
    if seeds != ours.boosting.seeds:
        raise ConfigError(
            f"boosting.warm_start: {where} has boosting.seeds {seeds}, and this scenario {ours.boosting.seeds}: "
            "set both to the same number, or boosting.warm_start to 'none'"
        )


def _check_features(member: BoostedMember, columns: list[str], where: str) -> None:
    names = member.learned.encoder.names
    lacking, further = [name for name in names if name not in columns], [name for name in columns if name not in names]
    if lacking or further:
        raise ConfigError(
            f"boosting.warm_start: the trees of {where} learned from different features: {len(lacking)} that this run "
            f"lacks ({', '.join(lacking[:3]) or 'none'}), and this run has {len(further)} more "
            f"({', '.join(further[:3]) or 'none'}): set boosting.warm_start to 'none'"
        )
