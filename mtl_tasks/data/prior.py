"""Exposures from before the log: they have no time and are dated to one day before all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from upath import UPath

from mtl_tasks.core.columns import FILE, ITEM, PARTITION, TIME, USER, context, label
from mtl_tasks.core.days import EPOCH
from mtl_tasks.data.conversion import ColumnRef, narrow_ids, to_ids, to_numbers, to_pandas
from mtl_tasks.data.files import SUFFIXES, SourceFile
from mtl_tasks.data.reading import read_columns
from mtl_tasks.data.validation.row_checks import plausible_days
from mtl_tasks.scenario import Prior, Scenario


def with_prior(
    log: pd.DataFrame, scenario: Scenario, files: list[SourceFile], root: str | Path | UPath
) -> pd.DataFrame:
    """Return the log with the prior exposures put before its rows, in their own order.

    Their time is midnight (UTC) of the day ``days_before`` the log's first; their other labels and all context are
    null. They are validated like any row.

    Raises
    ------
    DataError
        If the file cannot be read, or its ids are of another type than the log's.
    """
    prior = scenario.source.prior
    moments = log[PARTITION] if PARTITION in log else (log[TIME] - EPOCH) // pd.Timedelta(days=1)
    moments = moments[moments.between(*plausible_days(scenario))]
    if prior is None or moments.isna().all():
        return log
    file = next(file for file in files if file.path == prior.path)
    day = int(moments.min()) - prior.days_before
    earlier = _read(scenario, prior, file, root, log)
    earlier[TIME] = pd.Timestamp(day, unit="D", tz="UTC").as_unit("us")
    if PARTITION in log:
        earlier[PARTITION] = np.int32(day)
    for name in log.columns.difference(earlier.columns):
        named = any(name == context(kind) for kind in scenario.source.context.categorical)
        earlier[name] = "" if named else np.float32("nan")
    _refuse_other_ids(earlier, log, scenario, prior)
    names = [*log[FILE].cat.categories, prior.path]
    log = log.assign(**{FILE: log[FILE].cat.set_categories(names)})
    earlier[FILE] = pd.Categorical([prior.path] * len(earlier), categories=names)
    for name in (USER, ITEM):  # the row checks need missing ids, which int64 cannot hold
        kind = "Int64" if earlier[name].isna().any() and log[name].dtype == "int64" else log[name].dtype
        earlier, log = earlier.astype({name: kind}), log.astype({name: kind})
    return pd.concat([earlier[log.columns], log], ignore_index=True)


def _read(
    scenario: Scenario, prior: Prior, file: SourceFile, root: str | Path | UPath, log: pd.DataFrame
) -> pd.DataFrame:
    keys = {USER: (prior.user, "user"), ITEM: (prior.item, "item")}
    keys |= {label(name): (column, f"labels.{name}") for name, column in prior.labels.items()}
    text = prior.path.endswith(SUFFIXES["csv"])
    column_refs = {
        name: ColumnRef(prior.path, column, f"source.prior.{key} in {scenario.file}", text)
        for name, (column, key) in keys.items()
    }
    columns = read_columns(file, root, column_refs)
    frame = pd.DataFrame()
    for name, ref in column_refs.items():
        if name in (USER, ITEM):
            ids = to_ids(columns[name], ref)[0]
            whole = text and pd.api.types.is_integer_dtype(log[name])
            frame[name] = to_pandas(narrow_ids(ids) if whole else ids)
        else:
            frame[name] = to_pandas(to_numbers(columns[name], ref, scenario.thresholds.get(name)))
    return frame


def _refuse_other_ids(earlier: pd.DataFrame, log: pd.DataFrame, scenario: Scenario, prior: Prior) -> None:
    for name, column, key in ((USER, prior.user, "user"), (ITEM, prior.item, "item")):
        kinds = ["integers" if pd.api.types.is_integer_dtype(ids[name]) else "strings" for ids in (earlier, log)]
        if kinds[0] != kinds[1]:
            ref = ColumnRef(prior.path, column, f"source.prior.{key} in {scenario.file}", text=False)
            raise ref.error(f"holds {kinds[0]}, but the log's ids are {kinds[1]}: cast one of the two")
