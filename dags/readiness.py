"""A sensor that waits until the day that a run is to learn from is complete."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from dags import scenario_files
from dags.stage_tasks import in_project, unresolved_as_of
from mtl_tasks.core.errors import DataError, SourceError
from mtl_tasks.scenario import Scenario

POLL_SECONDS = 60.0


class SourceReady(BaseSensorOperator):
    """Waits for the marker of the last day before the run's as_of. The wait takes up no worker.

    The scenario has a section `source.ready`.
    """

    def __init__(self, *, scenario: Scenario, **kwargs: Any) -> None:
        assert scenario.source.ready is not None
        self.hours = scenario.source.ready.timeout_hours
        wait = timedelta(hours=self.hours + 1)  # the trigger ends it before, with an error that names the marker
        super().__init__(timeout=wait, execution_timeout=wait, **kwargs)
        self.scenario = scenario

    def execute(self, context: Any, event: Any = None) -> None:
        """Look for the marker, then wait for it."""
        with in_project():
            from mtl_tasks.data.readiness import is_there, marker_path

            path = marker_path(self.scenario, unresolved_as_of(self.scenario, context))
            if is_there(path, scenario_files.ROOT):
                self.log.info("%s is there", path)
                return
        if event is not None:
            raise DataError(
                f"{path} (source.ready in {self.scenario.file}): not there within {self.hours:g} hours: see that the "
                "job that writes the log has finished the day"
            )
        self.log.info("waits for %s, for up to %g hours", path, self.hours)
        self.defer(
            trigger=MarkerTrigger(path=path, root=str(scenario_files.ROOT), until=time.time() + self.hours * 3600),
            method_name="execute",
            timeout=timedelta(seconds=self.timeout),
        )


class MarkerTrigger(BaseTrigger):
    """Fires once a file exists, or at a time.

    Parameters
    ----------
    root
        Folder that relative paths start from.
    until
        Seconds since 1970-01-01.
    """

    def __init__(self, path: str, root: str, until: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.root, self.until = path, root, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the import path of this class, for the triggerer, and its arguments."""
        arguments = {"path": self.path, "root": self.root, "until": self.until}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the file exists or the time has come; a server that does not answer is asked again."""
        from mtl_tasks.data.readiness import is_there

        found = False
        while not found:
            try:
                found = await asyncio.to_thread(is_there, self.path, self.root)
            except SourceError as error:
                self.log.warning("%s", error)
            left = self.until - time.time()
            if not found and left <= 0:
                break
            if not found:
                await asyncio.sleep(min(POLL_SECONDS, left))
        yield TriggerEvent({"found": found})  # type: ignore[no-untyped-call]
