"""The marker by which the writer of a log says that a day is complete."""

from __future__ import annotations

from mtl_tasks.core.days import AsOf
from mtl_tasks.data.files import Root, locate, readable
from mtl_tasks.scenario import Scenario


def marker_path(scenario: Scenario, as_of: AsOf) -> str:
    """Return the path of the marker of the last day before an as_of, as the scenario would write it.

    The scenario has a section ``source.ready``.
    """
    source = scenario.source
    assert source.events is not None
    assert source.ready is not None
    return f"{source.events.rstrip('/')}/dt={AsOf(as_of.day - 1).iso}/{source.ready.marker}"


def is_there(path: str, root: Root) -> bool:
    """Whether there is a marker.

    Parameters
    ----------
    root
        Folder that relative paths start from.

    Raises
    ------
    SourceError
        If the path's bucket or server does not answer.
    ConfigError
        If the path's protocol is unknown or its package is not installed.
    """
    with readable(path):
        return locate(root, path).exists()
