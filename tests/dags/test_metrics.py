"""Numbers about runs, received over the network by what stands for a monitoring system."""

from __future__ import annotations

import atexit
import gzip
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import StoreError
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.measures import Measure, stage_measures, verdict_measures
from mtl_tasks.pipeline.stages import run_key
from mtl_tasks.store.artifacts import Payload
from mtl_tasks.store.registry import Registry, RunRecord
from tests.conftest import PROJECT
from tests.support.databases import free_port
from tests.support.projects import AS_OF, NAME, write_scenario
from tests.support.receivers import HookServer, mute_server, serving

Switch = Callable[..., None]
NUMBERS = [
    Measure("counter", "verdicts", 1, {"scenario": "films", "standing": "not_approved"}),
    Measure("gauge", "metric", 0.25, {"scenario": "films", "task": "rating", "metric": "rmse"}),
    Measure("gauge", "metric", 0.5, {"scenario": "films", "task": "like", "metric": "auc"}),
]


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    """Return a function that sets options of the section metrics, then starts Airflow's interface as a task does."""
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    def on(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name.upper()}", value)
        stats.initialize(factory=get_stats_factory(), export_legacy_names=False)

    yield on
    atexit.unregister(flush_otel_metrics)
    stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client never closes its socket
def test_statsd_receives_each_number_under_a_name_of_its_own(switch: Switch) -> None:
    from dags.metrics import emit

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        switch(statsd_on="True", statsd_host="127.0.0.1", statsd_port=str(listener.getsockname()[1]))
        emit(lambda: NUMBERS)
        received = [listener.recv(1500).decode() for _ in NUMBERS]
    assert received == [
        "airflow.mtl.verdicts.films.not_approved:1|c",
        "airflow.mtl.metric.films.rating.rmse:0.25|g",
        "airflow.mtl.metric.films.like.auc:0.5|g",
    ]


def test_opentelemetry_receives_each_number_with_its_tags(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.metrics import get_meter_provider

    from dags.metrics import emit

    with serving(HookServer()) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
        switch(otel_on="True", otel_interval_milliseconds="3600000")
        emit(lambda: NUMBERS)
        provider: Any = get_meter_provider()
        provider.force_flush()
        provider.shutdown()
        points = {point for _, headers, body in collector.posted for point in received(body, headers)}
    assert points == {
        ("airflow.mtl.verdicts", (("scenario", "films"), ("standing", "not_approved")), 1.0),
        ("airflow.mtl.metric", (("metric", "rmse"), ("scenario", "films"), ("task", "rating")), 0.25),
        ("airflow.mtl.metric", (("metric", "auc"), ("scenario", "films"), ("task", "like")), 0.5),
    }


def received(body: bytes, headers: dict[str, str]) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """Yield name, tags and value of each number in an export."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
    for resource in ExportMetricsServiceRequest.FromString(plain).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in [*metric.gauge.data_points, *metric.sum.data_points]:
                    tags = tuple(sorted((tag.key, tag.value.string_value) for tag in point.attributes))
                    yield metric.name, tags, point.as_double or float(point.as_int)


# In a process of its own, as OpenTelemetry takes but one provider in each.
EMITTING = """
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
from opentelemetry.metrics import get_meter_provider
from dags.metrics import emit
from mtl_tasks.pipeline.measures import Measure

stats.initialize(factory=get_stats_factory(), export_legacy_names=False)
emit(lambda: [Measure("gauge", "metric", 0.25, {"scenario": "films"})])
get_meter_provider().force_flush()
print("the task goes on")
"""


@pytest.mark.parametrize("fault", ["unreachable", "mute", "wrong token", "cut off"])
def test_a_collector_that_fails_fails_no_task_and_no_log_quotes_its_token(fault: str, tmp_path: Path) -> None:
    with mute_server() as mute, serving(HookServer()) as broken:
        broken.cut, broken.status, broken.answer = fault == "cut off", 401, b"s3cret-token is wrong"
        port = {"unreachable": free_port(), "mute": mute}.get(fault)
        settings = {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": broken.url if port is None else f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "authorization=s3cret-token",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "1",
        }
        program = [sys.executable, "-c", EMITTING]
        ended = subprocess.run(
            program, cwd=PROJECT, env=os.environ | settings, capture_output=True, text=True, check=False
        )
    assert (ended.returncode, "the task goes on" in ended.stdout) == (0, True)
    assert "metrics" in ended.stdout + ended.stderr  # the exporter says so itself
    assert "s3cret-token" not in ended.stdout + ended.stderr


def test_nothing_is_read_unless_airflows_metrics_are_on(switch: Switch) -> None:
    from dags.metrics import emit

    def refuse() -> Any:
        raise AssertionError("read")

    switch()
    emit(refuse)


def test_numbers_that_cannot_be_read_are_one_warning(switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    from dags.metrics import emit

    def unreadable() -> Any:
        raise StoreError("the store does not answer")

    switch(otel_on="True")
    with caplog.at_level(logging.WARNING):
        emit(unreadable)
    assert [record.getMessage() for record in caplog.records if record.name == "dags.metrics"] == [
        "metrics: not all are emitted (the store does not answer); see the section metrics of Airflow's configuration"
    ]


def test_the_numbers_of_a_verdict_whose_gauges_only_the_newest_day_sets_and_of_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, str(tmp_path / ".store"))
    gate = run.store.publish(run.store.folder(NAME, AS_OF, "gate", "a" * 64), "a" * 64, Payload(), {}).ref
    registry, key = Registry(run.store, NAME), run_key(run, gate)
    document, metrics = run.scenario.model_dump(mode="json"), {"rating": {"rmse": {"value": 1.5, "low": 1, "high": 2}}}
    registry.append(RunRecord("f" * 64, "2013-05-08", "promote", ["holds"], {"name": NAME}, {}, "c0de"))
    registry.append(RunRecord(key, AS_OF, "reject", ["fails"], document, {"gate": gate}, "c0de", metrics))
    results = [StageResult("gate", gate, False, 0.0, 0.0, 0.0)]
    assert list(verdict_measures(RunSpec.of(run), UpstreamResults(results))) == [
        Measure("counter", "verdicts", 1, {"scenario": NAME, "standing": "rejected"}),
        Measure("gauge", "metric", 1.5, {"scenario": NAME, "task": "rating", "metric": "rmse"}),
        Measure("gauge", "champion_age_days", 3, {"scenario": NAME}),
    ]
    registry.append(RunRecord("e" * 64, "2013-05-12", "reject", ["fails"], document, {"gate": gate}, "c0de", metrics))
    assert list(verdict_measures(RunSpec.of(run), UpstreamResults(results))) == [
        Measure("counter", "verdicts", 1, {"scenario": NAME, "standing": "rejected"}),
    ]
    fitted = StageResult("member:als", gate, False, 2.0, 1.0, 300.0, {"quarantined": 4})
    assert {measure.name: measure.value for measure in stage_measures(NAME, fitted)} == {
        "stage_rows": 0,
        "quarantined_rows": 4,
        "stage_seconds": 2.0,
        "stage_peak_mib": 300.0,
    }
    assert next(stage_measures(NAME, fitted)).tags == {"scenario": NAME, "stage": "member_als"}
    reused = StageResult("member:als", gate, True, 2.0, 1.0, 300.0)
    assert [measure.name for measure in stage_measures(NAME, reused)] == ["stage_rows"]
