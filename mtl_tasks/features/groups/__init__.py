"""Feature groups: each declares its columns and updates its own statistics day by day.

==========================================================  ===========================================
columns                                                     module
==========================================================  ===========================================
``user.count*``, ``item.count*``, ``*.days_since_*``,       :mod:`~.activity`
``user.usual_*``, ``user_x_item.*_minus_*``,
``item.takers_experience``
``user_x_<attribute>.*``, ``item_x_<attribute>.*``,         :mod:`~.attribute_affinity`
``item.<attribute>.*``
``context.<context>.<task>.*``, ``*_x_<context>.<task>.*``, :mod:`~.context_rates`
``*.<task>.beyond_<context>``
``user.<task>.*``, ``item.<task>.*``, ``<task>.level*``     :mod:`~.label_statistics`
``co_occurrence.*``                                         :mod:`~.co_occurrence`
``taste.*``, ``user_x_item.<task>.*``                       :mod:`~.affinity`
``text.*``, ``vectors.*``                                   :mod:`~.content`
``user.<attribute>``, ``item.<attribute>``,                 :mod:`~.attributes_and_context`
``context.<context>``
==========================================================  ===========================================

``<task>`` is a task or a signal.
"""

from typing import Final

from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features.groups.activity import Activity
from mtl_tasks.features.groups.affinity import Affinity
from mtl_tasks.features.groups.attribute_affinity import AttributeTastes
from mtl_tasks.features.groups.attributes_and_context import AttributesAndContext
from mtl_tasks.features.groups.base import FeatureGroup
from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from mtl_tasks.features.groups.content import ItemContent
from mtl_tasks.features.groups.context_rates import ContextRates
from mtl_tasks.features.groups.label_statistics import LabelStatistics
from mtl_tasks.scenario import Scenario

__all__ = ["GROUPS", "FeatureGroup", "declared_columns"]

# In the order of their columns. Groups of any day come after those of one day. The last has names that a scenario
# chooses; a clash with a name before it is refused.
GROUPS: Final[tuple[type[FeatureGroup], ...]] = (
    Activity,
    AttributeTastes,
    ContextRates,
    LabelStatistics,
    CoOccurrence,
    Affinity,
    ItemContent,
    AttributesAndContext,
)


def declared_columns(scenario: Scenario) -> list[FeatureColumn]:
    """Return the declarations of all columns that a scenario's features can have, in the order of the columns."""
    return [column for kind in GROUPS for column in kind.declare(scenario)]
