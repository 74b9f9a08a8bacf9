"""Sources of interaction logs: the interface of every kind, and the choice by the scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import ClassVar, Protocol, Self

from upath import UPath

from mtl_tasks.data.files import LogFile, Root, SourceFile
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.source import LOG_SOURCES


class LogSource(Protocol):
    """A source of a log. Every kind gives the log as files, which :func:`~mtl_tasks.data.interactions.read_log` reads.

    Attributes
    ----------
    queried
        Whether a day that is listed for the first time costs a query.
    """

    queried: ClassVar[bool]

    @classmethod
    def open(cls, scenario: Scenario, root: Root, snapshots: UPath, environment: Mapping[str, str]) -> Self:
        """Return the source of a scenario's log; parameters as of :func:`open_log`."""

    @property
    def folder(self) -> Root:
        """Folder that the paths of the listed files start from."""

    def list_days(self, as_of_day: int, *, renew: bool = False) -> list[SourceFile]:
        """Return the log's files of the days before ``as_of_day``, in day order, with the hash of each.

        Parameters
        ----------
        as_of_day
            UTC days since 1970-01-01.
        renew
            Read days again that the source keeps copies of.

        Raises
        ------
        DataError
            If the log is missing, or has no day before ``as_of_day``.
        SourceError
            If the source does not answer.
        ConfigError
            If the scenario's address of the log cannot be used.
        """

    def newest_first(self, as_of_day: int | None) -> Iterator[LogFile]:
        """Return the files of :meth:`list_days` one by one, newest first, without their hashes.

        Parameters
        ----------
        as_of_day
            None for all days, where the source knows its last one.
        """


def open_log(scenario: Scenario, root: Root, snapshots: UPath, environment: Mapping[str, str]) -> LogSource:
    """Return the source of a scenario's log; nothing is read yet.

    Parameters
    ----------
    root
        Folder that the scenario's relative paths start from.
    snapshots
        Folder for the copies of a log that is not in files.
    environment
        Environment variables, which hold the address of a database.
    """
    module, name = LOG_SOURCES[scenario.source.log_key].split(":")
    kind: type[LogSource] = getattr(import_module(f"mtl_tasks.data.{module}"), name)  # only a database needs SQLAlchemy
    return kind.open(scenario, root, snapshots, environment)
