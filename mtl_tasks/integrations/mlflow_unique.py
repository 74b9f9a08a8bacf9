"""Experiments, runs and models of an MLflow server that exist once, also if several writers make them at once.

MLflow gives unique names to experiments and registered models, but not to runs, and has no transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.tracking import MlflowClient

_CLAIM: Final = "mtl.claim"  # a parameter, since a server refuses another value for one
_REFUSED: Final = "INVALID_PARAMETER_VALUE"
_CONFLICT: Final = "BAD_REQUEST"  # for one of two equal inserts at the same moment
_EXISTS: Final = "RESOURCE_ALREADY_EXISTS"
_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"


def unique_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment of a name, which is created if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise
            found = client.get_experiment_by_name(name)  # another writer has created it meanwhile
            assert found is not None
    return str(found.experiment_id)


def unique_run(
    client: MlflowClient, experiment_id: str, tags: Mapping[str, str], name: str, at: int
) -> tuple[str, Mapping[str, str]]:
    """Return the id and the tags of the run with some tags, which is created if there is none.

    All writers get the same run. A writer claims the other runs with the tags for the one with the smallest id, and
    that one for itself. A run counts if it is claimed for itself, and the first claim stays. A run that a writer has
    not seen was created after its search, by a writer that sees all of them. The runs that do not count are deleted.

    Parameters
    ----------
    at
        Start of a new run in milliseconds since 1970.
    """
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    elected = None
    while elected is None:
        found = {run.info.run_id: run.data.tags for run in client.search_runs([experiment_id], wanted)}
        if not found:
            client.create_run(experiment_id, at, {**tags, "mlflow.runName": name})
            continue
        elected = _elect(client, sorted(found))
        for run_id in found.keys() - {elected}:
            client.delete_run(run_id)
    return elected, found[elected]


def _elect(client: MlflowClient, run_ids: Sequence[str]) -> str | None:
    """Return the run that counts; None if none of them does, because each was claimed for another one."""
    first = run_ids[0]
    for other in run_ids[1:]:
        if _claim(client, other, first) == other:
            return other
    return first if _claim(client, first, first) == first else None


def _claim(client: MlflowClient, run_id: str, winner: str) -> str | None:
    """Claim a run for another or for itself, and return the run that it was claimed for first."""
    from mlflow.exceptions import MlflowException

    try:
        insert(lambda: client.log_param(run_id, _CLAIM, winner))
    except MlflowException as error:
        if error.error_code != _REFUSED:  # also the answer for a deleted run, which may never have been claimed
            raise
    else:
        return winner
    claim: str | None = client.get_run(run_id).data.params.get(_CLAIM)
    return claim


def insert(write: Callable[[], object]) -> None:
    """Call a function that inserts rows; once more if another writer has inserted one of them at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        write()
    except MlflowException as error:
        if error.error_code != _CONFLICT:
            raise
        write()  # it finds the row


def find_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """Return the registered model of a name; None without one."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        return None


def unique_model(client: MlflowClient, name: str) -> RegisteredModel:
    """Return the registered model of a name, which is created if there is none."""
    from mlflow.exceptions import MlflowException

    found = find_model(client, name)
    if found is not None:
        return found
    try:
        return client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != _EXISTS:
            raise
        return client.get_registered_model(name)  # another writer has created it meanwhile
