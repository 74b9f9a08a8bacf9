"""JSON-in, JSON-out entry points, so a scheduler can run each stage in its own process."""

from __future__ import annotations

import json
import logging
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import pandas as pd

from mtl_tasks.core.errors import ConfigError, nearest, quoting_rows
from mtl_tasks.onboarding.obstacles import refuse_obstacles
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import build_document, make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages, report_stage
from mtl_tasks.scenario import BOOSTED, MemberKind, Scenario, load_scenario, parse_scenario
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.sealing import StoreKey

Json = dict[str, Any]
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
) -> Json:
    """Check the parameters of a scheduled run, and return the document that its later processes start from.

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

    Raises
    ------
    ConfigError
        If a key of ``conf`` is unknown, or a value cannot be used; the message names the parameter.
    """
    check_known(conf, params)
    _check_types(params)
    as_of, rule = _as_of(params["as_of"], load_scenario(scenario_name), interval_end, run_after)
    log.info("as_of %s: %s", as_of, rule)
    overrides = _overrides(scenario_name, params)
    today = pd.Timestamp(now).tz_convert(UTC).normalize()
    force = run_id if params["force"] else None
    run = make_run(scenario_name, as_of, overrides, store, today=today, force=force, key=key)
    # The members may be fitted on other machines, whose devices cannot be tried here.
    refuse_obstacles(run.scenario, run.as_of_name, run.store, devices=False)
    return {**run_to_json(run), "overrides": overrides}


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


def _as_of(
    wanted: str | None, scenario: Scenario, interval_end: datetime | None, run_after: datetime
) -> tuple[str, str]:
    """Return as_of, and its source in words."""
    if wanted:
        return wanted, "as it was asked for"
    if interval_end is not None:
        return f"{interval_end.astimezone(UTC):%Y-%m-%d}", "the day on which the run's data interval ends"
    day = run_after.astimezone(UTC).date()
    if scenario.end_date is not None and day > scenario.end_date:
        return (scenario.end_date + timedelta(days=1)).isoformat(), "the day after the log's last"
    return day.isoformat(), "the day of the run, which has no data interval"


def run_to_json(run: Run) -> Json:
    """Return a form from which another process can continue the run."""
    return {
        # As text: PostgreSQL reorders the keys of a document, and the order of the tasks matters.
        "scenario": run.scenario.model_dump_json(),
        "as_of": run.as_of_name,
        "store": str(run.store.root),
        "force": run.force,
    }


def run_from_json(document: Mapping[str, Any], key: StoreKey | None = None) -> Run:
    """Invert :func:`run_to_json`; the scenario file is not read again, so a run cannot change midway."""
    scenario = parse_scenario(json.loads(document["scenario"]), where="the run's scenario")
    as_of = pd.Timestamp(document["as_of"], tz="UTC")
    return Run(scenario, as_of, Store(document["store"], key), document["force"])


def member_stages(run_spec: Mapping[str, Any], *, accelerated: bool) -> list[str]:
    """Return the run's stages that fit a member on a GPU, or those that do not, in the order they are built."""
    scenario = run_from_json(run_spec).scenario
    on_gpu = scenario.boosting.device in ACCELERATED
    return [f"member:{kind}" for kind in scenario.members if (on_gpu and kind in BOOSTED) == accelerated]


def execute_stage(name: str, run_spec: Mapping[str, Any], upstream: Sequence[Any], key: StoreKey | None = None) -> Json:
    """Run one stage and return its result as JSON.

    Parameters
    ----------
    run_spec
        The document of the run, from :func:`prepare_run`.
    upstream
        Results of the stages that it needs, as this function returned them. Others are ignored, lists are flattened,
        and None (a skipped stage) is dropped.
    key
        The key that seals the store's documents.
    """
    run = run_from_json(run_spec, key)
    stage = build_stages(run.scenario)[name]
    refs = {document["stage"]: Ref.from_json(document["ref"]) for document in _flat(upstream)}
    with quoting_rows(False):  # more people read a scheduler's logs than the interaction log
        return result_to_json(run_stage(stage, run, refs))


def execute_report(run_spec: Mapping[str, Any], upstream: Sequence[Any], key: StoreKey | None = None) -> Json | None:
    """Render the report of a run from the results of all its stages; None if some of a past run were pruned."""
    run = run_from_json(run_spec, key)
    results = results_of(run, upstream)
    gone = [name for name in ("resolve", "split", "evaluate") if name not in results]
    if gone:
        log.warning("no report of the run as of %s: %s of it are no longer in the store", run.as_of_name, gone)
        return None
    stage = report_stage(build_document(run, results, run_spec.get("overrides", {})))
    return result_to_json(run_stage(stage, run, refs_of(results)))


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


def _check_parameter(name: str, document: Json) -> None:
    """Refuse a parameter that alone makes the file's scenario invalid, in an error that names it."""
    parse_scenario(document, where=f"run configuration: {name}")


def results_of(run: Run, upstream: Sequence[Any]) -> dict[str, StageResult]:
    """Return results by stage name, in the order in which one process would make them."""
    found = {document["stage"]: document for document in _flat(upstream)}
    return {name: _result_from_json(found[name], run.store) for name in build_stages(run.scenario) if name in found}


def _flat(upstream: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    # A scheduler may pass a lazy sequence. Its slice is one request; iterating makes one per item, and a failed one at
    # the end.
    for item in upstream[:]:
        if isinstance(item, Mapping):
            yield item
        elif item is not None:
            yield from _flat(item)


def result_to_json(result: StageResult) -> Json:
    """Return all but the summary, which stays with the artifact, so that the document is always small."""
    return {
        "stage": result.stage,
        "ref": result.ref.to_json(),
        "reused": result.reused,
        "seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "peak_rss_mb": result.peak_rss_mb,
    }


def _result_from_json(document: Mapping[str, Any], store: Store) -> StageResult:
    ref = Ref.from_json(document["ref"])
    return StageResult(**{**document, "ref": ref}, summary=store.open(ref).summary)
