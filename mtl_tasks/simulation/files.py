"""Writer of a simulation: partitions of events and of the truth, the user and item tables, and the settings."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tasks.core.columns import ITEM, TITLE, USER
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.simulation.day import DAY_US, Rows, Shop
from mtl_tasks.simulation.settings import FIRST_DAY, Settings, date_of
from mtl_tasks.simulation.world import AGE_GROUPS, CATEGORIES, PRICE_BANDS, SEGMENTS

log = logging.getLogger(__name__)

BLOCK: Final = 1 << 18  # rows drawn and written at a time; bounds the memory
PURCHASE: Final = "purchase"
RATING: Final = "rating"
PROBABILITY: Final = "purchase_probability"
EXPECTED: Final = "expected_rating"
EVENTS: Final = pa.schema(
    [
        (USER, pa.int64()),
        (ITEM, pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("cart", pa.int8()),
        (PURCHASE, pa.int8()),
        (RATING, pa.int8()),  # null unless given
        ("price", pa.float64()),
        ("promotion", pa.int8()),
    ]
)
TRUTH: Final = pa.schema([(PROBABILITY, pa.float32()), (EXPECTED, pa.float32())])
# Columns with few values are smaller and faster to write as a dictionary; the others are not.
DICTIONARIES: Final = [ITEM, "cart", PURCHASE, RATING, "price", "promotion"]


def simulate(settings: Settings, folder: Path) -> dict[str, Any]:
    """Write a simulation into a folder, day by day; memory does not grow with the number of events.

    Parameters
    ----------
    folder
        Must be empty or not exist. It gets ``events/dt=YYYY-MM-DD/part-0.parquet``, one row per exposure;
        ``truth/dt=…/part-0.parquet``, the purchase probability and the expected rating of the same rows in the same
        order; ``items.parquet`` and ``users.parquet``, all that have arrived by the last day; and, last,
        ``simulation.json``, the settings and counts.

    Returns
    -------
    dict
        The content of ``simulation.json``.

    Raises
    ------
    ConfigError
        If the folder is not empty, or cannot be written to.
    """
    _prepare(folder)
    shop = Shop(settings)
    counts = {"events": 0, "carts": 0, "purchases": 0, "ratings": 0}
    for day in range(settings.days):
        for name, count in _write_day(shop, day, folder).items():
            counts[name] += count
        log.info("%s: %d events so far", date_of(day), counts["events"])
    users, items = _users(shop), _items(shop)
    pq.write_table(users, folder / "users.parquet")
    pq.write_table(items, folder / "items.parquet")
    document = {
        "settings": asdict(settings),
        "first_day": date_of(0),
        "last_day": date_of(settings.days - 1),
        "counts": {"users": users.num_rows, "items": items.num_rows, **counts},
    }
    (folder / "simulation.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def part(folder: Path, kind: str, day: str) -> Path:
    """Return the path of the ``events`` or the ``truth`` of a day."""
    return folder / kind / f"dt={day}" / "part-0.parquet"


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigError(f"simulate: --out {folder}: cannot be made ({error.strerror})") from error
    if found is not None:
        raise ConfigError(
            f"simulate: --out {folder}: the folder is not empty, it holds {found.name!r}: remove it or name another"
        )


def _write_day(shop: Shop, day: int, folder: Path) -> dict[str, int]:
    """Write a day's events and truth, a block at a time, and count them."""
    events, truth = (part(folder, kind, date_of(day)) for kind in ("events", "truth"))
    for path in (events, truth):
        path.parent.mkdir(parents=True)
    counts = {"events": 0, "carts": 0, "purchases": 0, "ratings": 0}
    total, rng, shelf = shop.settings.rows_on(day), shop.settings.stream(day), shop.shelf(day)
    with (
        pq.ParquetWriter(events, EVENTS, use_dictionary=DICTIONARIES, compression="zstd") as to_events,
        pq.ParquetWriter(truth, TRUTH, use_dictionary=False, compression="none") as to_truth,
    ):
        for first in range(0, total, BLOCK):
            rows = shop.draw(day, rng, shelf, first, min(BLOCK, total - first), total)
            to_events.write_table(_event_table(rows, day))
            to_truth.write_table(pa.table([rows.purchase_probability, rows.expected_rating], schema=TRUTH))
            made = {"carts": rows.cart, "purchases": rows.purchase, "ratings": rows.rated}
            counts["events"] += len(rows.users)
            for name, mask in made.items():
                counts[name] += int(np.count_nonzero(mask))
    return counts


def _event_table(rows: Rows, day: int) -> pa.Table:
    start = int((FIRST_DAY + day).astype(np.int64)) * DAY_US
    return pa.table(
        [
            rows.users.astype(np.int64),
            rows.items.astype(np.int64),
            pa.array(rows.time_us + start).view(EVENTS.field("time").type),
            rows.cart.astype(np.int8),
            rows.purchase.astype(np.int8),
            pa.array(rows.rating, mask=~rows.rated),
            rows.price,
            rows.promotion.astype(np.int8),
        ],
        schema=EVENTS,
    )


def _users(shop: Shop) -> pa.Table:
    """Return the users who arrived by the last day."""
    user_traits, count = shop.user_traits, shop.users_on(shop.settings.days - 1)
    return pa.table(
        {
            USER: np.arange(count),
            "segment": _named(SEGMENTS, user_traits.segment[:count]),
            "age_group": _named(AGE_GROUPS, user_traits.age_group[:count]),
            "joined_on": _dates(user_traits.arrival[:count]),
        }
    )


def _items(shop: Shop) -> pa.Table:
    """Return the items that arrived by the last day."""
    item_traits, count = shop.item_traits, shop.items_on(shop.settings.days - 1)
    category = _named(CATEGORIES, item_traits.category[:count])
    brands = tuple(f"brand {number:03d}" for number in range(int(item_traits.brand.max()) + 1))
    titles = [f"{name} {number}" for number, name in enumerate(category.to_pylist())]
    return pa.table(
        {
            ITEM: np.arange(count),
            TITLE: titles,
            "category": category,
            "brand": _named(brands, item_traits.brand[:count]),
            "price_band": _named(PRICE_BANDS, item_traits.price_band[:count]),
            "list_price": item_traits.list_price[:count],
            "listed_on": _dates(item_traits.arrival[:count]),
        }
    )


def _named(names: tuple[str, ...], codes: Any) -> pa.Array:
    return pa.array(names).take(pa.array(codes))


def _dates(days: Any) -> pa.Array:
    return pa.array((FIRST_DAY + days.astype(np.int64)).astype("datetime64[D]"))
