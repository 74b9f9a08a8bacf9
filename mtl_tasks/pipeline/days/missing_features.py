"""Makes the features of days that the store lacks, in shards of consecutive days."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.categories import drop_unused_categories
from mtl_tasks.core.days import day_text
from mtl_tasks.features import FeatureMaker, Tables
from mtl_tasks.features.builder import FactorModels
from mtl_tasks.features.interactions import encode
from mtl_tasks.pipeline.days.blocks import Block, block_name
from mtl_tasks.pipeline.days.factors import load_factor_models
from mtl_tasks.pipeline.days.snapshots import newest_snapshot
from mtl_tasks.pipeline.executor import Shard, ShardResult, ShardWork
from mtl_tasks.pipeline.stages.inputs import load_tables
from mtl_tasks.store.artifacts import DAYS, MANIFEST, Artifact, Payload, Ref, to_json

FEATURES: Final = "features"  # the table of a block's artifact
_MADE: Final = "made"  # of a shard's document: its references
_MISSING: Final = "missing"  # the file that all shards are given
_ROWS_AT_ONCE: Final = 250_000  # bounds memory: rows whose features are held before they are written


@dataclass(frozen=True)
class MissingBlock:
    """A block of days to make: its days, the key of its artifact, and the number of its rows."""

    days: Block
    key: str
    rows: int


@dataclass(frozen=True)
class MissingDays:
    """What is to be made.

    Attributes
    ----------
    blocks
        Ascending.
    snapshot_keys
        Day to the key of the snapshot of the statistics before it.
    due
        Those of these days whose snapshot is to be stored.
    """

    blocks: Sequence[MissingBlock]
    snapshot_keys: Mapping[int, str]
    due: Sequence[int]

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        return to_json({**asdict(self), "snapshot_keys": list(self.snapshot_keys.items())})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Invert :meth:`to_bytes`."""
        document = json.loads(data)
        blocks = [MissingBlock(tuple(block["days"]), block["key"], block["rows"]) for block in document["blocks"]]
        return cls(blocks, dict(document["snapshot_keys"]), document["due"])

    def of(self, shard: Shard) -> MissingDays:
        """Return the part of a shard: consecutive blocks, with the snapshots due from the first of them on."""
        chosen = shard.span([block.rows for block in self.blocks])
        blocks = [self.blocks[at] for at in chosen]
        if not blocks:
            return MissingDays([], {}, [])
        first, rest = blocks[0].days[0], self.blocks[chosen.stop :]
        due = [day for day in self.due if first <= day and (not rest or day < rest[0].days[0])]
        return MissingDays(blocks, self.snapshot_keys, due)


class FeatureDays(ShardWork):
    """Features of days that the store lacks.

    A shard counts what was before its first day, goes on from there day by day, and writes its blocks where every run
    finds them. So a stage, or a shard, that is tried again makes only what is still missing.
    """

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """See :class:`ShardWork`."""
        missing = MissingDays.from_bytes(self.files[_MISSING]).of(shard)
        refs = {block: found.ref for block in missing.blocks if (found := self._find(block)) is not None}
        if left := [block for block in missing.blocks if block not in refs]:
            due = [day for day in missing.due if not (self._snapshot_folder(missing, day) / MANIFEST).exists()]
            refs |= self._make(replace(missing, blocks=left, due=due))
        return ShardResult({}, {_MADE: [refs[block].to_json() for block in missing.blocks]})

    def is_whole(self, document: Mapping[str, Any]) -> bool:
        """See :class:`ShardWork`: the blocks lie elsewhere, where they may have been deleted."""
        refs = [Ref.from_json(ref) for ref in document[_MADE]]
        found = [self.run.store.look_up(ref) for ref in refs]
        return all(one is not None and one.ref == ref for one, ref in zip(found, refs, strict=True))

    @staticmethod
    def refs_made(results: Sequence[ShardResult]) -> list[Ref]:
        """Return the blocks that the shards have made, ascending."""
        return [Ref.from_json(ref) for result in results for ref in result.document[_MADE]]

    def give(self, missing: MissingDays) -> None:
        """Tell all shards what is missing."""
        self.files[_MISSING] = missing.to_bytes()

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The run's rows, ordered by day."""
        return self.inputs["split"].frame("rows")

    @cached_property
    def tables(self) -> Tables:
        """Attributes of users and items."""
        return load_tables(self.inputs)

    @cached_property
    def factor_models(self) -> FactorModels:
        """The run's factor models."""
        return load_factor_models(self.inputs["factors"])

    def _make(self, missing: MissingDays) -> dict[MissingBlock, Ref]:
        run, wanted, due = self.run, [day for block in missing.blocks for day in block.days], list(missing.due)
        first, last = min([wanted[0], *due]), max([wanted[-1], *due])
        memory = newest_snapshot(run.store, run.scenario.name, missing.snapshot_keys, first)
        own = np.isin(self.rows[columns.DAY].to_numpy(), wanted)
        chosen = self.rows if own.all() else self.rows[own]
        coded, rows = encode(self.log.before(last + 1).frame, chosen, run.scenario)
        del self.log, self.rows, chosen  # 0.7 GB at ten million events
        maker = FeatureMaker(coded, self.tables, self.factor_models, run.scenario, memory)
        maker.advance(first)
        ends = np.searchsorted(rows.days, wanted, side="right").tolist()
        sizes = {day: end - start for day, start, end in zip(wanted, [0, *ends[:-1]], ends, strict=True)}
        left, parts, made = list(missing.blocks), dict[int, pd.DataFrame](), dict[MissingBlock, Ref]()
        for batch in self.after_first(_batches(wanted, due, sizes)):
            due = self._store_snapshots(maker, missing, due, batch[0])
            parts |= _by_day(maker.make(rows.at(np.flatnonzero(np.isin(rows.days, batch)))), batch, sizes)
            while left and left[0].days[-1] in parts:
                block = left.pop(0)
                made[block] = self._publish(block, [parts.pop(day) for day in block.days])
        self._store_snapshots(maker, missing, due, run.as_of.day)
        return made

    def _store_snapshots(self, maker: FeatureMaker, missing: MissingDays, due: list[int], until: int) -> list[int]:
        """Store the snapshots that are due by ``until``; return the other days."""
        now = [day for day in due if day <= until]
        for day in now:
            maker.advance(day)
            folder, key = self._snapshot_folder(missing, day), missing.snapshot_keys[day]
            facts = {"scenario": self.run.scenario.name, "stage": "counts", "as_of": day_text(day), "usage": {}}
            if not (folder / MANIFEST).exists():  # the same counts, in another order if counted from the first day
                self.run.store.publish(folder, key, maker.memory().payload(), facts)
        return due[len(now) :]

    def _publish(self, block: MissingBlock, parts: list[pd.DataFrame]) -> Ref:
        features = drop_unused_categories(parts[0] if len(parts) == 1 else pd.concat(parts))
        if len(features) != block.rows:  # they would be read beside the rows of other days
            raise AssertionError(f"{block_name(block.days)}: features of {len(features)} rows, not of {block.rows}")
        payload = Payload(rows=len(features), summary={"columns": len(features.columns)})
        payload.add_frame(FEATURES, features, measurements=True)
        facts = {"stage": "features of a day", "as_of": block_name(block.days), "usage": {}}
        folder = self._folder(block_name(block.days), block.key)
        return self.run.store.publish(folder, block.key, payload, {"scenario": self.run.scenario.name, **facts}).ref

    def _find(self, block: MissingBlock) -> Artifact | None:
        return self.run.store.find(self._folder(block_name(block.days), block.key))

    def _snapshot_folder(self, missing: MissingDays, day: int) -> UPath:
        return self._folder(day_text(day), missing.snapshot_keys[day])

    def _folder(self, name: str, key: str) -> UPath:
        return self.run.store.folder(self.run.scenario.name, DAYS, name, key)


def _batches(days: Sequence[int], cuts: Sequence[int], sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Yield batches of days with a bounded number of rows, a larger day by itself; no batch crosses a cut."""
    batch, rows = list[int](), 0
    for day in days:
        if batch and (rows + sizes[day] > _ROWS_AT_ONCE or any(batch[-1] < cut <= day for cut in cuts)):
            yield batch
            batch, rows = [], 0
        batch.append(day)
        rows += sizes[day]
    if batch:
        yield batch


def _by_day(features: pd.DataFrame, days: Sequence[int], sizes: Mapping[int, int]) -> dict[int, pd.DataFrame]:
    """Split the features of some days' rows, which are in order of days, by day."""
    ends = np.cumsum([sizes[day] for day in days]).tolist()
    return {day: features.iloc[end - sizes[day] : end] for day, end in zip(days, ends, strict=True)}
