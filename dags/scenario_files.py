"""The scenario files that DAGs are made of, the sound ones apart from the faulty ones."""

from pathlib import Path

from airflow.sdk import CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowTimetableInvalid

from mtl_tasks.errors import ConfigError, MtlError
from mtl_tasks.scenario import SCENARIO_FOLDER, Scenario, load_scenario, scenario_names

ROOT = Path(__file__).parents[1]  # scenarios, data and a local store are named relative to the project


def read_scenarios() -> tuple[list[Scenario], list[str]]:
    """Return the scenarios that a DAG can be made of, and one line on each file that is none."""
    sound, faults = [], []
    for name in scenario_names(ROOT / SCENARIO_FOLDER):
        try:
            sound.append(_read(name))
        except MtlError as error:
            faults.append(str(error))
    return sound, faults


def _read(name: str) -> Scenario:
    path = ROOT / SCENARIO_FOLDER / f"{name}.yaml"
    try:
        scenario = load_scenario(name, folder=path.parent)
        CronDataIntervalTimetable(scenario.schedule, timezone="UTC").validate()
    except AirflowTimetableInvalid as error:
        raise ConfigError(
            f"{path}: schedule: {scenario.schedule!r} is not a cron expression such as '0 0 * * *' ({error})"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if scenario.name != name:
        raise ConfigError(f"{path}: name: is {scenario.name!r} but must be the file's, {name!r}")
    return scenario
