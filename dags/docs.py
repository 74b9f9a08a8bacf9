"""Documentation of the DAGs: a file's docstring, and where the scenario's runs are shown."""

from airflow.sdk.configuration import conf

from mtl_tasks.scenario import Scenario

BOARD = "/plugin/models/model-board"  # Airflow's page that shows the model board


def board_address() -> str:
    """Return the address of the model board, within the pages of this Airflow."""
    return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}{BOARD}"


def owner_links(scenario: Scenario) -> dict[str, str]:
    """Return the link of the DAGs' owner, if the scenario's file has one."""
    return {} if scenario.owner_link is None else {scenario.owner: scenario.owner_link}


def with_links(text: str | None, scenario: Scenario) -> str:
    """Return the documentation with a link to the scenario's runs; it depends on the scenario's file alone."""
    runs = f"[the model board]({BOARD}/scenarios/{scenario.name})"
    return f"{(text or '').rstrip()}\n\n**Runs.** Verdicts, metrics, recommendations and costs of all runs: {runs}.\n"
