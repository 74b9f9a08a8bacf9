"""A program that trains one small LightGBM model on a device and checks its predictions: ``python probe.py gpu``.

It runs in its own process because LightGBM logs to standard output and ends the process on some driver faults. Its
output names the OpenCL device; if training fails, the last line of its errors gives the reason.
"""

from __future__ import annotations

import sys
from typing import Any, Final

# First, as in a run: a LightGBM linked with its own C++ library crashes beside another only if it is loaded later.
import pyarrow as pa

# isort: split
import lightgbm as lgb
import numpy as np

ROWS: Final = 396
# As released, 4.7.0 fails with CUDA on a split with the largest code of all categorical columns, if 32 divides it.
LARGEST: Final = 32
TAKEN: Final = 3  # last codes, with a label of their own, so that there is such a split
ROUNDING: Final = 1e-6


def main(device: str) -> None:
    """Train on 396 rows of 4 columns, or exit with the first line of the error."""
    # Double precision, as in a run: drivers lack it more often than single, and they cache compiled kernels.
    given = {"device_type": device, "gpu_use_dp": device != "cpu", "num_threads": 1, "verbosity": 1}
    small = {"num_leaves": 8, "min_data_in_leaf": 5, "min_data_per_group": 1, "cat_smooth": 1.0, "metric": "l2"}
    try:
        reported, actual = _train({**given, **small})
    except lgb.basic.LightGBMError as error:
        sys.exit(str(error).partition("\n")[0].rstrip("."))
    # As released, 4.7.0 with CUDA sends missing values down the wrong branch in rows that a tree was not trained on.
    if abs(reported - actual) > ROUNDING:
        sys.exit(
            f"with missing values it reports a mean squared error of {reported:.4f}, but its predictions have one of "
            f"{actual:.4f}"
        )


def _train(parameters: dict[str, Any]) -> tuple[float, float]:
    """Return the mean squared error that LightGBM reports, and that of its predictions."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, 4))
    values[:, 3] = np.arange(ROWS) % (LARGEST + 1)
    values[rng.random(ROWS) < 0.2, 0] = np.nan
    # Missing values have the label of values below 0: they go left, which is where the fault shows.
    label = 2.0 * ~(values[:, 0] >= 0) + 3.0 * (values[:, 3] > LARGEST - TAKEN)
    table = pa.table(list(values.T), names=["0", "1", "2", "3"])  # members are binned from Arrow too
    train = lgb.Dataset(table, label, categorical_feature=["3"], params=parameters, free_raw_data=False)
    held: dict[str, Any] = {}
    booster = lgb.train(
        parameters,
        train,
        num_boost_round=3,
        valid_sets=[lgb.Dataset(table, label, reference=train)],
        callbacks=[lgb.record_evaluation(held)],
    )
    predicted = np.asarray(booster.predict(values))
    return held["valid_0"]["l2"][-1], float(np.mean((predicted - label) ** 2))


if __name__ == "__main__":
    main(sys.argv[1])
