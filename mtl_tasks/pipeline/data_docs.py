"""The validation of a finished run's log as a Great Expectations project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mtl_tasks.integrations.gx_context import Validation, write_context
from mtl_tasks.pipeline.past_documents import made_at
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_part
from mtl_tasks.store.documents.data import ValidationReport
from mtl_tasks.store.registry import RunRecord


@dataclass(frozen=True)
class WrittenDataDocs:
    """The first page of written Data Docs, and the number of expectations."""

    page: Path
    expectations: int


def write_data_docs(store: Store, entry: RunRecord, folder: Path) -> WrittenDataDocs:
    """Write the expectations of a run's log and their results into the Great Expectations project ``folder/gx``.

    See :func:`mtl_tasks.integrations.gx_context.write_context`.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    ArtifactError
        If the run's validation is missing or damaged.
    """
    artifact = store.open(entry.refs["validate"])
    report = read_part(artifact, "validation", ValidationReport)
    at = datetime.fromtimestamp(made_at(artifact), UTC)
    name = f"{entry.as_of}-{entry.run_key[:12]}"
    page = write_context(Validation(entry.scenario_name, name, at, report), folder)
    return WrittenDataDocs(page, len(report.expectations))
