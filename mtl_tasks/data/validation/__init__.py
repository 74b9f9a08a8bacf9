"""Validation of a log with Great Expectations.

Great Expectations decides whether the schema holds, whether the share of bad rows is tolerable, and whether the good
rows are enough and fresh.
"""

from mtl_tasks.data.validation.validate import (
    FaultPolicy,
    ValidatedRows,
    ValidationResult,
    validate_interactions,
    validate_log,
    validate_rows,
    with_type,
)

__all__ = [
    "FaultPolicy",
    "ValidatedRows",
    "ValidationResult",
    "validate_interactions",
    "validate_log",
    "validate_rows",
    "with_type",
]
