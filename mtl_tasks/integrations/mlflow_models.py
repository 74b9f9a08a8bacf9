"""The registered model of a scenario in MLflow, whose alias `champion` follows the registry of runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mtl_tasks.integrations.mlflow_unique import find_model, unique_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

ALIAS: Final = "champion"
LOADER: Final = "mtl_tasks.notebook.mlflow_model"  # by name: it loads runs, and is imported only by MLflow
RUN_FILE: Final = "run.json"
_FOLDER: Final = "model"


@dataclass(frozen=True)
class StoredRun:
    """A finished run and the address of its store."""

    scenario: str
    run_key: str
    as_of: str
    store: str


def move_alias(client: MlflowClient, name: str, champion: StoredRun, mlflow_run: str) -> None:
    """Point the alias to the version of the champion, which is registered if it is not yet.

    Parameters
    ----------
    name
        Name of the registered model; it is created if there is none.
    mlflow_run
        MLflow's id of the champion's run.
    """
    model = unique_model(client, name)
    version = _first_version(client, name, mlflow_run) or _register(client, name, champion, mlflow_run)
    if str(model.aliases.get(ALIAS)) != str(version.version):
        client.set_registered_model_alias(name, ALIAS, version.version)


def remove_alias(client: MlflowClient, name: str) -> None:
    """Remove the alias, if there is one: no run is promoted."""
    model = find_model(client, name)
    if model is not None and ALIAS in model.aliases:
        client.delete_registered_model_alias(name, ALIAS)


def _first_version(client: MlflowClient, name: str, mlflow_run: str) -> ModelVersion | None:
    """Return the version of a run that was made first: versions are numbers that the server counts."""
    found = client.search_model_versions(f"name='{name}' and run_id='{mlflow_run}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _register(client: MlflowClient, name: str, champion: StoredRun, mlflow_run: str) -> ModelVersion:
    """Register a run, and return its version: another writer's if that was made first."""
    with TemporaryDirectory() as folder:
        client.log_artifacts(mlflow_run, str(_save(champion, Path(folder))), _FOLDER)
    source = f"{client.get_run(mlflow_run).info.artifact_uri}/{_FOLDER}"
    tags = {"mtl.run_key": champion.run_key, "mtl.as_of": champion.as_of}
    made = client.create_model_version(name, source, mlflow_run, tags=tags, await_creation_for=None)
    first = _first_version(client, name, mlflow_run) or made
    if first.version != made.version:
        client.delete_model_version(name, made.version)
    return first


def _save(champion: StoredRun, folder: Path) -> Path:
    """Write the files of a pyfunc model, which refers to the run instead of copying its artifacts."""
    from mlflow.models import Model
    from mlflow.pyfunc import add_to_model

    saved = folder / _FOLDER
    saved.mkdir()
    facts = {"scenario": champion.scenario, "run_key": champion.run_key, "store": champion.store}
    (saved / RUN_FILE).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    model = Model()
    add_to_model(model, loader_module=LOADER, data=RUN_FILE)
    model.save(str(saved / "MLmodel"))
    return saved
