"""Entry points for a scheduler that runs each stage in its own process."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, nearest, quoting_rows
from mtl_tasks.onboarding.obstacles import refuse_obstacles
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import StageResult, run_stage
from mtl_tasks.pipeline.local import build_document, make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages, report_stage
from mtl_tasks.scenario import MemberKind, Scenario, load_scenario, parse_scenario
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.sealing import StoreKey

# Parameters of a run, by name, that each set one key of the scenario.
SETTINGS: Final = {
    "fusion": "fusion.method",
    "train_days": "windows.train",
    "tune_days": "windows.tune",
    "blend_days": "windows.blend",
    "test_days": "windows.test",
    "device": "boosting.device",
    "threads": "boosting.threads",
    "gate_mode": "gate.mode",
    "approval": "gate.approval",
}
ACCELERATED: Final = ("gpu", "cuda")
log = logging.getLogger(__name__)


def prepare_run(
    scenario_name: str,
    params: Mapping[str, Any],
    conf: Mapping[str, Any],
    *,
    run_id: str,
    interval_end: datetime | None,
    run_after: datetime,
    now: datetime,
    store: str,
    key: StoreKey | None = None,
    origin: Origin | None = None,
) -> RunSpec:
    """Check the parameters of a scheduled run, and return what its later processes start from.

    Parameters
    ----------
    params
        ``as_of`` (``YYYY-MM-DD`` or None), ``members``, ``force`` and those of ``SETTINGS``, given or by default.
    conf
        The parameters that were given; only its keys are checked, because a scheduler accepts any.
    run_id
        The scheduler's name of the run: the token of a forced one, so that its tasks reuse its artifacts when they are
        retried or cleared.
    interval_end, run_after
        Source of as_of if it is not given: the UTC day of the interval's end, else of the time of the run, which for a
        log that has ended is at most the day after its last.
    now
        The current time, so that a future as_of can be refused.
    key
        The key that seals the store's documents. It is not part of the document: every process is given it.
    origin
        Who or what started the run.

    Raises
    ------
    ConfigError
        If a key of ``conf`` is unknown, or a value cannot be used; the message names the parameter.
    """
    check_known(conf, params)
    _check_types(params)
    as_of, rule = resolve_as_of(params["as_of"], load_scenario(scenario_name), interval_end, run_after)
    log.info("as_of %s: %s", as_of, rule)
    as_of.refuse_future(AsOf.of(now))
    overrides = _overrides(scenario_name, params)
    force = run_id if params["force"] else None
    run = make_run(scenario_name, as_of, overrides, store, force=force, key=key)
    # The members may be fitted on other machines, whose devices cannot be tried here.
    refuse_obstacles(run.scenario, run.as_of.iso, run.store, devices=False)
    return RunSpec.of(run).model_copy(update={"overrides": overrides, **({} if origin is None else {"origin": origin})})


def check_known(conf: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Refuse an unknown parameter: a scheduler accepts any, and the run would not be the one that was meant."""
    for name in conf:
        if name not in params:
            hint = nearest(name, list(params))
            raise ConfigError(f"run configuration: unknown parameter {name!r}{hint} (known: {', '.join(params)})")


def _check_types(params: Mapping[str, Any]) -> None:
    """Refuse a value of the wrong type in parameters that no key of the scenario checks."""
    as_of, members, force = (params[name] for name in ("as_of", "members", "force"))
    for name, fits, wanted in (
        ("as_of", as_of is None or isinstance(as_of, str), "a day as YYYY-MM-DD, or null"),
        ("members", isinstance(members, list) and all(isinstance(kind, str) for kind in members), "a list of names"),
        ("force", isinstance(force, bool), "true or false"),
    ):
        if not fits:
            raise ConfigError(f"run configuration: {name}: must be {wanted} (got {reprlib.repr(params[name])})")


def resolve_as_of(
    wanted: str | None, scenario: Scenario, interval_end: datetime | None, run_after: datetime
) -> tuple[AsOf, str]:
    """Return the as_of of a scheduled run, and its source in words; see :func:`prepare_run`."""
    if wanted:
        return AsOf.parse(wanted), "as it was asked for"
    if interval_end is not None:
        return AsOf.of(interval_end), "the day on which the run's data interval ends"
    day = run_after.astimezone(UTC).date()
    if scenario.end_date is not None and day > scenario.end_date:
        return AsOf.parse((scenario.end_date + timedelta(days=1)).isoformat()), "the day after the log's last"
    return AsOf.of(run_after), "the day of the run, which has no data interval"


def member_stages(run_spec: RunSpec, *, accelerated: bool) -> list[str]:
    """Return the run's stages that fit a member on a GPU, or those that do not, in the order of the graph."""
    scenario = run_spec.open().scenario
    return [f"member:{kind}" for kind in scenario.members if (scenario.device_of(kind) in ACCELERATED) == accelerated]


def execute_stage(name: str, run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> StageResult:
    """Run one stage.

    Parameters
    ----------
    upstream
        Results of the stages that it needs; others are ignored.
    key
        The key that seals the store's documents.

    Raises
    ------
    ArtifactError
        If a result is missing.
    MtlError
        As :func:`~mtl_tasks.pipeline.engine.run_stage`.
    """
    run = run_spec.open(key)
    stage = build_stages(run.scenario)[name]
    with quoting_rows(False):  # more people read a scheduler's logs than the interaction log
        return run_stage(stage, run, upstream.refs(stage))


def execute_report(run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> StageResult | None:
    """Render the report of a run from the results of all its stages; None if some of a past run were pruned."""
    run = run_spec.open(key)
    results = upstream.in_order(build_stages(run.scenario))
    gone = [name for name in ("resolve", "split", "evaluate") if name not in results]
    if gone:
        log.warning("no report of the run as of %s: %s of it are no longer in the store", run.as_of, gone)
        return None
    stage = report_stage(build_document(run, results, run_spec.overrides))
    return run_stage(stage, run, refs_of(results))


def _overrides(scenario_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the parameters change: a form sends every field, changed or not."""
    scenario = load_scenario(scenario_name)
    changed: dict[str, Any] = {}
    document = scenario.model_dump(mode="json")
    if set(params["members"]) != set(scenario.members):
        known = get_args(MemberKind)
        unknown = [name for name in params["members"] if name not in known]
        changed["members"] = [name for name in known if name in params["members"]] + unknown
        _check_parameter("members", {**document, "members": changed["members"]})
    for name, key in SETTINGS.items():
        section, _, leaf = key.partition(".")
        given, own = params[name], document[section][leaf]
        if given != own or type(given) is not type(own):  # True equals 1
            changed[key] = given
            _check_parameter(name, {**document, section: {**document[section], leaf: given}})
    return changed


def _check_parameter(name: str, document: dict[str, Any]) -> None:
    """Refuse a parameter that alone makes the file's scenario invalid, in an error that names it."""
    parse_scenario(document, where=f"run configuration: {name}")
