"""`python -m mtl_tasks`."""

import sys

from mtl_tasks.cli import main
from mtl_tasks.threads import settle_threads

settle_threads()  # in time: commands import what is numerical when they run
sys.exit(main())
