"""The scenario files that DAGs are made from, with faulty files separated."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from airflow.sdk import DAG, CronDataIntervalTimetable, get_parsing_context
from airflow.sdk.exceptions import AirflowTimetableInvalid
from croniter import CroniterBadDateError, croniter

from dags.pods import set_pods
from mtl_tasks.core.errors import ConfigError, MtlError
from mtl_tasks.scenario import SCENARIO_FOLDER, AssetSchedule, Scenario, load_scenario, scenario_names

_Input = TypeVar("_Input")
_Output = TypeVar("_Output")

ROOT = Path(__file__).parents[1]  # scenarios, data and a local store are named relative to the project


def build_all(*factories: Callable[[Scenario], DAG | None]) -> tuple[dict[str, DAG], list[str]]:
    """Make the DAGs of every scenario; in a task's process, of the task's scenario alone.

    Parameters
    ----------
    factories
        Each makes a DAG of a scenario, with ``auto_register=False``: one that fails midway must not be registered. None
        if the scenario has no such DAG.

    Returns
    -------
    tuple
        The DAGs by id, for the globals of a DAG file, and one line on each scenario with a DAG that could not be made.
    """
    scenarios, faults = read_scenarios()
    made, more = _of_each(scenarios, lambda scenario: [_made(factory, scenario) for factory in factories], _path)
    return {dag.dag_id: dag for dags in made for dag in dags if dag is not None}, faults + more


def read_scenarios() -> tuple[list[Scenario], list[str]]:
    """Return the scenarios of the project's files, or of a task's own file, and one line on each that has none."""
    names = scenario_names(ROOT / SCENARIO_FOLDER)
    dag_id = get_parsing_context().dag_id  # of the task that this process is to run; None in the DAG processor
    if dag_id is not None:
        own = dag_id.partition("_")[2]  # after "train_", "recommend_" or "tune_"
        names = [name for name in names if name == own]
    return _of_each([ROOT / SCENARIO_FOLDER / f"{name}.yaml" for name in names], _read, str)


def _made(factory: Callable[[Scenario], DAG | None], scenario: Scenario) -> DAG | None:
    dag = factory(scenario)
    if dag is not None:
        set_pods(dag, scenario)
        dag.validate()  # type: ignore[no-untyped-call] # Airflow does so too, but its error would be the file's, and so every scenario's
    return dag


def _of_each(
    inputs: Iterable[_Input], use: Callable[[_Input], _Output], name: Callable[[_Input], str]
) -> tuple[list[_Output], list[str]]:
    """Apply ``use`` to what each file holds; a fault affects only its own file."""
    done, faults = [], []
    for one in inputs:
        try:
            done.append(use(one))
        except MtlError as error:
            faults.append(str(error))
        except Exception as error:  # noqa: BLE001 - Airflow disables all DAGs of a file that raises
            what = " ".join(f"{type(error).__name__}: {error}".split())
            faults.append(f"{name(one)}: no DAG can be made of it ({what})")
    return done, faults


def _path(scenario: Scenario) -> str:
    return str(ROOT / SCENARIO_FOLDER / f"{scenario.name}.yaml")


def _read(path: Path) -> Scenario:
    scenario = load_scenario(path.stem, folder=path.parent)
    fault = _schedule_fault(scenario.schedule)
    if fault is not None:
        raise ConfigError(f"{path}: schedule: {scenario.schedule!r} {fault}")
    return scenario


def _schedule_fault(schedule: str | AssetSchedule) -> str | None:
    if not isinstance(schedule, str):
        return None
    timetable = CronDataIntervalTimetable(schedule, timezone="UTC")
    fields = timetable.expression.split()
    if len(fields) in (6, 7):
        return f"has {len(fields)} fields: give five, which are minute, hour, day, month and weekday"
    if any(field[0] in "Rr" for field in fields):
        return "is random each time it is read: give numbers in place of R"
    try:
        timetable.validate()
        croniter(timetable.expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next()
    except AirflowTimetableInvalid as error:
        return f"is not a cron expression such as '0 0 * * *' ({error})"
    except CroniterBadDateError:
        return "names a day that never comes: correct its day and month"
    return None
