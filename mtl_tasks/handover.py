"""A run whose stages each have a process of their own: what passes between them, as small JSON documents."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, get_args

import pandas as pd

from mtl_tasks.errors import ConfigError, nearest, quoting_rows
from mtl_tasks.pipeline import build_document, make_run, refs_of
from mtl_tasks.run import Run, StageResult, run_stage
from mtl_tasks.scenario import BOOSTED, MemberKind, load_scenario, parse_scenario
from mtl_tasks.stages import build_stages, report_stage
from mtl_tasks.store import Ref, Store

Json = dict[str, Any]
# Parameters of a run that are a key of the scenario each, by name.
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


def ask_run(
    scenario_name: str,
    params: Mapping[str, Any],
    conf: Mapping[str, Any],
    *,
    interval_end: datetime | None,
    run_after: datetime,
    now: datetime,
    store: str,
) -> Json:
    """Check what a scheduler's run is asked for, and return it as the document that its later processes start from.

    Parameters
    ----------
    params
        ``as_of`` (``YYYY-MM-DD`` or None), ``members``, ``force`` and those of ``SETTINGS``, given or by default.
    conf
        What was given; only its keys are looked at, because a scheduler accepts any.
    interval_end, run_after
        Where as_of comes from if it is not given: the UTC day of the interval's end, else of the time of the run.
    now
        The clock, so that a future as_of can be refused.

    Raises
    ------
    ConfigError
        If a key of ``conf`` is unknown, or a value cannot be used.
    """
    for key in conf:
        if key not in params:
            hint = nearest(key, list(params))
            raise ConfigError(f"run configuration: unknown parameter {key!r}{hint} (known: {', '.join(params)})")
    as_of = params["as_of"] or f"{(interval_end or run_after).astimezone(UTC):%Y-%m-%d}"
    overrides = _overrides(scenario_name, params)
    today = pd.Timestamp(now).tz_convert(UTC).normalize()
    run = make_run(scenario_name, as_of, overrides, store, today=today, force=params["force"])
    return {**run_to_json(run), "overrides": overrides}


def run_to_json(run: Run) -> Json:
    """Return a form from which another process can go on with the run."""
    return {
        # As text: PostgreSQL keeps the keys of a document in an order of its own, and the order of the tasks counts.
        "scenario": run.scenario.model_dump_json(),
        "as_of": run.as_of_name,
        "store": str(run.store.root),
        "force": run.force,
    }


def run_from_json(document: Mapping[str, Any]) -> Run:
    """Invert :func:`run_to_json`; the scenario file is not read again, so a run cannot change half-way."""
    scenario = parse_scenario(json.loads(document["scenario"]), where="the run's scenario")
    as_of = pd.Timestamp(document["as_of"], tz="UTC")
    return Run(scenario, as_of, Store(document["store"]), document["force"])


def member_stages(asked: Mapping[str, Any], *, accelerated: bool) -> list[str]:
    """Return the run's stages that fit a member on a GPU, or those that do not, in the order they are built."""
    scenario = run_from_json(asked).scenario
    on_gpu = scenario.boosting.device in ACCELERATED
    return [f"member:{kind}" for kind in scenario.members if (on_gpu and kind in BOOSTED) == accelerated]


def perform_stage(name: str, asked: Mapping[str, Any], handed: Sequence[Any]) -> Json:
    """Run one stage and return its result as JSON.

    Parameters
    ----------
    asked
        What :func:`ask_run` returned.
    handed
        Results of the stages that it needs, as this function returned them; more do no harm, lists of them are
        flattened, and None (a stage that was skipped) is passed over.
    """
    run = run_from_json(asked)
    stage = build_stages(run.scenario)[name]
    refs = {document["stage"]: Ref.from_json(document["ref"]) for document in _flat(handed)}
    with quoting_rows(False):  # a scheduler's logs are read by more people than the log itself
        return result_to_json(run_stage(stage, run, refs))


def perform_report(asked: Mapping[str, Any], handed: Sequence[Any]) -> Json:
    """Render the report of a run out of the results of all its stages."""
    run = run_from_json(asked)
    results = results_of(run, handed)
    stage = report_stage(build_document(run, results, asked.get("overrides", {})))
    return result_to_json(run_stage(stage, run, refs_of(results)))


def _overrides(scenario_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the parameters change in the scenario file: a form sends every field, changed or not."""
    scenario = load_scenario(scenario_name)
    changed: dict[str, Any] = {}
    if set(params["members"]) != set(scenario.members):
        known = get_args(MemberKind)
        unknown = [name for name in params["members"] if name not in known]
        changed["members"] = [name for name in known if name in params["members"]] + unknown
    document = scenario.model_dump(mode="json")
    for name, key in SETTINGS.items():
        section, _, leaf = key.partition(".")
        if params[name] != document[section][leaf]:
            changed[key] = params[name]
    return changed


def results_of(run: Run, handed: Sequence[Any]) -> dict[str, StageResult]:
    """Return results by stage name, in the order in which one process would have made them."""
    found = {document["stage"]: document for document in _flat(handed)}
    return {name: _result_from_json(found[name], run.store) for name in build_stages(run.scenario) if name in found}


def _flat(handed: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    # A scheduler may hand over a lazy sequence. Its slice is one request, where going through it item by item is one
    # each, and a failed one at its end.
    for item in handed[:]:
        if isinstance(item, Mapping):
            yield item
        elif item is not None:
            yield from _flat(item)


def result_to_json(result: StageResult) -> Json:
    """All but the summary, which stays with the artefact: what is handed over is small whatever a stage has to say."""
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
