"""Shows what is wrong with scenario files, as the import error of this file, which has no DAG of its own.

Airflow takes every DAG of a file that has an import error out of service. Raised where the training DAGs are made, one
misspelled key would stop all scenarios; raised here it stops its own, and stands where people look for such faults.
"""

from dags import recommending, training
from dags.scenario_files import build_all
from mtl_tasks.core.errors import ConfigError

_, faults = build_all(training.make_dag, recommending.make_dag)
if faults:
    raise ConfigError("; ".join(faults))
