"""Exceptions of the library, one for each case that callers handle differently.

A message is one line: what is wrong, the value and the limit, where, and how to fix it.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_CLIENTS: Final = ("botocore", "aiobotocore", "aiohttp")  # object-store clients, whose errors are not OSError
_QUOTING: Final = ContextVar("quoting", default=True)


class MtlError(Exception):
    """Base class. Retrying does not help unless a subclass says so."""


class ConfigError(MtlError):
    """The scenario file, a parameter or the command line is wrong."""


class DataError(MtlError):
    """The log or a table made from it cannot be used."""


class SourceError(DataError):
    """The bucket or database that holds the log did not answer; retrying may help."""


class ArtifactError(MtlError):
    """A stored artifact is missing, damaged, or cannot be written."""


class DeviceError(MtlError):
    """A detected GPU failed at work; retrying may help, since other processes that share its memory come and go."""


class ClusterError(MtlError):
    """The cluster that a stage's shards run on cannot do the work; retrying may help."""


class GateError(MtlError):
    """The promotion rules forbid the request."""


class SealError(ArtifactError):
    """A document of the store is sealed without the store's key, with another key, or with a key that is not given."""


class StoreError(MtlError):
    """The store could not be read or written; retrying may help."""


@contextmanager
def answering(what: str, then: str = "", but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn errors of an unreachable store into :class:`StoreError`, except those of type ``but``.

    >>> with answering("s3://shop: cannot be read", "; nothing was changed"):
    ...     raise ConnectionError("no route")
    Traceback (most recent call last):
        ...
    mtl_tasks.core.errors.StoreError: s3://shop: cannot be read (no route); nothing was changed
    """
    try:
        yield
    except but:
        raise
    except OSError as error:
        raise StoreError(f"{what} ({error}){then}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise StoreError(f"{what} ({error}){then}") from error


def nearest(word: str, known: list[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the closest known word, or an empty string.

    >>> nearest("perchase", ["rating", "purchase"])
    ", did you mean 'purchase'?"
    >>> nearest("zzz", ["rating"])
    ''
    """
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


@contextmanager
def quoting_rows(allowed: bool | None) -> Iterator[None]:
    """Set whether messages in the block may quote row values; None keeps the current setting, initially allowed."""
    token = _QUOTING.set(may_quote() if allowed is None else allowed)
    try:
        yield
    finally:
        _QUOTING.reset(token)


def may_quote() -> bool:
    """Whether messages may quote row values, such as ids and labels."""
    return _QUOTING.get()


def quoted(text: str) -> str:
    """Return a message part that quotes row values, or an empty string where quoting is not allowed.

    >>> with quoting_rows(False):
    ...     f"2 values are not numbers{quoted(', the first is good')}"
    '2 values are not numbers'
    """
    return text if may_quote() else ""
