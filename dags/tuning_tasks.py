"""The tasks that the tuning DAGs are wired from, each in the project's folder, as the CLI does."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context, task

from dags.stage_tasks import in_project, store_key, store_uri


@task(multiple_outputs=False)
def prepare(scenario: str) -> dict[str, Any]:
    """Make the features as of every day, and run the trial of the scenario's own settings."""
    context = get_current_context()
    run = context["dag_run"]
    params = {name: context["params"][name] for name in context["dag"].params}  # Airflow adds unknown ones
    with in_project():
        from mtl_tasks.pipeline.tuning.tasks import prepare_tuning

        return prepare_tuning(
            scenario,
            params,
            run.conf or {},
            interval_end=run.data_interval_end,
            run_after=run.run_after,
            now=datetime.now(UTC),
            store=store_uri(),
            storage=storage(),
            key=store_key(),
        ).to_json()


@task
def list_workers(spec: dict[str, Any]) -> list[int]:
    """List the numbers of the processes that run trials at once."""
    return list(range(get_current_context()["params"]["workers"]))


@task
def trials(spec: dict[str, Any], worker: int) -> int:
    """Run trials until the study has the requested number of them."""
    workers = get_current_context()["params"]["workers"]
    with in_project():
        from mtl_tasks.pipeline.tuning.open_study import StudySpec
        from mtl_tasks.pipeline.tuning.tasks import execute_trials

        return execute_trials(StudySpec.model_validate(spec), storage(), worker, workers, store_key())


@task(multiple_outputs=False)
def conclude(spec: dict[str, Any], done: list[int]) -> dict[str, Any]:
    """Judge the best settings, return the result, and pass the run's note to `plugins/run_notes.py`."""
    with in_project():
        from mtl_tasks.pipeline.tuning.open_study import StudySpec
        from mtl_tasks.pipeline.tuning.tasks import conclude_tuning, tuning_note

        result = conclude_tuning(StudySpec.model_validate(spec), storage(), store_key())
        get_current_context()["ti"].xcom_push(key="note", value=tuning_note(result))
    return result.to_stored()


def storage() -> str | None:
    """Return the address of the database of the trials; every process reads it itself, as it may hold a password."""
    return os.environ.get("MTL_TUNING_STORAGE") or None
