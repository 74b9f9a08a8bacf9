"""A finished run as a model that MLflow loads: its name is in the models that tracking registers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_tasks.notebook.loading import load_run
from mtl_tasks.store.address import VARIABLE

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.notebook.loaded_run import LoadedRun


class RunModel:
    """Predicts with a finished run of the store."""

    def __init__(self, run: LoadedRun) -> None:
        self._run = run

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return predictions for pairs of ``user_id`` and ``item_id``; see :meth:`LoadedRun.predict`."""
        return self._run.predict(frame)


def _load_pyfunc(path: str) -> RunModel:
    """Return the model of a file that names a scenario, a run and a store; ``MTL_STORE``, if set, is the store.

    The name is MLflow's.
    """
    facts = json.loads(Path(path).read_text(encoding="utf-8"))
    store = os.environ.get(VARIABLE) or facts["store"]
    return RunModel(load_run(facts["scenario"], run=facts["run_key"], store=store))
