"""A shared folder is filled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shared import shared_folder


def fill(folder: Path) -> None:
    (folder / "made").touch(exist_ok=False)


def fail(folder: Path) -> None:
    fill(folder)
    raise ValueError("half done")


def test_a_folder_is_filled_once_and_again_after_a_failure(tmp_path_factory: pytest.TempPathFactory) -> None:
    name = "filled_once"
    with pytest.raises(ValueError, match="half done"):
        shared_folder(tmp_path_factory, name, fail)
    made = shared_folder(tmp_path_factory, name, fill)
    assert [path.name for path in made.iterdir()] == ["made"]
    assert shared_folder(tmp_path_factory, name, fail) == made
