"""The number of labeled rows that the settings of boosted trees need."""

from __future__ import annotations

from collections.abc import Iterator

from mtl_tasks.scenario.scenario import Scenario


def room_faults(task: str, labeled: int, scenario: Scenario) -> Iterator[str]:
    """Yield which settings of boosted trees ask for more labeled rows than the train window has."""
    settings = scenario.boosting
    for key, value, needed in (
        ("num_leaves", settings.num_leaves, settings.num_leaves),
        ("min_data_in_leaf", settings.min_data_in_leaf, 2 * settings.min_data_in_leaf),
    ):
        if labeled < needed:
            yield (
                f"{task}: {labeled:,} labeled rows in 'train', boosting.{key} of {value:,} needs at least "
                f"{needed:,}: lengthen windows.train or lower boosting.{key} in {scenario.file}"
            )
