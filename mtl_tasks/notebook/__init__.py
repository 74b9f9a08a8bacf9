"""The API for notebooks: finished runs that predict, recommend and explain, and the registry of runs."""

from mtl_tasks.notebook.loaded_run import LoadedRun
from mtl_tasks.notebook.loading import load_run, open_registry
from mtl_tasks.notebook.run_registry import RunRegistry

__all__ = ["LoadedRun", "RunRegistry", "load_run", "open_registry"]
