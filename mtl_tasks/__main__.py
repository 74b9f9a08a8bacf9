"""`python -m mtl_tasks`, for the interpreter of .venv; `include/bin/mtl` starts that one."""

import sys
from importlib.util import find_spec

from mtl_tasks.core.program import PROGRAM

# Found, not imported: packages that only .venv has.
if absent := [name for name in ("typer", "pydantic", "pandas", "upath", "lightgbm") if find_spec(name) is None]:
    sys.exit(
        f"error: {sys.executable} lacks {', '.join(absent)}: it is not the Python of .venv; type {PROGRAM} instead of "
        "python -m mtl_tasks (make setup makes .venv)"
    )

from mtl_tasks.cli.main import main
from mtl_tasks.core.process import settle_threads

settle_threads()  # in time: commands import what is numerical when they run
sys.exit(main())
