"""The expectations of a log and their last results as a Great Expectations project with Data Docs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.loggers import at_level
from mtl_tasks.store.documents.data import ExpectationResult, ValidationReport

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.file_data_context import FileDataContext
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

FOLDER: Final = "gx"  # where Great Expectations' own tools look for a project
_SOURCE: Final = "interactions"
_WHOLE: Final = "whole"
_SITE: Final = "local_site"  # the name that Great Expectations gives


@dataclass(frozen=True)
class Validation:
    """A validation of a log.

    Attributes
    ----------
    run
        Names the run that validated, in Data Docs.
    at
        Time of the validation, with a zone.
    """

    scenario: str
    run: str
    at: datetime
    report: ValidationReport


def write_context(validation: Validation, folder: Path) -> Path:
    """Write a validation into the Great Expectations project ``folder/gx``, made if necessary, and build its Data Docs.

    A suite, a data asset and a validation definition have the scenario's name. Those of other scenarios and the results
    of earlier validations stay. Writing the same validation again changes nothing but the time of the pages.

    Returns
    -------
    pathlib.Path
        The first page of Data Docs, absolute.

    Raises
    ------
    ConfigError
        If the folder cannot be written, or holds a project that Great Expectations cannot open.
    """
    import great_expectations as gx
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with at_level("great_expectations", logging.WARNING):
            context = gx.get_context(mode="file", project_root_dir=folder)
            return _write(context, validation)
    except (OSError, ValueError, GreatExpectationsError) as error:  # a damaged file of a project is a ValueError
        raise ConfigError(f"{folder / FOLDER}: cannot be written as a Great Expectations project ({error})") from error


def _write(context: FileDataContext, validation: Validation) -> Path:
    import great_expectations as gx

    configurations = [_configuration(result) for result in validation.report.expectations]
    expectations = [configuration.to_domain_obj() for configuration in configurations]
    suite = context.suites.add_or_update(gx.ExpectationSuite(name=validation.scenario, expectations=expectations))
    data = _batch_definition(context, validation.scenario)
    context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=validation.scenario, data=data, suite=suite)
    )
    _store_results(context, suite, data, validation)
    context.build_data_docs()
    site = (context.variables.data_docs_sites or {}).get(_SITE)
    if site is None:
        raise ConfigError(f"{context.root_directory}: has no site {_SITE!r} of Data Docs: choose another folder")
    return Path(context.root_directory, site["store_backend"]["base_directory"], "index.html")


def _configuration(result: ExpectationResult) -> ExpectationConfiguration:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    column = {} if result.column is None else {"column": result.column}
    return ExpectationConfiguration(
        type=result.expectation, kwargs={**column, **result.arguments}, severity=FailureSeverity(result.severity)
    )


def _batch_definition(context: FileDataContext, scenario: str) -> BatchDefinition[Any]:
    """Return the data of a scenario's log, a frame that whoever validates hands over."""
    from great_expectations.datasource.fluent.pandas_datasource import PandasDatasource

    sources = context.data_sources
    source = sources.get(_SOURCE) if _SOURCE in sources.all() else sources.add_pandas(_SOURCE)
    if not isinstance(source, PandasDatasource):
        raise ConfigError(f"{context.root_directory}: the data source {_SOURCE!r} is not pandas: choose another folder")
    names = [asset.name for asset in source.assets]
    asset = source.get_asset(scenario) if scenario in names else source.add_dataframe_asset(scenario)
    defined = {definition.name: definition for definition in asset.batch_definitions}
    return defined.get(_WHOLE) or asset.add_batch_definition_whole_dataframe(_WHOLE)


def _store_results(
    context: FileDataContext, suite: ExpectationSuite, data: BatchDefinition[Any], validation: Validation
) -> None:
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    run = RunIdentifier(run_name=validation.run, run_time=validation.at)
    named = ExpectationSuiteIdentifier(name=suite.name)
    batch = f"{_SOURCE}-{data.data_asset.name}"
    context.validation_results_store.store_validation_results(
        suite_validation_result=_suite_result(suite, run, validation, batch),
        suite_validation_result_identifier=ValidationResultIdentifier(named, run, batch),
        expectation_suite_identifier=named,
    )


def _suite_result(
    suite: ExpectationSuite, run: Any, validation: Validation, batch: str
) -> ExpectationSuiteValidationResult:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )

    given = validation.report.expectations
    passed = sum(result.success for result in given)
    statistics = {
        "evaluated_expectations": len(given),
        "successful_expectations": passed,
        "unsuccessful_expectations": len(given) - passed,
        "success_percent": 100 * passed / len(given) if given else None,
    }
    results = [
        ExpectationValidationResult(
            success=result.success, expectation_config=expectation.configuration, result=_observed(result)
        )
        for result, expectation in zip(given, suite.expectations, strict=True)
    ]
    return ExpectationSuiteValidationResult(
        success=passed == len(given),
        results=results,
        suite_name=suite.name,
        statistics=statistics,
        batch_id=batch,
        meta={
            "run_id": run,
            "validation_time": validation.at.isoformat(),
            "active_batch_definition": {"datasource_name": _SOURCE, "data_asset_name": validation.scenario},
            "batch_spec": {"data_asset_name": validation.scenario},
        },
    )


def _observed(result: ExpectationResult) -> dict[str, Any]:
    """Return a result as Great Expectations shows it: counts of rows, else the observed value."""
    rows = result.rows
    if rows is None:
        return {"observed_value": result.observed}
    share = 100 * result.unexpected / rows if rows else 0.0
    return {
        "element_count": rows,
        "unexpected_count": result.unexpected,
        "unexpected_percent": share,
        "partial_unexpected_list": [],  # values of rows are not kept
    }
