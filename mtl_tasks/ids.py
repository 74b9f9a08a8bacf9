"""User and item ids as numpy arrays: integers as they are, texts at fixed width, never Python objects."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def id_array(ids: pd.Series | pd.Index) -> NDArray[Any]:
    """Return ids as an int64 or fixed-width text array, which sorts, searches and stores without pickling."""
    if pd.api.types.is_integer_dtype(ids.dtype):
        return ids.to_numpy(dtype=np.int64)
    return ids.to_numpy(dtype=np.str_)
