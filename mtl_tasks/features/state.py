"""Snapshot of all running feature statistics, so that a later run can resume from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.running_sums import Codes, SumsSnapshot
from mtl_tasks.store.artifacts import Artifact, Payload

_EVER: Final = -1  # stored as the day of totals over all of the past
_DAY: Final = "day"


@dataclass(frozen=True)
class FeatureSnapshot:
    """All running sums of a :class:`~mtl_tasks.features.builder.FeatureMaker`, before a day.

    Attributes
    ----------
    day
        Everything before it is counted, nothing of the day itself.
    axes
        Name of a key axis to the label of each code.
    sums
        By ``<part>.<name>``.
    residuals
        Label to the residuals of its values that were final before ``day``, float32, in order of these days.
    pairs, takers
        State of the co-occurrence of items.
    """

    day: int
    axes: dict[str, pd.Index[Any]]
    sums: dict[str, SumsSnapshot]
    residuals: dict[str, NDArray[np.float32]]
    pairs: pd.DataFrame
    takers: pd.DataFrame

    def translation(self, axes: Mapping[str, pd.Index[Any]]) -> dict[str, Codes]:
        """Return, by axis, the code in ``axes`` of each code here; ``axes`` must contain every label."""
        return {name: axes[name].get_indexer(labels).astype(np.int64) for name, labels in self.axes.items()}

    def payload(self) -> Payload:
        """Return the files to store."""
        made = Payload(rows=sum(len(kept.ever) for kept in self.sums.values()))
        for place, labels in enumerate(self.axes.values()):
            made.add_frame(f"axis-{place}", pd.DataFrame({"label": labels}))
        for place, kept in enumerate(self.sums.values()):
            frame = pd.concat([kept.ever.assign(**{_DAY: np.int32(_EVER)}), kept.recent], ignore_index=True)
            made.add_frame(f"sums-{place}", frame, measurements=True)
        made.add_frame("pairs", self.pairs, measurements=True)
        made.add_frame("takers", self.takers, measurements=True)
        made.add_arrays("residuals", {str(place): values for place, values in enumerate(self.residuals.values())})
        names = {
            "day": self.day,
            "axes": list(self.axes),
            "sums": [[name, kept.magnitude] for name, kept in self.sums.items()],
            "residuals": list(self.residuals),
        }
        made.add_json("memory", names)
        return made

    @classmethod
    def read(cls, artifact: Artifact) -> Self:
        """Rebuild a snapshot from its artifact.

        Raises
        ------
        ArtifactError
            If a file is damaged.
        """
        names = artifact.json("memory")
        sums = {}
        for place, (name, magnitude) in enumerate(names["sums"]):
            frame = artifact.frame(f"sums-{place}")
            ever = (frame[_DAY] == _EVER).to_numpy()
            sums[name] = SumsSnapshot(frame[ever], frame[~ever], magnitude)
        kept = artifact.arrays("residuals", {str(place): ("f", 1) for place in range(len(names["residuals"]))})
        return cls(
            names["day"],
            {name: pd.Index(artifact.frame(f"axis-{place}")["label"]) for place, name in enumerate(names["axes"])},
            sums,
            {name: kept[str(place)] for place, name in enumerate(names["residuals"])},
            artifact.frame("pairs"),
            artifact.frame("takers"),
        )
