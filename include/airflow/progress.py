"""Copy Airflow's log from stdin to a file, and show a line for each task as it ends.

Some versions of awk would show them late, as they read from a pipe in blocks.
"""

import re
import sys
import time
from pathlib import Path

PATTERNS = {
    "state": re.compile(r"new_state=([a-z_]+)"),
    "stage": re.compile(r"\] ([a-z_:]+): .*\[mtl_tasks\.pipeline\.engine\]"),
    "ended": re.compile(r"\[DAG TEST\] end task task_id=(\S+) map_index=(\S+)"),
}


def main(path: str) -> None:
    """Read until the end; the last state and stage in the log are those of the task that ends."""
    start, state, stage = time.monotonic(), "", ""
    with Path(path).open("w", encoding="utf-8") as log:
        for line in sys.stdin:
            log.write(line)
            log.flush()
            if found := PATTERNS["state"].search(line):
                state = found[1]
            if found := PATTERNS["stage"].search(line):
                stage = found[1]
            if found := PATTERNS["ended"].search(line):
                task = found[1] if found[2] == "-1" else f"{found[1]} {stage}"
                sys.stdout.write(f"  {time.monotonic() - start:4.0f} s  {task}: {state}\n")
                sys.stdout.flush()


main(sys.argv[1])
