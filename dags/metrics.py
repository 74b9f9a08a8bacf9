"""Numbers about runs, emitted by Airflow's own interface if its StatsD or OpenTelemetry is on; else nothing is read.

Emitting never fails a task: what goes wrong is one warning.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from airflow.sdk.configuration import conf

from mtl_tasks.core.errors import MtlError

PREFIX = "mtl"
TAGGED = ("otel_on", "statsd_datadog_enabled", "statsd_influxdb_enabled")  # settings whose back ends keep tags
BACKENDS = ("statsd_on", "otel_on", "statsd_datadog_enabled")

log = logging.getLogger(__name__)


def emit(find: Callable[[], Iterable[Any]]) -> None:
    """Emit the numbers that a function returns.

    Parameters
    ----------
    find
        Returns values of `mtl_tasks.pipeline.measures.Measure`. It is called only if a back end is on.
    """
    if not _any_on(BACKENDS):
        return
    from airflow.sdk.observability import stats

    tagged = _any_on(TAGGED)
    try:
        for measure in find():
            name, tags = named(measure, tagged)
            if measure.kind == "counter":
                stats.incr(name, int(measure.value), tags=tags)
            else:
                stats.gauge(name, measure.value, tags=tags)
    except Exception as error:  # noqa: BLE001 - monitoring must not fail the run
        cause = str(error) if isinstance(error, MtlError) else type(error).__name__
        log.warning("metrics: not all are emitted (%s); see the section metrics of Airflow's configuration", cause)


def named(measure: Any, tagged: bool) -> tuple[str, dict[str, str] | None]:
    """Return the name and the tags of a number; plain StatsD drops tags, so that their values become parts of the name.

    Two tasks' metrics would otherwise be one gauge.
    """
    if tagged:
        return f"{PREFIX}.{measure.name}", measure.tags
    return ".".join([PREFIX, measure.name, *measure.tags.values()]), None


def _any_on(settings: tuple[str, ...]) -> bool:
    return any(conf.getboolean("metrics", setting, fallback=False) for setting in settings)
