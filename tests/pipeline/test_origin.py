"""The commit of a project's code, as git knows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mtl_tasks.pipeline.origin import find_commit, find_origin, user_name

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here: apt-get install git")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *who, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a project with a library, a scenario and one commit."""
    for path in ("mtl_tasks/__init__.py", "dags/training.py", "include/scenarios/films.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_the_commit_is_that_of_the_clone(clone: Path) -> None:
    assert find_commit(clone) == (git(clone, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("mtl_tasks/__init__.py", True),
        ("mtl_tasks/models/new.py", True),
        ("dags/training.py", True),
        ("include/scenarios/films.yaml", False),  # the run's record has the scenario
        ("notes.txt", False),
    ],
)
def test_only_changed_code_is_a_local_change(clone: Path, path: str, changed: bool) -> None:
    (clone / path).parent.mkdir(exist_ok=True)
    (clone / path).write_text("changed\n")
    assert find_commit(clone) == (git(clone, "rev-parse", "HEAD"), changed)


def test_a_staged_change_and_a_removed_file_are_local_changes(clone: Path) -> None:
    (clone / "dags/training.py").unlink()
    git(clone, "add", ".")
    assert find_commit(clone) == (git(clone, "rev-parse", "HEAD"), True)


def test_a_folder_that_is_no_clone_has_no_commit(tmp_path: Path) -> None:
    assert find_commit(tmp_path) is None


def test_a_clone_without_a_commit_has_none(tmp_path: Path) -> None:
    (tmp_path / "mtl_tasks").mkdir()
    (tmp_path / "mtl_tasks/__init__.py").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    assert find_commit(tmp_path) is None


def test_a_library_that_is_installed_inside_another_clone_has_not_the_commit_of_that(clone: Path) -> None:
    installed = clone / ".venv/site-packages"
    shutil.copytree(clone / "mtl_tasks", installed / "mtl_tasks")
    assert find_commit(installed) is None


def test_without_git_a_run_has_an_origin_without_a_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_origin("scheduled", None).to_json() == {"start": "scheduled", "user": None}


def test_reading_the_commit_writes_nothing(clone: Path) -> None:
    index = (clone / ".git/index").read_bytes()
    (clone / "dags/training.py").touch()  # git would note the new time in its index
    find_commit(clone)
    assert (clone / ".git/index").read_bytes() == index


def test_a_user_id_without_a_name_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert user_name() is None
