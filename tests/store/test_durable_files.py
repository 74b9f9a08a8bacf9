"""A file is written whole, and the first of two writers keeps it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from upath import UPath

from mtl_tasks.store.durable_files import write_durably, write_once


@pytest.fixture
def path(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "file")


def test_a_file_is_replaced_and_nothing_else_is_left(path: UPath) -> None:
    write_durably(path, b"first")
    write_durably(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
def test_the_second_writer_is_refused_and_leaves_nothing(
    path: UPath, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError("Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert write_once(path, b"first")
    assert not write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_file_and_nothing_else(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError("No space left on device")

    write_durably(path, b"first")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]
