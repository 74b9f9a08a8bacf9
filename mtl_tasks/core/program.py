"""How the command line is called, for messages that name a command."""

from __future__ import annotations

from typing import Final

PROGRAM: Final = "include/bin/mtl"  # from the project's folder; needs no activated environment
