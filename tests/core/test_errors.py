"""Parts of error messages."""

from __future__ import annotations

from mtl_tasks.core.errors import nearest


def test_nearest_stays_silent_when_nothing_is_near() -> None:
    assert nearest("perchase", ["rating", "purchase"]) == ", did you mean 'purchase'?"
    assert nearest("zzz", ["rating"]) == ""
    assert nearest("x", []) == ""
