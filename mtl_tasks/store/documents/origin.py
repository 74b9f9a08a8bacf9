"""Who or what started a run, and the commit of the code that made it."""

from __future__ import annotations

from typing import Final

from mtl_tasks.core.documents import PartialDocument

BY_HAND: Final = "manual"
_WORDS: Final = {
    BY_HAND: "hand",
    "scheduled": "schedule",
    "asset_triggered": "asset event",
    "asset_materialization": "asset event",
    "operator_triggered": "another DAG",
}


class Origin(PartialDocument):
    """Origin of a run, recorded when it starts.

    Attributes
    ----------
    start
        How it was started: ``command line``, or the type of Airflow's run, such as ``scheduled`` or ``backfill``.
    user
        The user who started it; None if a schedule or an event did.
    commit
        Commit of the code; None if the code is not in a git clone.
    local_changes
        Whether the code differed from the commit.
    """

    start: str
    user: str | None = None
    commit: str | None = None
    local_changes: bool = False

    @property
    def who(self) -> str:
        """What comes after "started by": the user, and how unless it was by hand.

        >>> Origin(start="manual", user="ada").who, Origin(start="backfill", user="ada").who
        ('ada', 'ada, backfill')
        >>> Origin(start="asset_triggered").who
        'asset event'
        """
        how = _WORDS.get(self.start, self.start.replace("_", " "))
        if self.user is None:
            return how
        return self.user if self.start == BY_HAND else f"{self.user}, {how}"
