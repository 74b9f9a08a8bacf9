"""Train, judge and publish multi-task recommenders; knows nothing of Airflow.

For notebooks there are ``load_run`` and ``open_registry``; they are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_tasks.notebook import load_run, open_registry

__all__ = ["__version__", "load_run", "open_registry"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mtl_tasks import notebook  # pandas and LightGBM take seconds, which `import mtl_tasks` must not

    return getattr(notebook, name)
