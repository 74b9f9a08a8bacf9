"""What features had counted before a day, kept so that a later run need not count from the log's first day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.running_sums import Codes, SumsSnapshot
from mtl_tasks.store.artifacts import Artifact, Payload

_EVER: Final = -1  # in the place of a day: all of the past
_DAY: Final = "day"


@dataclass(frozen=True)
class FeatureSnapshot:
    """All running sums of a :class:`~mtl_tasks.features.builder.FeatureMaker`, before a day.

    Attributes
    ----------
    day
        Everything before it was counted, nothing of it.
    axes
        Name of an axis of keys to what its codes stand for.
    sums
        By part and name.
    residuals
        Label to what was unexplained of each of its values, float32, in the order of days and users.
    pairs, takers
        Of the co-occurrence of items.
    """

    day: int
    axes: dict[str, pd.Index[Any]]
    sums: dict[str, SumsSnapshot]
    residuals: dict[str, NDArray[np.float32]]
    pairs: pd.DataFrame
    takers: pd.DataFrame

    def translation(self, axes: Mapping[str, pd.Index[Any]]) -> dict[str, Codes]:
        """By axis, the code in ``axes`` of each code here; they know all that is known here."""
        return {name: axes[name].get_indexer(labels).astype(np.int64) for name, labels in self.axes.items()}

    def payload(self) -> Payload:
        """What to store."""
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
        """Return what was stored.

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
