"""Callbacks for a failed task or a late run; both log the next step."""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowSensorTimeout

from mtl_tasks.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    DeviceError,
    GateError,
    MtlError,
    SealError,
    SourceError,
    StoreError,
)

log = logging.getLogger(__name__)

OPERATIONS = "include/docs/operations.md"
UNSAID = "its process ended without an error, as one does that is killed; the scheduler's log says more"
# The first match counts; subclasses come before their bases.
NEXT_STEPS: tuple[tuple[type[BaseException], str], ...] = (
    (SourceError, "see that the log's bucket or database answers, then clear this task"),
    (DeviceError, "make sure that the GPU has free memory, or choose the device cpu, then clear this task"),
    (StoreError, "see that the store (MTL_STORE) answers and has room, then clear this task"),
    (SealError, "give all processes the key that the store is sealed with (MTL_STORE_KEY), then clear this task"),
    (ConfigError, "correct the parameter or the scenario file that is named above, then trigger a new run"),
    (DataError, "fix the log as described above, then clear this task and those after it"),
    (
        ArtifactError,
        "delete the folder that is named above and clear this run, or trigger another for the same as_of with `force`, "
        "which makes a separate run",
    ),
    (
        AirflowSensorTimeout,
        "see why the runs that it waited for have no verdict, fail those that will have none, then clear this task",
    ),
    (GateError, "do as it says above: the rules of promotion forbid what was asked for"),
    (OSError, "see that the machine has room and its network works, then clear this task"),
)


def say_next_step(context: Any) -> None:
    """Log the next step for a task that has failed for good, and pass fault and step to `plugins/run_notes.py`."""
    fault, ti = context.get("exception"), context["ti"]
    step = next(
        (step for kind, step in NEXT_STEPS if isinstance(fault, kind)),
        "read the error above; it is not an error of this project",
    )
    log.error("%s failed (%s). Next step: %s. More in %s", ti.task_id, type(fault).__name__, step, OPERATIONS)
    # Airflow learns of the failure after this process has ended, so the note finds the fault.
    ti.xcom_push(key="fault", value=f"{_quotable(fault)}; next step: {step}")


def _quotable(fault: Any) -> str:
    """Return the first line of the project's own error, or the type of another, whose secrets only the log masks."""
    if isinstance(fault, MtlError):
        return str(fault).partition("\n")[0]
    return f"{type(fault).__name__}, whose message is in the log"


async def say_late(interval_hours: float, context: Any) -> None:
    """Log that a run has not ended in time; a coroutine, because the triggerer awaits it."""
    run = context["dag_run"]
    late = "%s: run %s has not ended within %g hours of being queued. See %s"
    log.error(late, run["dag_id"], run["dag_run_id"], interval_hours, OPERATIONS)


def deadline(hours: float) -> DeadlineAlert:
    """Return an alert for runs that have not ended ``hours`` after they were queued."""
    callback = AsyncCallback(say_late, kwargs={"interval_hours": hours})
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=hours), callback)
