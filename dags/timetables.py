"""Schedules of training DAGs: the scenario's schedule, up to the last day of a log that has ended."""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.sdk import Asset, PartitionedAssetTimetable
from airflow.sdk import CronDataIntervalTimetable as EndlessTimetable
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

if TYPE_CHECKING:
    from mtl_tasks.scenario import Scenario


class EndingTimetable(CronDataIntervalTimetable):
    """Data intervals by a cron expression in UTC; the last one begins on the log's last day.

    The argument ``end_date`` of a DAG would end its schedule too, but tasks inherit it: a manual run with a later
    logical date, the form's default, would have no task and succeed. ``plugins/timetables.py`` registers the class.

    Parameters
    ----------
    end
        Time after which no interval begins.
    """

    def __init__(self, cron: str, end: datetime) -> None:
        super().__init__(cron, timezone="UTC")
        self._end = pendulum.instance(end)

    def serialize(self) -> dict[str, Any]:
        """Return the arguments as JSON."""
        return {"cron": self._expression, "end": self._end.isoformat()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> EndingTimetable:
        """Invert :meth:`serialize`."""
        return cls(data["cron"], datetime.fromisoformat(data["end"]))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next interval; none begins after the end, whether it is scheduled or backfilled."""
        latest = self._end if restriction.latest is None else min(restriction.latest, self._end)
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction._replace(latest=latest)
        )

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """Return the last whole interval before a manual run, or the log's last."""
        last = self._get_next(self._align_to_prev(self._end))
        return super().infer_manual_data_interval(run_after=min(run_after, last))


def make_schedule(
    scenario: Scenario,
) -> EndlessTimetable | EndingTimetable | PartitionedAssetTimetable | list[Asset]:
    """Return the schedule of a scenario's training DAG: a timetable, or the asset whose updates start a run."""
    if not isinstance(scenario.schedule, str):
        asset = Asset(scenario.schedule.asset)
        return PartitionedAssetTimetable(assets=asset) if scenario.schedule.partitioned else [asset]
    if scenario.end_date is None:
        return EndlessTimetable(scenario.schedule, timezone="UTC")
    return EndingTimetable(scenario.schedule, datetime.combine(scenario.end_date, time.max, pendulum.UTC))
