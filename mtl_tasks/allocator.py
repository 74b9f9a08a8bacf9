"""Memory that is free and still counted as the process's own."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Have the C library give back to the system what it keeps free; nothing where it cannot.

    LightGBM frees its bins in many small pieces, of which glibc keeps the space, while numpy asks the system for large
    arrays: after a fit on 4.4 million rows of 126 columns 1.6 GB were kept, and came on top of what the refit took.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
