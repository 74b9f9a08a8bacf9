"""Output of finished runs, shared by the commands that show one."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from mtl_tasks.cli.options import console, print_json

if TYPE_CHECKING:  # `--help` answers in well under a second without it
    from mtl_tasks.report.document import RunDocument


def stdout_kept_clean() -> contextlib.redirect_stdout[Any]:
    """Redirect the output of libraries to stderr: with ``--json``, stdout holds one object and nothing else."""
    return contextlib.redirect_stdout(sys.stderr)


def present(document: RunDocument, as_json: bool, *, verbose: bool) -> None:
    """Print a run's document, as tables or as one JSON object."""
    if as_json:
        print_json(document.to_json())
        return
    from mtl_tasks.report.terminal import print_summary

    print_summary(document, console(), verbose=verbose)
