"""`python -m mtl_tasks`."""

import sys

from mtl_tasks.cli import main

sys.exit(main())
