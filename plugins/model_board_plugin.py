"""The plugin of the model board: an app beside Airflow's own API, an entry in the navigation, a tab on each run."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from plugins.model_board.mounted import PREFIX, MountedBoard


class ModelBoard(AirflowPlugin):
    """Shows every model, verdict and reason of a scenario."""

    name = "model_board"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - Airflow's form
        {"app": MountedBoard(), "url_prefix": PREFIX, "name": "Model board"}
    ]
    external_views: list[Any] = [  # noqa: RUF012
        {"name": "Models", "href": f"{PREFIX[1:]}/", "destination": "nav", "category": "browse", "url_route": "models"},
        {
            "name": "Model",
            "href": f"{PREFIX[1:]}/dag-run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "model",
        },
    ]
