"""Datasets that the tasks read and write, as events of Airflow's provider `openlineage` if it is configured.

The provider emits when a task starts and ends, and knows no datasets of it. Each stage's datasets are one more event of
the same run. Emitting never fails a task: what goes wrong is one warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mtl_tasks.core.errors import MtlError

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet

    from mtl_tasks.pipeline.lineage import TaskDataset, TaskLineage

log = logging.getLogger(__name__)


def emit_lineage(find: Callable[[], TaskLineage]) -> None:
    """Emit the datasets that a function returns; it is called only if the provider is installed and configured."""
    if not _is_on():
        return
    try:
        from airflow.providers.openlineage.api import emit_dataset_lineage

        found = find()
        emit_dataset_lineage(
            inputs=[input_dataset(each) for each in found.inputs],
            outputs=[output_dataset(each) for each in found.outputs],
            raise_on_error=True,
        )
    except Exception as error:  # noqa: BLE001 - lineage must not fail the run
        cause = str(error) if isinstance(error, MtlError) else type(error).__name__
        log.warning("lineage: the datasets of this task are not emitted (%s); clear the task to try again", cause)


def _is_on() -> bool:
    if find_spec("airflow.providers.openlineage") is None:
        return False
    from airflow.providers.openlineage import conf

    return not conf.is_disabled()


def input_dataset(given: TaskDataset) -> InputDataset:
    """Return a dataset that was read as OpenLineage describes it."""
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import base_subset_dataset, input_statistics_input_dataset

    facets: dict[str, InputDatasetFacet] = {}
    if given.rows is not None or given.size is not None:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=given.rows, size=given.size, fileCount=given.files
        )
    condition = _subset(given)
    if condition is not None:
        facets["subset"] = base_subset_dataset.InputSubsetInputDatasetFacet(condition)
    if given.checks:
        facets["dataQualityAssertions"] = _assertions(given)
    return InputDataset(given.namespace, given.name, facets=_facets(given), inputFacets=facets)


def output_dataset(given: TaskDataset) -> OutputDataset:
    """Return a dataset that was written as OpenLineage describes it."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        OutputDatasetFacet,
        base_subset_dataset,
        output_statistics_output_dataset,
    )

    facets: dict[str, OutputDatasetFacet] = {}
    if given.rows is not None:
        facets["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=given.rows
        )
    condition = _subset(given)
    if condition is not None:
        facets["subset"] = base_subset_dataset.OutputSubsetOutputDatasetFacet(condition)
    return OutputDataset(given.namespace, given.name, facets=_facets(given), outputFacets=facets)


def _facets(given: TaskDataset) -> dict[str, DatasetFacet]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    facets: dict[str, DatasetFacet] = {}
    if given.tables:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=_fields(given.tables))
    if given.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(given.version)
    return facets


def _fields(tables: dict[str, dict[str, str]]) -> list[Any]:
    """Return the columns of a table; of several tables, each table as a struct of its columns."""
    from openlineage.client.facet_v2 import schema_dataset

    field = schema_dataset.SchemaDatasetFacetFields
    made = {table: [field(name=name, type=kind) for name, kind in columns.items()] for table, columns in tables.items()}
    if len(made) == 1:
        return made.popitem()[1]
    return [field(name=table, type="struct", fields=fields) for table, fields in made.items()]


def _subset(given: TaskDataset) -> Any:
    """Return the part of a dataset that the task has read or written; None if it is the whole."""
    from openlineage.client.facet_v2 import base_subset_dataset as subsets

    if given.days:
        days = [subsets.Partition(dimensions={"dt": day}, identifier=f"dt={day}") for day in given.days]
        return subsets.PartitionSubsetCondition(days)
    return None if given.address is None else subsets.LocationSubsetCondition([given.address])


def _assertions(given: TaskDataset) -> InputDatasetFacet:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    return quality.DataQualityAssertionsDatasetFacet(
        [
            quality.Assertion(
                assertion=check.expectation,
                success=check.success,
                column=check.column,
                severity="error" if check.critical else "warn",
                description=check.description,
                actual=check.observed or None,
            )
            for check in given.checks
        ]
    )
