"""Path of the command-line program, for messages that name a command."""

from __future__ import annotations

from typing import Final

PROGRAM: Final = "include/bin/mtl"  # from the project's folder; needs no activated environment
