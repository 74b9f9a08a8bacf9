"""The command line in processes that are forked after the imports of a run, which take as long as half of a small run.

Not for tests of how a process starts or ends: a fork has neither the start of an interpreter nor its end.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mtl_tasks.cli.main import main

PROJECT = Path(__file__).parents[2]
# None of them starts a thread, which a fork would lack.
IMPORTED = (
    "mtl_tasks.data.validation.validate",
    "mtl_tasks.models.independent",
    "mtl_tasks.pipeline.days.features",
    "mtl_tasks.pipeline.local",
    "mtl_tasks.recommend.rankers.choice",
    "mtl_tasks.report.page",
    "great_expectations",
    "matplotlib.backends.backend_svg",
    "tests.support.processes",
    "tests.support.projects",
)


def nothing() -> None:
    """Do nothing before the command."""


class ForkedCommand:
    """``mtl`` with arguments in a process of its own, in the working folder and environment of this one.

    Attributes
    ----------
    stderr
        What the command writes there, as it does so. What it writes to stdout is dropped.
    """

    def __init__(self, *arguments: str, first: Callable[[], None] = nothing) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(PROJECT))
            forkserver.set_forkserver_preload(list(IMPORTED))
            forkserver.ensure_running()
        context = multiprocessing.get_context("forkserver")
        reader, writer = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(arguments, first, writer, dict(os.environ)))
        self._process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Return the exit code once the process has ended; that of a signal is negative."""
        self.stderr.close()
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _run(
    arguments: tuple[str, ...],
    first: Callable[[], None],
    stderr: Connection,
    environment: dict[str, str],
) -> None:
    absent = [name for name in IMPORTED if name not in sys.modules]
    os.dup2(stderr.fileno(), sys.stderr.fileno())
    stderr.close()
    if absent:  # the server passes over a module that it cannot import
        raise ImportError(f"not imported before the fork: {', '.join(absent)}")
    with open(os.devnull, "w") as dropped:
        os.dup2(dropped.fileno(), sys.stdout.fileno())
    os.environ.clear()
    os.environ.update(environment)
    first()
    sys.exit(main(list(arguments)))
