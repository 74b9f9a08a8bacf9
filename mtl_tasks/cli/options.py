"""Options, setup and output shared by the commands."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.store.address import DEFAULT, VARIABLE

if TYPE_CHECKING:  # `--help` answers in well under a second without them
    from rich.console import Console

    from mtl_tasks.core.days import AsOf
    from mtl_tasks.store.sealing import StoreKey

ScenarioName = Annotated[str, typer.Argument(metavar="SCENARIO", help="Name of a file in include/scenarios.")]
AsOfText = Annotated[
    str | None,
    typer.Option("--as-of", metavar="YYYY-MM-DD", help="The run knows nothing at or after this day (UTC)."),
]
StoreUri = Annotated[
    str,
    typer.Option(
        "--store", metavar="URI", envvar=VARIABLE, help="Where artifacts live: a folder or s3://…", show_default=DEFAULT
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the scenario, checked like the file. Repeatable."
    ),
]
Root = Annotated[
    Path, typer.Option("--root", metavar="FOLDER", help="The project folder; other relative paths start there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what each stage does, and print all tables.")]
Force = Annotated[
    bool, typer.Option("--force", help="Run every stage again as a separate run; existing artifacts stay.")
]


def enter(root: Path, verbose: bool, settings: list[str] | None) -> dict[str, Any]:
    """Change to the project folder, set up logging, and return the overrides of ``--set``."""
    if not root.is_dir():
        raise ConfigError(f"--root {root}: no such folder; give the folder that holds include/scenarios")
    os.chdir(root)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)
    from mtl_tasks.scenario import parse_setting

    return dict(parse_setting(text) for text in settings or [])


def now() -> datetime:
    """Return the current time (UTC). The clock is read here, at the edge, and passed on as an argument."""
    return datetime.now(UTC)


def today() -> AsOf:
    """Return the current day (UTC)."""
    from mtl_tasks.core.days import AsOf

    return AsOf.of(now())


def parse_as_of(text: str | None) -> AsOf:
    """Return the day of ``--as-of``.

    Raises
    ------
    ConfigError
        If it is missing, not a date, or in the future.
    """
    from mtl_tasks.core.days import AsOf

    return AsOf.parse(text, today())


def store_key() -> StoreKey | None:
    """Return the key that seals the store's documents. The environment is read here, at the edge."""
    from mtl_tasks.store.sealing import key_from

    return key_from(os.environ)


def print_json(document: Any) -> None:
    """Print one JSON value and nothing else."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def console() -> Console:
    """Return the console for tables."""
    from rich.console import Console

    # In a pipe rich assumes 80 columns, in which the tables would lose their headings.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)
