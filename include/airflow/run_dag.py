"""Run a DAG in this process, like `airflow dags test`, which in Airflow 3.3 fails on a DAG with a deadline.

Usage: run_dag.py DAG [CONF]
"""

import json
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG, DagRunState


def run(dag: DAG, conf: dict[str, Any]) -> DagRun:
    """Run the DAG, and return the run once it has ended.

    Its logical date is the default, now: a run of another date would seem to have started then, and one without a date
    would clear the tasks of all earlier runs.
    """
    dag.deadline = None
    return dag.test(run_conf=conf)


if __name__ == "__main__":
    name, conf = sys.argv[1], json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    sys.exit(run(DagBag(dag_folder="dags").dags[name], conf).state != DagRunState.SUCCESS)
