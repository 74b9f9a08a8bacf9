"""`python -m mtl_tasks`."""

import os
import sys

# Read when OpenMP is loaded, so it comes before every other import: threads that spin while they wait make two runs
# on one machine up to twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from mtl_tasks.cli import main

sys.exit(main())
