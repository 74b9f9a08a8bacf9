"""Lines and tables of the terminal, in one style."""

from __future__ import annotations

import textwrap

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def say(console: Console, text: str, style: str = "") -> None:
    """Print a line, which the terminal may wrap."""
    console.print(Text(text, style=style), soft_wrap=True)


def say_wrapped(console: Console, text: str, style: str = "", mark: str = "", mark_style: str = "") -> None:
    """Print a sentence in lines of the terminal's width, indented under its mark."""
    first, *rest = textwrap.wrap(text, max(20, console.width - len(mark))) or [""]
    console.print(Text(mark, style=mark_style).append(first, style=style or "default"), soft_wrap=True)
    for line in rest:
        say(console, " " * len(mark) + line, style=style)


def show(console: Console, title: str, table: Table) -> None:
    """Print a table under its title; one without rows is left out."""
    if table.row_count:
        say(console, f"\n{title}", style="bold")
        console.print(table)


def plain_table() -> Table:
    """Return an empty table with a line under its headings."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
