"""The tags that the project's DAGs carry, so that a filter in the UI finds all of a kind."""

from enum import StrEnum


class Tag(StrEnum):
    """A tag; pass its ``value``, which serializes as plain text."""

    MULTI_TASK = "multi-task"
    TRAINING = "training"
    RECOMMENDING = "recommending"
    TUNING = "tuning"
