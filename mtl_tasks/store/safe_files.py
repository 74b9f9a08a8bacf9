"""Safe reads of untrusted files: bounded in size, of regular files only, and never outside the root.

Everything works on local folders and on object stores; only local folders have links, pipes and devices to refuse.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mtl_tasks.core.errors import ArtifactError

if TYPE_CHECKING:  # DAG files that import this module are parsed repeatedly
    from upath import UPath

Root: TypeAlias = "Path | UPath"
LOCAL: Final = ("", "file", "local")
DOCUMENT_BYTES: Final = 64 << 20  # a manifest needs 230 bytes a source file: room for a quarter of a million
FILE_BYTES: Final = 8 << 30

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,199}")
_PATH: Final = re.compile(rf"{_NAME.pattern}(/{_NAME.pattern})*")  # one match a path: the board reads tens of thousands


@dataclass(frozen=True)
class FileStatus:
    """Size in bytes and modification time (seconds since 1970) of a file."""

    size: int
    changed: float


def is_name(text: object) -> bool:
    """Whether a text can be the name of a file or folder in a store.

    >>> is_name("dt=2013-05-07"), is_name(".."), is_name("a/b"), is_name(".hidden"), is_name(""), is_name(3)
    (True, False, False, False, False, False)
    """
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def join_names(*names: Any) -> str:
    """Join names of folders, and of a file at the end, into a path below a store's root.

    Raises
    ------
    ArtifactError
        If a name leads upwards, is a path itself, or has any other character than letters, digits and ``_.=-``.
    """
    for name in names:
        if not is_name(name):
            raise ArtifactError(
                f"{'/'.join(map(str, names))!r} is not a path in a store, since {name!r} is not a name: expected "
                "letters, digits and _.=-; what refers to it was changed by hand: restore that from a backup"
            )
    return "/".join(names)


def split_names(path: Any) -> list[str]:
    """Return the names in a path below a store's root; raises like :func:`join_names`, also if it is absolute."""
    names = path.split("/") if isinstance(path, str) else [path]
    if not isinstance(path, str) or _PATH.fullmatch(path) is None:
        join_names(*names)
    return names


def read_file(root: Root, path: str, limit: int) -> bytes | None:
    """Return the content of a file, or None if it has more than ``limit`` bytes; at most ``limit + 1`` are read.

    Parameters
    ----------
    root
        Folder of the store, which may be a link itself.
    path
        Path below the root, as :func:`split_names` accepts it.

    Raises
    ------
    ArtifactError
        If the path leads out of the root, through a link, or to anything but a regular file.
    OSError
        If it is missing or cannot be read.
    """
    names = split_names(path)
    local = _local(root)
    if local is None:
        return _read_object(root, path, limit)
    _regular_file(local, names)
    # Do not wait for a pipe or follow a link: the file may have been replaced since the check.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(os.path.join(local, *names), flags), "rb") as handle:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(os.path.join(local, *names))
        if status.st_size > limit:
            return None
        content = handle.read(status.st_size + 1)  # a file that grows meanwhile exceeds the limit or fails its hash
    return content if len(content) <= limit else None


def file_status(root: Root, path: str) -> FileStatus:
    """Return a file's size and time without reading it; raises like :func:`read_file`."""
    names = split_names(path)
    local = _local(root)
    status = (root / path).stat() if local is None else _regular_file(local, names)
    return FileStatus(status.st_size, status.st_mtime)


def refuse_links(root: Root, path: str) -> None:
    """Refuse a path that leads through a symbolic link below the root; missing parts are accepted.

    Raises
    ------
    ArtifactError
        If it does, or the path cannot be inside a store.
    """
    names = split_names(path)
    local = _local(root)
    if local is not None:
        for _ in _statuses(local, names):
            pass


def _local(root: Root) -> str | None:
    """Return the local folder of a root; None for an object store."""
    if getattr(root, "protocol", "") not in LOCAL:
        return None
    return str(getattr(root, "path", root))


def _statuses(local: str, names: list[str]) -> Iterator[os.stat_result]:
    """Yield the status of each folder on the path and of the file at its end; stop at the first that is missing."""
    location = local
    for name in names:
        location = os.path.join(location, name)
        try:
            status = os.lstat(location)
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(status.st_mode):
            raise ArtifactError(
                f"{location}: is a symbolic link, and nothing in a store may be one: replace it by what it points to, "
                "or make the root of the store the link"
            )
        yield status


def _regular_file(local: str, names: list[str]) -> os.stat_result:
    found = list(_statuses(local, names))
    location = os.path.join(local, *names)
    if len(found) < len(names):
        os.lstat(location)  # raises the error that says why
        raise FileNotFoundError(location)
    if stat.S_ISDIR(found[-1].st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), location)
    if not stat.S_ISREG(found[-1].st_mode):
        raise _irregular(location)
    return found[-1]


def _irregular(location: str) -> ArtifactError:
    return ArtifactError(f"{location}: is not a regular file but a pipe or device: remove it")


def _read_object(root: Root, path: str, limit: int) -> bytes | None:
    """Read in one request: asking for the size first costs another, and the answer may come from a stale listing."""
    location: Any = root / path
    try:
        content = bytes(location.fs.cat_file(location.path, start=0, end=limit + 1))
    except FileNotFoundError:
        raise
    except OSError:
        if location.stat().st_size:
            raise
        content = b""  # S3 refuses a range of an empty file
    return content if len(content) <= limit else None
