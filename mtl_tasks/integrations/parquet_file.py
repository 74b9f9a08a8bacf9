"""Recommendations as one Parquet file that readers always find whole."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mtl_tasks.core.errors import DataError, answering
from mtl_tasks.data.files import locate
from mtl_tasks.store.durable_files import write_durably

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.scenario.publish import ParquetTarget


def write_file(table: pd.DataFrame, target: ParquetTarget, root: str, place: str) -> None:
    """Replace the file in one step.

    Raises
    ------
    ConfigError
        If the path's protocol is unknown.
    DataError
        If the path is a folder.
    StoreError
        If the file cannot be written.
    """
    where = f"publish.parquet.path {target.path} in {place}"
    path = locate(root, target.path)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    with answering(f"{where}: cannot be written", ": check the path, the network and the access keys"):
        if path.is_dir():
            raise DataError(f"{where}: is a folder: name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, buffer.getvalue())
