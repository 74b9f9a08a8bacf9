"""Free memory of the C library's allocator is returned to the system."""

from __future__ import annotations

import sys

import pytest

from mtl_tasks.core.process import release_free_memory


def resident_mb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) >> 10


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_freed_pieces_below_one_that_is_held_are_given_back() -> None:
    pieces = [b"x" * 100_000 for _ in range(3_000)]  # each below the size from which the system is asked
    held = pieces[-1]
    before = resident_mb()
    del pieces
    release_free_memory()
    assert before - resident_mb() > 200
    assert len(held) == 100_000
