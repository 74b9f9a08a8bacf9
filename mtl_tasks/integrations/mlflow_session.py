"""A connection to an MLflow server that fails soon, sends no usage data and quotes no secret."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mtl_tasks.core.errors import SourceError
from mtl_tasks.core.extras import require_package
from mtl_tasks.core.loggers import at_level
from mtl_tasks.data.files import one_line

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from mtl_tasks.scenario import MlflowTarget

SECRETS: Final = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN")
# MLflow's own defaults try a server that does not answer for some minutes.
_SETTINGS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextmanager
def connected(target: MlflowTarget, place: str) -> Iterator[MlflowClient]:
    """Yield a client; settings of MLflow that the environment has stay as they are.

    Parameters
    ----------
    place
        The scenario's file, for messages.

    Raises
    ------
    ConfigError
        If MLflow's client is not installed.
    SourceError
        If the server does not answer, denies access or refuses a request within the block.
    """
    require_package("mlflow", "mlflow", f"tracking.mlflow in {place} needs MLflow's client")
    # Attempts of the HTTP client are not logged, as the last failure is an error of its own.
    quiet = at_level("urllib3.connectionpool", logging.ERROR)
    with _environment(_SETTINGS), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice of the client on its own settings
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        try:
            yield MlflowClient(tracking_uri=target.uri, registry_uri=target.uri)
        except (MlflowException, OSError) as error:
            raise SourceError(
                f"tracking.mlflow.uri {target.uri} in {place}: the server does not answer or refuses the request "
                f"({_cause(error)}): check the URI, the network, and MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD"
            ) from None


def _cause(error: Exception) -> str:
    """Return the start of the first error's text, which later ones wrap, without the secrets of the environment."""
    first: BaseException = error
    while (inner := first.__cause__ or first.__context__) is not None:
        first = inner
    text = str(first) or type(first).__name__
    for name in SECRETS:
        text = text.replace(os.environ.get(name) or "\0", "***")
    return one_line(Exception(text))


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment that are not set, for as long as the block lasts."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
