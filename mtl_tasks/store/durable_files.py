"""Durable writes: a reader sees a file with all of its bytes, or no file, on a disk and in an object store alike."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from upath import UPath

from mtl_tasks.store.safe_files import LOCAL


def write_durably(path: UPath, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing.

    On a disk this takes a temporary name, fsync and replace; an object store's put is already atomic.
    """
    if path.protocol not in LOCAL:
        path.write_bytes(data)
        return
    with _written_aside(path.path, data) as temporary:
        os.replace(temporary, path.path)


def write_once(path: UPath, data: bytes) -> bool:
    """Write a file like :func:`write_durably` unless it exists, and return whether it was written.

    Of two concurrent writers one gets False, by a link on a disk or by a conditional put in an object store.
    """
    try:
        if path.protocol not in LOCAL:
            path.fs.pipe_file(path.path, data, mode="create")
        else:
            with _written_aside(path.path, data) as temporary:
                _link(temporary, path.path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        if path.exists():  # a store without conditional writes: concurrent writers can race
            return False
        path.write_bytes(data)
    return True


def _link(temporary: str, final: str) -> None:
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as a mounted bucket: concurrent writers can race
        if os.path.exists(final):
            raise FileExistsError(final) from None
        os.replace(temporary, final)


@contextmanager
def _written_aside(final: str, data: bytes) -> Iterator[str]:
    """Write a file under a temporary name in the same folder, and remove it at the end of the block."""
    temporary = f"{final}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
