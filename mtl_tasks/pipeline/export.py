"""Export of a finished run as a scoring bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.export.bundle import bundle_files
from mtl_tasks.models import member_class
from mtl_tasks.pipeline.past_documents import rebuild_run
from mtl_tasks.pipeline.stages.inputs import member_files
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import RunRecord


@dataclass(frozen=True)
class WrittenBundle:
    """A written bundle: its folder, and the sizes of its files in bytes by name."""

    folder: Path
    sizes: dict[str, int]


def export_run(store: Store, entry: RunRecord, status: str, folder: Path) -> WrittenBundle:
    """Write the models of a finished run as files that are scored without this project.

    Parameters
    ----------
    status
        Of the run, for the manifest.
    folder
        Empty or new.

    Raises
    ------
    ConfigError
        If the folder has files, a member cannot be exported, or the bundle would be too large.
    ArtifactError
        If a model of the run is missing or damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder}: is not an empty folder: name a new one")
    scenario = rebuild_run(store, entry).scenario
    members = {
        str(kind): member_class(kind).load(member_files(store.open(entry.refs[f"member:{kind}"])), scenario)
        for kind in scenario.members
    }
    fusions = store.open(entry.refs["fuse"]).json("fusion")
    about = {"scenario": scenario.name, "as_of": entry.as_of, "run_key": entry.run_key, "status": status}
    files = bundle_files(scenario, members, fusions, about)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return WrittenBundle(folder, {name: len(data) for name, data in files.items()})
