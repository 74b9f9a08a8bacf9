"""Progress of a run in the terminal: a spinner for the current stage, a line for each finished one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from mtl_tasks.report import labels

if TYPE_CHECKING:
    from mtl_tasks.pipeline.engine import StageResult


class StageProgress:
    """A spinner for the current stage and a line for each finished one; without a terminal, only the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        )
        self._task = self._progress.add_task("loading")

    @contextlib.contextmanager
    def shown(self) -> Iterator[StageProgress]:
        """Show progress while the block runs."""
        with self._progress if self._console.is_terminal else contextlib.nullcontext():
            yield self

    def __call__(self, stage: str, result: StageResult | None) -> None:
        """Show that a stage began (no result yet) or ended."""
        if result is None:
            self._progress.reset(self._task, description=stage)
            return
        took = "reused" if result.reused else labels.duration(result.seconds)
        line = Text.assemble(("✓ ", "green"), f"{stage:<20} {took:>12}")
        if not result.reused:
            line.append(f"{result.peak_rss_mb:>9,.0f} MiB", style="dim")
        self._console.print(line)
