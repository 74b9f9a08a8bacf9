"""The tasks that DAGs are wired from: each runs a stage of `mtl_tasks` in the project's folder, as the CLI does."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, get_current_context, task

from dags import scenario_files
from mtl_tasks.errors import MtlError, SourceError, StoreError
from mtl_tasks.threads import settle_threads

Json = dict[str, Any]

DEFAULT_ARGS: Json = {
    "execution_timeout": timedelta(hours=4),
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(StoreError, RetryAction.RETRY, reason="the store may answer a little later"),
            RetryRule(SourceError, RetryAction.RETRY, reason="the log's bucket or database may answer a little later"),
            RetryRule(MtlError, RetryAction.FAIL, reason="the same input would fail again"),
            RetryRule(OSError, RetryAction.RETRY, reason="input and output may work a little later"),
        ]
    ),
}


@task(multiple_outputs=True)
def resolve(scenario: str) -> Json:
    """Fix what the run is: its scenario, as_of and source files."""
    context = get_current_context()
    run = context["dag_run"]
    params = {name: context["params"][name] for name in context["dag"].params}  # Airflow mixes unknown ones in
    with _project():
        from mtl_tasks.handover import ask_run, perform_stage

        asked = ask_run(
            scenario,
            params,
            run.conf or {},
            interval_end=run.data_interval_end,
            run_after=run.run_after,
            now=datetime.now(UTC),
            store=os.environ.get("MTL_STORE", ".store"),
        )
        return {"asked": asked, "resolved": perform_stage("resolve", asked, [])}


@task(multiple_outputs=False)
def stage(name: str, handed: list[Any]) -> Json:
    """Run one stage, given the results of those that it needs."""
    with _project():
        from mtl_tasks.handover import perform_stage

        return perform_stage(name, _asked(), handed)


@task
def members(resolved: Json) -> list[str]:
    """List the stages that fit the members chosen for this run."""
    with _project():
        from mtl_tasks.handover import stage_names

        return stage_names(_asked(), "member")


@task.short_circuit(ignore_downstream_trigger_rules=False)
def promoted(handed: list[Any]) -> bool:
    """Skip what is done for a champion only, if the gate rejected the candidate."""
    with _project():
        from mtl_tasks.handover import is_promoted

        return is_promoted(_asked(), handed)


@task(multiple_outputs=False, trigger_rule="none_failed_min_one_success")
def report(handed: list[Any]) -> Json:
    """Render the run's page, whatever the verdict is."""
    with _project():
        from mtl_tasks.handover import perform_report

        return perform_report(_asked(), handed)


@contextlib.contextmanager
def _project() -> Iterator[None]:
    """Work in the project's folder, with threads told how to wait: whoever started the worker may not have done so."""
    settle_threads()
    with contextlib.chdir(scenario_files.ROOT):
        yield


def _asked() -> Json:
    # Pulled rather than passed: as an argument it would draw an edge from `resolve` to every task of the graph.
    asked: Json = get_current_context()["ti"].xcom_pull(task_ids="resolve", key="asked")
    return asked
