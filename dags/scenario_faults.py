"""Faults in scenario files, shown as the import error of this file, which has no DAG of its own.

Airflow disables every DAG of a file with an import error. Raised where the training DAGs are made, one misspelled key
would stop all scenarios. Raised here, it stops only its own, and users see it among the import errors.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the project of this file, before any on PYTHONPATH

from dags import recommending, training, tuning
from dags.scenario_files import build_all
from mtl_tasks.core.errors import ConfigError

_, faults = build_all(training.make_dag, recommending.make_dag, tuning.make_dag)
if faults:
    raise ConfigError("; ".join(faults))
