"""Waits that keep runs of several dates in order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

POLL_SECONDS = 15.0
DECIDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class EarlierRuns(BaseSensorOperator):
    """Waits for runs of earlier dates that have no verdict yet: the champion to compare with may be among them.

    This is what makes a backfill with several active runs give what one after the other gives. A run counts until the
    task that enters its verdict has ended: one that awaits approval is no champion until somebody approves it, and
    holds up nobody. Nor does a failed run. Only runs under way are waited for, and only those of earlier dates, so that
    no two runs wait for each other; a run without a date waits for none. While it waits it takes up no worker.

    Parameters
    ----------
    publish
        Id of the task that enters a verdict in the registry.
    timeout
        How long to wait.
    """

    def __init__(self, *, publish: str, timeout: timedelta, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, execution_timeout=timeout, **kwargs)
        self.publish = publish

    def execute(self, context: Any, event: Any = None) -> None:
        """Look for such runs, and wait for them; then look again, as others may have been started meanwhile."""
        runs = undecided(self.dag_id, running_before(self.dag_id, context["dag_run"].logical_date), self.publish)
        if not runs:
            return
        self.log.info("waits for the verdicts of %s", ", ".join(runs))
        self.defer(
            trigger=VerdictsTrigger(dag_id=self.dag_id, run_ids=runs, publish=self.publish),
            method_name="execute",
            timeout=timedelta(seconds=self.timeout),
        )


class VerdictsTrigger(BaseTrigger):
    """Fires once none of some runs is both under way and without a verdict."""

    def __init__(self, dag_id: str, run_ids: list[str], publish: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id, self.run_ids, self.publish = dag_id, run_ids, publish

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the place of this class, for the triggerer to import, and its arguments."""
        arguments = {"dag_id": self.dag_id, "run_ids": self.run_ids, "publish": self.publish}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again."""
        while runs := await asyncio.to_thread(undecided, self.dag_id, self.run_ids, self.publish):
            self.log.info("waits for the verdicts of %s", ", ".join(runs))
            await asyncio.sleep(POLL_SECONDS)
        yield TriggerEvent({"decided": self.run_ids})  # type: ignore[no-untyped-call]


def running_before(dag_id: str, logical_date: Any) -> list[str]:
    """Return the runs of a DAG that are under way and of a date before a given one, the newest first."""
    # What a task's `get_previous_dagrun` asks, which only asks it from the task's own date.
    from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    runs: list[str] = []
    while logical_date is not None:
        answer = SUPERVISOR_COMMS.send(GetPreviousDagRun(dag_id=dag_id, logical_date=logical_date, state="running"))
        if not isinstance(answer, PreviousDagRunResult) or answer.dag_run is None:
            break
        runs.append(answer.dag_run.run_id)
        logical_date = answer.dag_run.logical_date
    return runs


def undecided(dag_id: str, run_ids: list[str], publish: str) -> list[str]:
    """Return those of some runs that are under way and without a verdict; for tasks and triggers."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if not run_ids:
        return []
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=[publish], run_ids=run_ids)
    return [
        run
        for run in run_ids
        if states.get(run, {}).get(publish) not in DECIDED
        and RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=[run], states=["running"])
    ]
