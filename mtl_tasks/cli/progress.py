"""Progress of a run in the terminal: a spinner for the current stage, a line for each finished one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from mtl_tasks.core.errors import MtlError
from mtl_tasks.core.stages import stage_position
from mtl_tasks.report import labels
from mtl_tasks.store.run_costs import coarse_time, read_costs

if TYPE_CHECKING:
    from mtl_tasks.pipeline.engine import StageResult
    from mtl_tasks.store.artifacts import Store


class StageProgress:
    """A spinner for the current stage and a line for each finished one; without a terminal, only the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        )
        self._task = self._progress.add_task("loading")
        self._expected: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Show the share done and the time left, from the seconds that each stage took in past runs."""
        self._expected, self._left = dict(seconds), dict(seconds)

    @contextlib.contextmanager
    def shown(self) -> Iterator[StageProgress]:
        """Show progress while the block runs."""
        with self._progress if self._console.is_terminal else contextlib.nullcontext():
            yield self

    def __call__(self, stage: str, result: StageResult | None) -> None:
        """Show that a stage began (no result yet) or ended."""
        if result is None:
            # A run that was rejected skips the recommendations, which past runs may have made.
            at = stage_position(stage)
            self._left = {name: seconds for name, seconds in self._left.items() if stage_position(name) >= at}
            self._progress.reset(self._task, description=f"{stage}{self._outlook()}")
            return
        self._left.pop(stage, None)
        took = "reused" if result.reused else labels.duration(result.seconds)
        line = Text.assemble(("✓ ", "green"), f"{stage:<20} {took:>12}")
        if not result.reused:
            line.append(f"{result.peak_rss_mb:>9,.0f} MiB", style="dim")
        line.append(self._outlook(), style="dim")
        self._console.print(line, soft_wrap=True)

    def _outlook(self) -> str:
        """Return the share done and the time left; empty without past runs and after the last stage."""
        total, left = sum(self._expected.values()), sum(self._left.values())
        if not total or not self._left:
            return ""
        return f"  {labels.percent(1 - left / total, 0)} done, about {coarse_time(left)} left"


def past_seconds(store: Store, scenario: str) -> dict[str, float]:
    """Return the seconds that each stage took in past runs; empty if they cannot be read, which the log says."""
    from mtl_tasks.pipeline.past_documents import run_usages

    try:
        return {stage: cost.seconds for stage, cost in read_costs(store, scenario, run_usages).stages.items()}
    except MtlError as error:
        logging.getLogger(__name__).warning("the costs of past runs are not shown: %s", error)
        return {}
