"""Print where a run is shown on the model board, if Airflow answers.

Usage: mtl show SCENARIO --json | places.py AIRFLOW
"""

import json
import sys
import urllib.request

BOARD = "/plugin/models/model-board"
SECONDS = 5


def answers(airflow: str) -> bool:
    """Whether Airflow's API server answers at an address."""
    try:
        with urllib.request.urlopen(f"{airflow}/api/v2/monitor/health", timeout=SECONDS) as reply:  # noqa: S310 - ours
            return "metadatabase" in json.load(reply)
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    shown, airflow = json.load(sys.stdin), sys.argv[1]
    if answers(airflow):
        page = f"{BOARD}/scenarios/{shown['scenario']}/runs/{shown['run_key']}"
        sys.stdout.write(f"Model board: {airflow}{page}\n")
    else:
        sys.stdout.write("Model board: make up starts Airflow, which shows it under Browse, Models\n")
