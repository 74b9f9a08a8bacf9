"""Great Expectations on an in-memory frame: expectations in, outcomes out, no project folder and no network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from mtl_tasks.core.loggers import at_level

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Expectation:
    """A Great Expectations expectation.

    Attributes
    ----------
    name
        Its class.
    arguments
        Its keyword arguments.
    failure
        Message if it fails, with the remedy.
    note
        Reference for the observed value; the report appends it to that value.
    """

    name: str
    arguments: dict[str, Any]
    severity: Severity
    failure: str = ""
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """Result of an expectation; ``error`` says why it could not be checked, which is never a success."""

    expectation: Expectation
    type: str
    success: bool
    observed: str
    unexpected: int
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report's entry."""
        arguments = self.expectation.arguments
        others = {name: _plain(value) for name, value in arguments.items() if name != "column"}
        return {
            "expectation": self.type,
            "column": arguments.get("column"),
            "severity": self.expectation.severity,
            "success": self.success,
            "observed": self.observed,
            "unexpected": self.unexpected,
            "arguments": others,
        }


def judge(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> list[Outcome]:
    """Validate a frame with Great Expectations; outcomes are in the order of the expectations."""
    # Importing Great Expectations takes seconds, which `--help` and every other stage would pay at module level.
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    built = [
        getattr(gxe, expectation.name)(
            **expectation.arguments, severity=expectation.severity, meta={"position": position}
        )
        for position, expectation in enumerate(expectations)
    ]
    with at_level("great_expectations", logging.WARNING):
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        )
        context = gx.get_context(mode="ephemeral", project_config=config)
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset("interactions")
        batch = asset.add_batch_definition_whole_dataframe("whole")
        suite = context.suites.add(gx.ExpectationSuite(name="interactions", expectations=built))
        definition = gx.ValidationDefinition(name="interactions", data=batch, suite=suite)
        asked = frame[_columns_of(frame, expectations)]  # it hashes every column that it is given
        result = context.validation_definitions.add(definition).run(batch_parameters={"dataframe": asked})
    found = sorted(result.results, key=_position)
    return [_outcome(expectation, one) for expectation, one in zip(expectations, found, strict=True)]


def _columns_of(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> list[str]:
    """Return the columns of a frame that expectations name."""
    named = {
        name
        for expectation in expectations
        for key, value in expectation.arguments.items()
        if key.startswith("column")
        for name in ([value] if isinstance(value, str) else value)
    }
    return [str(name) for name in frame if name in named]


def _plain(value: Any) -> Any:
    """Return a JSON-serializable form of an argument."""
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def _position(result: Any) -> int:
    position: int = result.expectation_config.meta["position"]
    return position


def _outcome(expectation: Expectation, result: Any) -> Outcome:
    found, error = result.result, _error(result.exception_info)
    unexpected = int(found.get("unexpected_count", 0))
    if "element_count" in found:
        observed = f"{unexpected:,} of {found['element_count']:,} rows"
    else:
        value = found.get("observed_value", "")
        observed = value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
    kind, success = result.expectation_config.type, bool(result.success) and error is None
    return Outcome(expectation, kind, success, observed + expectation.note, unexpected, error)


def _error(info: dict[str, Any]) -> str | None:
    """Return the first exception's message; the entries are nested by metric when a metric failed."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((" ".join(str(e["exception_message"]).split()) for e in entries if e["raised_exception"]), None)
