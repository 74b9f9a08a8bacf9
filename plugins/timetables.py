"""Plugin with the timetable of logs that have ended, which Airflow looks up by name for a stored DAG."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dags.timetables import EndingTimetable


class Timetables(AirflowPlugin):
    """Lets DAGs use the project's timetable."""

    name = "timetables"
    timetables: list[Any] = [EndingTimetable]  # noqa: RUF012 - Airflow's form
