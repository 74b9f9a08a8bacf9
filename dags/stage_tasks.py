"""The tasks that DAGs are wired from: each runs a stage of `mtl_tasks` in the project's folder, as the CLI does."""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, ExceptionRetryPolicy, RetryAction, RetryRule, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from dags import scenario_files
from dags.alerts import say_next_step
from dags.lineage import emit_lineage
from dags.metrics import emit
from dags.waiting import refuse_reversed_backfill
from mtl_tasks.core.errors import ClusterError, ConfigError, DeviceError, MtlError, SourceError, StoreError
from mtl_tasks.core.process import settle_threads
from mtl_tasks.store.address import address_from
from mtl_tasks.store.sealing import StoreKey, key_from

if TYPE_CHECKING:
    from mtl_tasks.core.days import AsOf
    from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
    from mtl_tasks.pipeline.engine import StageResult
    from mtl_tasks.scenario import Scenario
    from mtl_tasks.store.documents.origin import Origin

_DAG_TEST = "dag_test"  # the user that `dag.test` names, as in `make demo`
DEFAULT_ARGS: dict[str, Any] = {
    "execution_timeout": timedelta(hours=4),
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "on_failure_callback": say_next_step,
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(StoreError, RetryAction.RETRY, reason="the store may answer a little later"),
            RetryRule(SourceError, RetryAction.RETRY, reason="the log's bucket or database may answer a little later"),
            RetryRule(
                ClusterError, RetryAction.RETRY, reason="a cluster's workers come back, and find finished shards"
            ),
            RetryRule(DeviceError, RetryAction.RETRY, reason="a GPU that others share may have memory a little later"),
            RetryRule(MtlError, RetryAction.FAIL, reason="the same input would fail again"),
            RetryRule(OSError, RetryAction.RETRY, reason="input and output may work a little later"),
        ]
    ),
}


@task(multiple_outputs=True)
def resolve(scenario: str) -> dict[str, Any]:
    """Resolve the run: its scenario, as_of and source files."""
    context = get_current_context()
    run = context["dag_run"]
    refuse_reversed_backfill(run)
    params = {name: context["params"][name] for name in context["dag"].params}  # Airflow adds unknown ones
    params["as_of"] = wanted_as_of(context)
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.tasks import execute_stage, prepare_run

        prepared = prepare_run(
            scenario,
            params,
            run.conf or {},
            run_id=run.run_id,
            interval_end=run.data_interval_end,
            run_after=run.run_after,
            now=datetime.now(UTC),
            store=store_uri(),
            key=store_key(),
            origin=_origin(run),
        )
        resolved = execute_stage("resolve", prepared, UpstreamResults(), store_key())
        _emit_stage(prepared, resolved, UpstreamResults())
        return {"run_spec": prepared.to_json(), "resolved": resolved.to_json()}


@task(task_id="resolve", multiple_outputs=True)
def resolve_promoted(scenario: str, champion: Asset) -> dict[str, Any]:
    """Resolve the promoted run: the event's, else the requested one, else today's champion."""
    context = get_current_context()
    events = context["triggering_asset_events"].get(champion)
    run_key = events[-1].extra["run_key"] if events else context["params"]["run"]
    with in_project():
        from mtl_tasks.pipeline.outcome import prepare_recommend
        from mtl_tasks.pipeline.tasks import check_known

        check_known(context["dag_run"].conf or {}, context["dag"].params)
        found = prepare_recommend(scenario, run_key, store_uri(), store_key())
        if found is None:
            raise AirflowSkipException("the run has been retired since it was promoted: there is nothing to do for it")
        emit_lineage(lambda: _lineage().promoted_lineage(found.run_spec, store_key()))
    return found.to_json()


@task(multiple_outputs=False)
def stage(name: str, upstream: list[Any]) -> dict[str, Any]:
    """Run one stage, given the results of the stages that it needs."""
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.measures import stage_measures
        from mtl_tasks.pipeline.tasks import execute_stage

        spec, results = run_spec(), UpstreamResults.from_json(upstream)
        result = execute_stage(name, spec, results, store_key())
        emit(lambda: stage_measures(spec.open().scenario.name, result))
        _emit_stage(spec, result, results)
    context = get_current_context()
    for asset in context["task"].outlets:
        context["outlet_events"][asset].extra = {"as_of": spec.as_of.iso, **result.ref.to_json()}
    return result.to_json()


@task
def members(resolved: dict[str, Any], accelerated: bool) -> list[str]:
    """List the stages that fit the members chosen for this run, on a GPU or not; skip if there are none."""
    with in_project():
        from mtl_tasks.pipeline.tasks import member_stages

        stages = member_stages(run_spec(), accelerated=accelerated)
    if not stages:
        raise AirflowSkipException(f"no member of this run is fitted on {'a GPU' if accelerated else 'the CPU'}")
    return stages


@task(max_active_tis_per_dag=1)  # if two runs of one date end at once, the second sees the first one's event
def announce(upstream: list[Any], champion: Asset) -> dict[str, Any]:
    """Emit the champion event, once, if this run is today's champion; skip otherwise."""
    context = get_current_context()
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.outcome import champion_event

        found = champion_event(run_spec(), UpstreamResults.from_json(upstream), store_key())
    if found is None:
        raise AirflowSkipException("today's champion is another run: no event is emitted")
    for earlier in context["inlet_events"][champion].ascending(False).limit(1):
        if (earlier.extra or {}).get("run_key") == found.run_key:
            raise AirflowSkipException("this run was announced before: no event is emitted")
    event = found.to_json()
    context["outlet_events"][champion].extra = event
    return event


@task
def deliver(upstream: list[Any]) -> list[dict[str, Any]]:
    """Write the recommendations to the targets in the section `publish`; a target that fails is a warning."""
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.outcome import deliver_lists

        spec, results = run_spec(), UpstreamResults.from_json(upstream)
        made = deliver_lists(spec, results, os.environ, store_key())
        if not made:
            raise AirflowSkipException("this run is not today's champion: nothing is delivered")
        emit_lineage(lambda: _lineage().delivery_lineage(spec, results, made, os.environ, store_key()))
    return [delivery.to_json() for delivery in made]


@task(multiple_outputs=False, trigger_rule="none_failed")
def report(upstream: list[Any]) -> dict[str, Any]:
    """Render the run's page, whatever the verdict is, and pass the run's note to `plugins/run_notes.py`."""
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.measures import verdict_measures
        from mtl_tasks.pipeline.outcome import run_note
        from mtl_tasks.pipeline.tasks import execute_report

        spec, results = run_spec(), UpstreamResults.from_json(upstream)
        get_current_context()["ti"].xcom_push(key="note", value=run_note(spec, results, store_key()))
        page = execute_report(spec, results, store_key())
        if page is not None:
            _emit_stage(spec, page, results)
        if "recommend" not in results:  # the page with recommendations is of a verdict that was counted before
            emit(lambda: verdict_measures(spec, results, store_key()))
    if page is None:
        raise AirflowSkipException(
            "the run's tables were pruned, so its page cannot be rendered again: the recommendations are complete"
        )
    return page.to_json()


@task(trigger_rule="none_failed")
def track(upstream: list[Any]) -> None:
    """Write the run to the servers in the section `tracking`, once its page is rendered; a fault is a warning."""
    context = get_current_context()
    # A run that only makes recommendations does not know how the models were trained.
    backfill = context["dag_run"].run_type == "backfill" if "as_of" in context["params"] else None
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.outcome import track as write

        write(run_spec(), UpstreamResults.from_json(upstream), store_key(), backfill=backfill)


def _origin(run: Any) -> Origin:
    from mtl_tasks.pipeline.origin import COMMAND_LINE, find_origin, user_name

    if run.triggering_user_name == _DAG_TEST:
        return find_origin(COMMAND_LINE, user_name())
    return find_origin(run.run_type.value, run.triggering_user_name)


def _emit_stage(spec: RunSpec, result: StageResult, upstream: UpstreamResults) -> None:
    emit_lineage(lambda: _lineage().stage_lineage(spec, result, upstream, os.environ, store_key()))


def _lineage() -> ModuleType:
    from mtl_tasks.pipeline import lineage

    return lineage


@contextlib.contextmanager
def in_project() -> Iterator[None]:
    """Work in the project's folder with thread settings applied, which the worker may have been started without."""
    settle_threads()
    with contextlib.chdir(scenario_files.ROOT):
        yield


def store_uri() -> str:
    """Return the address of the store, by the same rule as the command line.

    Raises
    ------
    ConfigError
        If it is a relative folder and the project is a checkout that a DAG bundle keeps.
    """
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    address, root = address_from(os.environ), scenario_files.ROOT
    relative = "://" not in address and not Path(address).expanduser().is_absolute()
    if relative and root.is_relative_to(get_bundle_storage_root_path()):  # type: ignore[no-untyped-call]
        raise ConfigError(
            f"MTL_STORE: {address} would be a folder in {root}, which the DAG bundle keeps for one version of the "
            "project: other versions would begin without a champion; set MTL_STORE to an absolute path or a URI such "
            "as s3://bucket/path"
        )
    return address


def store_key() -> StoreKey | None:
    """Return the key that seals the store's documents; every process reads it itself, and none passes it on."""
    return key_from(os.environ)


def wanted_as_of(context: Any) -> Any:
    """Return the as_of that the run's form names, else that of the partition or of the events that started it.

    A partition is the day that is complete, so that its run is as of the day after. Of several events the newest as_of
    counts. Without any of these the answer is None.

    Raises
    ------
    ConfigError
        If a partition key or an event's as_of is not a date.
    """
    if context["params"]["as_of"] is not None:
        return context["params"]["as_of"]
    if context.get("partition_key") is not None:
        return _day_after(context["partition_key"])
    events = [event for of_asset in context["triggering_asset_events"].values() for event in of_asset]
    given = [(event.extra or {}).get("as_of") for event in events]
    return max((_day_of_event(day) for day in given if day is not None), default=None)


def _day_after(partition_key: str) -> str:
    from mtl_tasks.core.days import AsOf

    try:
        return AsOf(AsOf.parse(partition_key).day + 1).iso
    except ConfigError as error:
        raise ConfigError(
            f"partition key {reprlib.repr(partition_key)} of the run: must be the day that is complete, YYYY-MM-DD"
        ) from error


def _day_of_event(day: Any) -> str:
    from mtl_tasks.core.days import AsOf

    if not isinstance(day, str):
        raise ConfigError(f"as_of in the extra of an asset's event: must be text, YYYY-MM-DD (got {reprlib.repr(day)})")
    return AsOf.parse(day).iso


def unresolved_as_of(scenario: Scenario, context: Any) -> AsOf:
    """Return the as_of of a run that is not resolved yet, by the rule of its first stage."""
    from mtl_tasks.pipeline.tasks import resolve_as_of

    run = context["dag_run"]
    return resolve_as_of(wanted_as_of(context), scenario, run.data_interval_end, run.run_after)[0]


def run_spec(context: Any = None) -> RunSpec:
    """Return the run's specification, as its first task resolved it; callbacks pass their context, as none is current.

    ``context`` is by default the current task's.
    """
    from mtl_tasks.pipeline.documents import RunSpec

    # Pulled, not passed: an argument would draw an edge from `resolve` to every task of the graph.
    ti = (context or get_current_context())["ti"]
    return RunSpec.from_json(ti.xcom_pull(task_ids="resolve", key="run_spec"))
