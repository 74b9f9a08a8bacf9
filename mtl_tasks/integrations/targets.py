"""Delivery of recommendations to the targets of a scenario; a target's failure is a warning, never a failed run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mtl_tasks.core import columns
from mtl_tasks.core.documents import Document
from mtl_tasks.core.errors import MtlError

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.core.days import AsOf
    from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)


class Delivery(Document):
    """Outcome of a target.

    Attributes
    ----------
    target
        Key of the scenario, such as ``publish.redis``.
    rows
        Number of recommendations written; 0 if it failed.
    fault
        One sentence with the remedy; None if it succeeded.
    """

    target: str
    rows: int
    fault: str | None = None

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        return f"{self.target}: {self.rows:,} recommendations written" if self.fault is None else self.fault


def deliver(
    lists: pd.DataFrame, scenario: Scenario, as_of: AsOf, root: str, environment: Mapping[str, str]
) -> list[Delivery]:
    """Write recommendations to every target of the scenario.

    Writing the same recommendations again leaves the targets as they are.

    Parameters
    ----------
    lists
        As made by the stage ``recommend``: user, rank, item, title, score, utility, and a prediction column per task.
    root
        Folder that relative paths of the scenario start from.
    environment
        Where URLs with secrets are looked up.

    Returns
    -------
    list of Delivery
        One for each target; a fault is logged as a warning.
    """
    table = served_table(lists, as_of)
    made = [
        _attempt(name, write, table, scenario) for name, write in _writers(table, scenario, as_of, root, environment)
    ]
    for delivery in made:
        log.log(logging.INFO if delivery.fault is None else logging.WARNING, "%s", delivery.sentence)
    return made


def served_table(lists: pd.DataFrame, as_of: AsOf) -> pd.DataFrame:
    """Return the recommendations as they are delivered: ``as_of`` first, predictions named like their tasks."""
    prefix = columns.prediction("")
    named = lists.rename(columns=lambda name: str(name).removeprefix(prefix))
    named.insert(0, "as_of", as_of.iso)
    return named


def _writers(
    table: pd.DataFrame, scenario: Scenario, as_of: AsOf, root: str, environment: Mapping[str, str]
) -> Iterator[tuple[str, Callable[[], None]]]:
    targets, place = scenario.publish, scenario.file
    if targets.parquet is not None:
        from mtl_tasks.integrations.parquet_file import write_file

        yield "publish.parquet", partial(write_file, table, targets.parquet, root, place)
    if targets.redis is not None:
        from mtl_tasks.integrations.redis_hashes import write_hashes

        yield "publish.redis", partial(write_hashes, table, targets.redis, environment, place)
    if targets.sql is not None:
        from mtl_tasks.integrations.sql_table import write_table

        yield "publish.sql", partial(write_table, table, targets.sql, as_of, environment, place)


def _attempt(target: str, write: Callable[[], None], table: pd.DataFrame, scenario: Scenario) -> Delivery:
    try:
        write()
    except MtlError as error:
        fault = str(error)
    except Exception as error:  # whatever a client raises must not fail the run, and its text may quote a password
        log.debug("%s failed", target, exc_info=True)
        fault = (
            f"{target} in {scenario.file}: cannot be written ({type(error).__name__}): check the section and the URL"
        )
    else:
        return Delivery(target=target, rows=len(table))
    return Delivery(target=target, rows=0, fault=f"{fault}; the recommendations are in the store")
