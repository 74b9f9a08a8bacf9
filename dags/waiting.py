"""Waits that keep runs of several dates in order."""

from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator


class EarlierRuns(BaseSensorOperator):
    """Waits for runs of earlier dates that are under way: the champion to compare with may be among them.

    This is what makes a backfill with several active runs give what one after the other gives. A failed run is not
    waited for, so it holds up nobody; a run without a date waits for none. Between looks it takes up no worker.
    """

    def __init__(self, **kwargs: Any) -> None:
        timeout = timedelta(hours=48).total_seconds()
        super().__init__(mode="reschedule", poke_interval=15, timeout=timeout, **kwargs)

    def poke(self, context: Any) -> bool:
        """Whether no such run is under way."""
        return context["ti"].get_previous_dagrun(state="running") is None
