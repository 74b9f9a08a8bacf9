"""Access control: every route requires Airflow's session or token, and a scenario requires access to its DAG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException
from fastapi import Path as PathParameter
from sqlalchemy.orm import Session

from mtl_tasks.pipeline.past_runs import stored_scenarios
from mtl_tasks.scenario import SCENARIO_FOLDER, scenario_names
from mtl_tasks.store.address import address_from, checked_address
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.sealing import key_from
from plugins.model_board.own_dags import is_foreign, is_own

TRAINS: Final = "train_"
ROOT = Path(__file__).parents[2]  # the project's folder: a local store is named relative to it

ScenarioName = Annotated[str, PathParameter(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


def open_store() -> Store:
    """Return the store that the DAGs write to."""
    return Store(checked_address(address_from(os.environ), ROOT), key_from(os.environ))


def known_scenarios(store: Store) -> list[str]:
    """Return the names of the scenarios that have a file or a verdict; a link that leads out of the store is none."""
    names = {*scenario_names(ROOT / SCENARIO_FOLDER), *stored_scenarios(store)}
    return sorted(name for name in names if _lies_inside(store, name))


def scenario_of(session: Session, dag_id: str) -> str | None:
    """Return the scenario that a DAG trains; None if it is not a training DAG of the project."""
    scenario = dag_id.removeprefix(TRAINS)
    ours = scenario != dag_id and is_own(session, dag_id) and scenario in known_scenarios(open_store())
    return scenario if ours else None


def may_read(user: GetUserDep, scenario: str) -> bool:
    """Whether Airflow lets the user see the runs of the scenario's DAG.

    Nobody may if a DAG of that name is not the project's: access to it does not cover the scenario.
    """
    dag_id = f"{TRAINS}{scenario}"
    with create_session(scoped=False) as session:
        if is_foreign(session, dag_id):
            return False
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.RUN, details=details, user=user
    )


def readable_scenario(user: GetUserDep, scenario: ScenarioName) -> str:
    """Return the scenario of the path; one that the user may not read gets the same answer as an unknown one."""
    if scenario not in known_scenarios(open_store()) or not may_read(user, scenario):
        raise HTTPException(404, f"no scenario {scenario}")
    return scenario


def readable_scenarios(user: GetUserDep) -> list[str]:
    """Return all scenarios that the user may see."""
    return [name for name in known_scenarios(open_store()) if may_read(user, name)]


ReadableScenario = Annotated[str, Depends(readable_scenario)]
ReadableScenarios = Annotated[list[str], Depends(readable_scenarios)]


def _lies_inside(store: Store, name: str) -> bool:
    if store.root.protocol not in ("", "file", "local"):
        return True
    root = Path(store.root.path).resolve()
    return (root / name).resolve().parent == root
