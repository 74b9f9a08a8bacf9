"""Faults that would stop a run and are known before its log is read, from settings, registry and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.models.teacher import find_teacher
from mtl_tasks.scenario import BOOSTED, MEMBERS, Scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import RunRecord


def find_obstacles(scenario: Scenario, as_of: str | None, store: Store, *, devices: bool) -> list[str]:
    """Return the faults that would stop a run, one sentence each with its remedy.

    Gate rules and the utility are checked with the scenario. Faults that only features reveal, such as columns that
    earlier trees do not know, are checked when a member is fitted.

    Parameters
    ----------
    as_of
        ``YYYY-MM-DD``; None if no day is known: champions are then not checked.
    devices
        Whether the members are fitted on this machine: only then can its devices be tested.

    Raises
    ------
    StoreError
        If the store is unreachable.
    """
    checks: list[Callable[[], object]] = [lambda: _check_exclusions(scenario)]
    if as_of is not None and scenario.boosting.warm_start != "none":
        checks.append(lambda: _check_warm_start(scenario, as_of, store))
    if as_of is not None:
        checks.append(lambda: find_teacher(scenario, as_of, store))
    if devices:
        checks += _device_checks(scenario)
    return list(_refusals(checks))


def refuse_obstacles(scenario: Scenario, as_of: str, store: Store, *, devices: bool) -> None:
    """Raise a ConfigError with all faults of :func:`find_obstacles`, which takes the same parameters."""
    found = find_obstacles(scenario, as_of, store, devices=devices)
    if found:
        raise ConfigError("; ".join(found))


def _refusals(checks: list[Callable[[], object]]) -> Iterator[str]:
    for check in checks:
        try:
            check()
        except (ConfigError, DataError) as error:
            yield str(error)


def _check_exclusions(scenario: Scenario) -> None:
    """Check that the exclusion table, which is read only once a run is promoted, can be opened."""
    from mtl_tasks.data.files import locate, readable, source_file
    from mtl_tasks.scenario.reranking import SECTION

    table = scenario.recommend.reranking.exclude_table
    if table is not None:
        with readable(f"{SECTION}.exclude_table.path {table.path!r} in {scenario.file}"):
            source_file(locate(".", table.path), table.path, None)


def _check_warm_start(scenario: Scenario, as_of: str, store: Store) -> None:
    """Check the run that the members warm-start from."""
    from mtl_tasks.models.warm_start import check_entry, find_start

    starts: dict[str, RunRecord] = {}
    for kind in scenario.members:
        if kind in BOOSTED:
            start = find_start(scenario, as_of, store, kind)
            if isinstance(start, RunRecord):
                starts[start.run_key] = start
    for entry in starts.values():
        check_entry(entry, scenario, as_of)


def _device_checks(scenario: Scenario) -> Iterator[Callable[[], object]]:
    if scenario.factors.device == "gpu":
        from mtl_tasks.features.als import resolve_device as resolve_factors

        yield lambda: resolve_factors("gpu")
    if scenario.recommend.sources.two_tower:
        from mtl_tasks.models.deep.two_tower_training import check_installed

        yield check_installed
    one_of_each = {MEMBERS[kind].section: kind for kind in scenario.members}
    for kind in one_of_each.values():
        device = scenario.device_of(kind)
        if device in ("gpu", "cuda"):
            from mtl_tasks.models import member_class

            yield partial(member_class(kind).resolve_device, device)
