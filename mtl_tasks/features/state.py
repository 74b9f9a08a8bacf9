"""Snapshot of all running feature statistics, so that a later run can resume from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.running_sums import Codes, SumsSnapshot
from mtl_tasks.store.artifacts import Artifact, Payload

_EVER: Final = -1  # stored as the day of totals over all of the past
_DAY: Final = "day"


@dataclass(frozen=True)
class GroupState:
    """State of one feature group before a day.

    Attributes
    ----------
    sums
        Running sums by name.
    vectors
        Name to float32 (n,).
    frames
        Tables by name.
    """

    sums: dict[str, SumsSnapshot] = field(default_factory=dict)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureSnapshot:
    """State of all groups of a :class:`~mtl_tasks.features.builder.FeatureMaker`, before a day.

    Attributes
    ----------
    day
        Everything before it is counted, nothing of the day itself.
    axes
        Name of a key axis to the label of each code.
    groups
        State of each group, by its name.
    """

    day: int
    axes: dict[str, pd.Index[Any]]
    groups: dict[str, GroupState]

    def translation(self, axes: Mapping[str, pd.Index[Any]]) -> dict[str, Codes]:
        """Return, by axis, the code in ``axes`` of each code here; ``axes`` must have each label met before the day."""
        return {name: axes[name].get_indexer(labels).astype(np.int64) for name, labels in self.axes.items()}

    def payload(self) -> Payload:
        """Return the files to store."""
        states = list(self.groups.values())
        sums = [snapshot for state in states for snapshot in state.sums.values()]
        frames = [frame for state in states for frame in state.frames.values()]
        vectors = [values for state in states for values in state.vectors.values()]
        made = Payload(rows=sum(len(snapshot.ever) for snapshot in sums))
        for number, labels in enumerate(self.axes.values()):
            made.add_frame(f"axis-{number}", pd.DataFrame({"label": labels}))
        for number, snapshot in enumerate(sums):
            frame = pd.concat([snapshot.ever.assign(**{_DAY: np.int32(_EVER)}), snapshot.recent], ignore_index=True)
            made.add_frame(f"sums-{number}", frame, measurements=True)
        for number, frame in enumerate(frames):
            made.add_frame(f"frame-{number}", frame, measurements=True)
        made.add_arrays("vectors", {str(number): values for number, values in enumerate(vectors)})
        made.add_json("memory", {"day": self.day, "axes": list(self.axes), "groups": self._contents()})
        return made

    def _contents(self) -> list[dict[str, Any]]:
        """Return the names in each group's state, in the order in which their files are numbered."""
        return [
            {
                "name": name,
                "sums": [[part, snapshot.magnitude] for part, snapshot in state.sums.items()],
                "vectors": list(state.vectors),
                "frames": list(state.frames),
            }
            for name, state in self.groups.items()
        ]

    @classmethod
    def read(cls, artifact: Artifact) -> Self:
        """Rebuild a snapshot from its artifact.

        Raises
        ------
        ArtifactError
            If a file is damaged.
        """
        contents = artifact.json("memory")
        groups = contents["groups"]
        count = sum(len(group["vectors"]) for group in groups)
        arrays = artifact.arrays("vectors", {str(number): ("f", 1) for number in range(count)})
        sums, vectors, frames = (itertools.count() for _ in range(3))
        states = {
            group["name"]: GroupState(
                {name: _read_sums(artifact, next(sums), magnitude) for name, magnitude in group["sums"]},
                {name: arrays[str(next(vectors))] for name in group["vectors"]},
                {name: artifact.frame(f"frame-{next(frames)}") for name in group["frames"]},
            )
            for group in groups
        }
        axes = {
            name: pd.Index(artifact.frame(f"axis-{number}")["label"]) for number, name in enumerate(contents["axes"])
        }
        return cls(contents["day"], axes, states)


def _read_sums(artifact: Artifact, number: int, magnitude: dict[str, float]) -> SumsSnapshot:
    frame = artifact.frame(f"sums-{number}")
    ever = (frame[_DAY] == _EVER).to_numpy()
    return SumsSnapshot(frame[ever], frame[~ever], magnitude)
