"""A program that trains one small LightGBM model on a device: ``python probe.py gpu``.

It has a process of its own because LightGBM writes its log to the standard output and ends the process on some faults
of drivers. What it prints names the OpenCL device; where training fails, the last line of its errors says why.
"""

from __future__ import annotations

import sys

import lightgbm as lgb
import numpy as np


def main(device: str) -> None:
    """Train on 256 rows of 4 columns, or exit with the first line of LightGBM's reason."""
    rng = np.random.default_rng(0)
    # Double precision as in earnest: drivers lack it more often than single, and keep the kernels they have compiled.
    given = {"device_type": device, "gpu_use_dp": device == "gpu", "num_leaves": 4, "num_threads": 1, "verbosity": 1}
    try:
        lgb.train(given, lgb.Dataset(rng.random((256, 4)), rng.random(256)), num_boost_round=1)
    except lgb.basic.LightGBMError as error:
        sys.exit(str(error).partition("\n")[0].rstrip("."))


if __name__ == "__main__":
    main(sys.argv[1])
