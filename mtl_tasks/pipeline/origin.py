"""The origin of a run: found when it starts, kept in the manifests of its artifacts."""

from __future__ import annotations

import getpass
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from mtl_tasks.core.documents import validate
from mtl_tasks.store.artifacts import Artifact
from mtl_tasks.store.documents.origin import Origin

PROJECT: Final = Path(__file__).parents[2]
COMMAND_LINE: Final = "command line"  # how a run was started
_CODE: Final = ("mtl_tasks", "dags")
_COMMIT: Final = "# branch.oid "
_SECONDS: Final = 10


class Commit(NamedTuple):
    """A commit, and whether the code in the work tree differs from it."""

    name: str
    local_changes: bool


def find_origin(start: str, user: str | None) -> Origin:
    """Return the origin of a run that starts now; see :class:`~mtl_tasks.store.documents.origin.Origin`."""
    commit = find_commit()
    if commit is None:
        return Origin(start=start, user=user)
    return Origin(start=start, user=user, commit=commit.name, local_changes=commit.local_changes)


def user_name() -> str | None:
    """Return the name of the operating system's user; None if the user has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def find_commit(folder: Path = PROJECT) -> Commit | None:
    """Return the commit of a project's folder; None if its code is not in a git clone, or there is no git.

    Of a git DAG bundle's version Airflow may have removed ``.git``; the version's folder has the name of its commit.
    """
    with suppress(OSError, subprocess.SubprocessError):
        _git(folder, "ls-files", "--error-unmatch", "mtl_tasks/__init__.py")  # the clone may be another project's
        lines = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=all", "--", *_CODE).splitlines()
        commit = next(line.removeprefix(_COMMIT) for line in lines if line.startswith(_COMMIT))
        if commit != "(initial)":
            return Commit(commit, any(not line.startswith("#") for line in lines))
    versions = [part for part in (folder, *folder.parents) if part.parent.name == "versions"]
    return next((Commit(part.name, False) for part in versions if re.fullmatch("[0-9a-f]{40}", part.name)), None)


def _git(folder: Path, *arguments: str) -> str:
    # Without optional locks, `git status` does not write the index.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout  # noqa: S603 - constants and our folder


def read_origin(artifact: Artifact) -> Origin | None:
    """Return the origin of the run that made an artifact; None if an earlier release made it."""
    noted = artifact.manifest["usage"].get("origin")
    return None if noted is None else validate(Origin, noted, f"{artifact.folder}: usage.origin")
