"""A sensor and a check that keep runs of several dates in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

POLL_SECONDS = 15.0
DECIDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class EarlierRuns(BaseSensorOperator):
    """Waits for runs of earlier dates that have no verdict yet: the champion to compare with may be among them.

    A backfill with several active runs thus gives the same results as one run after the other. A run is waited for
    until the task that records its verdict has ended. One that awaits approval is no champion until it is approved, and
    holds up no other run; nor does a failed run. Only running runs of earlier dates are waited for, so that no two runs
    wait for each other. A run that an asset has started waits for those with an earlier as_of; another run without a
    date waits for none. The wait takes up no worker.

    Parameters
    ----------
    publish
        Id of the task that records a verdict in the registry.
    timeout
        How long to wait.
    """

    def __init__(self, *, publish: str, timeout: timedelta, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, execution_timeout=timeout, **kwargs)
        self.publish = publish

    def execute(self, context: Any, event: Any = None) -> None:
        """Look for such runs and wait for them; then look again, as others may have started meanwhile."""
        runs = undecided_before(context["dag_run"], self.publish)
        if not runs:
            return
        self.log.info("waits for the verdicts of %s", ", ".join(runs))
        self.defer(
            trigger=VerdictsTrigger(dag_id=self.dag_id, run_ids=runs, publish=self.publish),
            method_name="execute",
            timeout=timedelta(seconds=self.timeout),
        )


class VerdictsTrigger(BaseTrigger):
    """Fires once none of the given runs is running without a verdict."""

    def __init__(self, dag_id: str, run_ids: list[str], publish: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id, self.run_ids, self.publish = dag_id, run_ids, publish

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the import path of this class, for the triggerer, and its arguments."""
        arguments = {"dag_id": self.dag_id, "run_ids": self.run_ids, "publish": self.publish}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until all runs are decided."""
        while runs := await asyncio.to_thread(undecided, self.dag_id, self.run_ids, self.publish):
            self.log.info("waits for the verdicts of %s", ", ".join(runs))
            await asyncio.sleep(POLL_SECONDS)
        yield TriggerEvent({"decided": self.run_ids})  # type: ignore[no-untyped-call]


def refuse_reversed_backfill(dag_run: Any) -> None:
    """Fail a backfill run that starts before a run of an earlier date of the same backfill.

    Its gate would have no champion to compare with. Airflow has one backfill of a DAG at a time and starts its runs in
    order, so an earlier run that has never started means that the order is reversed. A cleared run has started once.

    Raises
    ------
    AirflowFailException
        If there is such a run.
    """
    from airflow.sdk.exceptions import AirflowFailException

    if dag_run.run_type != "backfill":
        return
    for earlier in runs_before(dag_run.dag_id, dag_run.logical_date, "queued"):
        if earlier.run_type == "backfill" and not earlier.clear_number:
            raise AirflowFailException(
                f"this backfill runs backwards: {earlier.run_id} is of an earlier date and has not started, so this "
                "run would be judged without the champion of that date; cancel the backfill and create it again "
                "without --run-backwards"
            )


def runs_before(dag_id: str, logical_date: Any, state: str) -> Iterator[Any]:
    """Yield the runs of a DAG in a state and before a date, newest first."""
    # The request of a task's `get_previous_dagrun`, which only sends it from the task's own date.
    from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    while logical_date is not None:
        answer = SUPERVISOR_COMMS.send(GetPreviousDagRun(dag_id=dag_id, logical_date=logical_date, state=state))
        if not isinstance(answer, PreviousDagRunResult) or answer.dag_run is None:
            break
        yield answer.dag_run
        logical_date = answer.dag_run.logical_date


def undecided_before(run: Any, publish: str) -> list[str]:
    """Return the runs of dates before a run's that are running without a verdict."""
    if run.run_type != "asset_triggered":
        running = [earlier.run_id for earlier in runs_before(run.dag_id, run.logical_date, "running")]
        return undecided(run.dag_id, running, publish)
    mine = resolved_as_of(run.dag_id, run.run_id)
    others = [(other, resolved_as_of(run.dag_id, other)) for other in undecided(run.dag_id, None, publish)]
    return [other for other, day in others if mine is not None and day is not None and day < mine]


def resolved_as_of(dag_id: str, run_id: str) -> str | None:
    """Return the as_of of a run as its first task resolved it; None before that."""
    from airflow.sdk.execution_time.xcom import XCom

    spec: dict[str, str] | None = XCom.get_one(key="run_spec", dag_id=dag_id, task_id="resolve", run_id=run_id)
    return None if spec is None else spec["as_of"]


def undecided(dag_id: str, run_ids: list[str] | None, publish: str) -> list[str]:
    """Return the given runs, or of all runs those, that are running without a verdict; for tasks and triggers."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if run_ids == []:
        return []
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=[publish], run_ids=run_ids)
    return [
        run
        for run in (states if run_ids is None else run_ids)
        if states.get(run, {}).get(publish) not in DECIDED
        and RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=[run], states=["running"])
    ]
