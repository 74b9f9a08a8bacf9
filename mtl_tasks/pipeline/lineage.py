"""Datasets that a task has read and written: names, versions, columns, rows, and the checks of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import Field

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.documents import Document
from mtl_tasks.core.stages import DAILY, STAGES, kind_of
from mtl_tasks.data.connections import database_url
from mtl_tasks.data.files import SourceFile, locate
from mtl_tasks.data.reading import open_parquet
from mtl_tasks.integrations.dataset_names import DatasetName, name_of_path, name_of_table
from mtl_tasks.integrations.targets import Delivery
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import Run, StageResult
from mtl_tasks.pipeline.stages.prepare import ROOT
from mtl_tasks.report.expectation_text import sentence
from mtl_tasks.scenario import Scenario, load_scenario
from mtl_tasks.store.artifacts import Artifact, Ref, day_refs
from mtl_tasks.store.documents import read_part
from mtl_tasks.store.documents.data import ExpectationResult, ValidationReport
from mtl_tasks.store.sealing import StoreKey

_READS_LOG: Final = ("resolve", "validate")
_READS_REGISTRY: Final = ("gate",)  # it looks up the champion
_WRITES_REGISTRY: Final = ("publish",)


class Check(Document):
    """An expectation of the log and its result.

    Attributes
    ----------
    column
        The log's own name of the column; None if the check is about several, or one that validation adds.
    """

    expectation: str
    column: str | None
    critical: bool
    success: bool
    description: str
    observed: str


class TaskDataset(Document):
    """A dataset as a task has read or written it.

    Attributes
    ----------
    version
        Key of an artifact.
    tables
        Columns with their types, by table.
    days
        Days of a log that is partitioned by day, ``YYYY-MM-DD``.
    address
        Where this version is, if the name is that of all versions.
    """

    namespace: str
    name: str
    version: str | None = None
    tables: dict[str, dict[str, str]] = Field(default_factory=dict)
    rows: int | None = None
    size: int | None = None
    files: int | None = None
    days: tuple[str, ...] = ()
    address: str | None = None
    checks: tuple[Check, ...] = ()


class TaskLineage(Document):
    """Datasets that a task has read and written."""

    inputs: tuple[TaskDataset, ...] = ()
    outputs: tuple[TaskDataset, ...] = ()


def stage_lineage(
    run_spec: RunSpec,
    result: StageResult,
    upstream: UpstreamResults,
    environment: Mapping[str, str],
    key: StoreKey | None = None,
) -> TaskLineage:
    """Return the datasets of a finished stage.

    Parameters
    ----------
    upstream
        Results that were passed to the stage; those that it does not read are left out.
    environment
        Where the URL of a log in a database is looked up.
    key
        The key that seals the store's documents.

    Raises
    ------
    MtlError
        If an artifact or the log's newest file cannot be read.
    """
    run, kind = run_spec.open(key), kind_of(result.stage)
    registry = (_registry(run),)
    read = (_read(run, each.ref) for name, each in upstream.items() if kind_of(name) in STAGES[kind].inputs)
    of_log = tuple(_sources(run, result, upstream, environment)) if kind in _READS_LOG else ()
    return TaskLineage(
        inputs=(*of_log, *read, *(registry if kind in _READS_REGISTRY else ())),
        outputs=(_written(run, result), *(registry if kind in _WRITES_REGISTRY else ())),
    )


def promoted_lineage(run_spec: RunSpec, key: StoreKey | None = None) -> TaskLineage:
    """Return the dataset of the task that looks up a promoted run: the registry."""
    return TaskLineage(inputs=(_registry(run_spec.open(key)),))


def delivery_lineage(
    run_spec: RunSpec,
    upstream: UpstreamResults,
    deliveries: list[Delivery],
    environment: Mapping[str, str],
    key: StoreKey | None = None,
) -> TaskLineage:
    """Return the datasets of a delivery: the recommendations, and each target that was written."""
    run = run_spec.open(key)
    targets = load_scenario(run.scenario.name)
    outputs = [
        TaskDataset(**_target(targets, delivery.target, environment)._asdict(), rows=delivery.rows)
        for delivery in deliveries
        if delivery.fault is None
    ]
    return TaskLineage(inputs=(_read(run, upstream["recommend"].ref),), outputs=tuple(outputs))


def _registry(run: Run) -> TaskDataset:
    name = name_of_path(str(run.store.root)).below(run.scenario.name, "registry")
    return TaskDataset(namespace=name.namespace, name=name.name)


def _read(run: Run, ref: Ref) -> TaskDataset:
    """Return an artifact: its stage's dataset, of which every run writes a version."""
    root = name_of_path(str(run.store.root))
    scenario, _, stage, _ = ref.uri.split("/")
    return TaskDataset(
        **root.below(scenario, stage)._asdict(),
        version=ref.key,
        rows=ref.rows or None,
        address=root.below(ref.uri).address,
    )


def _written(run: Run, result: StageResult) -> TaskDataset:
    """Return an artifact with its columns, which are read from its files."""
    artifact = run.store.open(result.ref)
    tables = _tables(artifact)
    if kind_of(result.stage) in DAILY:  # its rows are in the artifacts of days that it refers to
        tables = {**tables, **_tables(run.store.open(day_refs(artifact)[-1]))}
    return _read(run, result.ref).model_copy(update={"tables": tables})


def _tables(artifact: Artifact) -> dict[str, dict[str, str]]:
    names = [name.removesuffix(".parquet") for name in artifact.names if name.endswith(".parquet")]
    return {name: artifact.column_types(name) for name in names}


def _sources(
    run: Run, result: StageResult, upstream: UpstreamResults, environment: Mapping[str, str]
) -> Iterator[TaskDataset]:
    """Yield the log and the tables beside it; with the checks if they are validated by this stage."""
    source, validated = run.scenario.source, result.stage == "validate"
    resolved = run.store.open(upstream["resolve"].ref if validated else result.ref)
    files = [SourceFile(**entry) for entry in resolved.json("resolve")["sources"]]
    report = read_part(run.store.open(result.ref), "validation", ValidationReport) if validated else None
    beside = source.tables.values()
    of_log = [file for file in files if file.path not in beside]
    name = _log_name(run.scenario, environment)
    yield TaskDataset(
        **name._asdict(),
        tables={} if source.events is None else _source_columns(of_log[-1].path),
        rows=None if report is None else report.rows_read,
        size=sum(file.size for file in of_log) if source.sql is None else None,
        files=len(of_log) if source.sql is None else None,
        days=tuple(sorted({day_text(file.day) for file in of_log if file.day is not None})),
        checks=() if report is None else tuple(_check(check, run.scenario) for check in report.expectations),
    )
    for file in files:
        if file.path in beside:
            table = name_of_path(str(locate(ROOT, file.path)))
            yield TaskDataset(**table._asdict(), tables=_source_columns(file.path), size=file.size)


def _log_name(scenario: Scenario, environment: Mapping[str, str]) -> DatasetName:
    source = scenario.source
    if source.sql is None:
        return name_of_path(str(locate(ROOT, source.log)))
    return name_of_table(database_url(source.sql.name, source.sql.url, source.sql.url_env, environment, scenario.file))


def _source_columns(path: str) -> dict[str, dict[str, str]]:
    """Return the columns of a Parquet file of the source; a text file says no types."""
    if not path.endswith(".parquet"):
        return {}
    with locate(ROOT, path).open("rb") as handle:
        schema = open_parquet(handle).schema_arrow
    return {"rows": {field.name: str(field.type) for field in schema}}


def _check(check: ExpectationResult, scenario: Scenario) -> Check:
    return Check(
        expectation=check.expectation,
        column=_own_columns(scenario).get(check.column or ""),
        critical=check.severity == "critical",
        success=check.success,
        description=sentence(check),
        observed=check.observed,
    )


def _own_columns(scenario: Scenario) -> dict[str, str]:
    """Return the log's own column of each canonical one."""
    named = scenario.source.columns
    labels = {columns.label(name): task.label for name, task in scenario.tasks.items() if task.label is not None}
    of_rows = {columns.USER: named.user, columns.ITEM: named.item, columns.TIME: named.time}
    return of_rows if scenario.source.long is not None else {**of_rows, **labels}  # a long log's labels are types


def _target(scenario: Scenario, target: str, environment: Mapping[str, str]) -> DatasetName:
    to = scenario.publish
    if target == "publish.parquet" and to.parquet is not None:
        return name_of_path(str(locate(ROOT, to.parquet.path)))
    if target == "publish.redis" and to.redis is not None:
        url = to.redis.url if to.redis.url_env is None else environment[to.redis.url_env]
        server = name_of_path(str(url))
        return DatasetName(server.namespace, f"{server.name or 0}/{to.redis.prefix}")
    assert to.sql is not None
    url_of = database_url(target, to.sql.url, to.sql.url_env, environment, scenario.file)
    return name_of_table(url_of, to.sql.schema_name, to.sql.table)
