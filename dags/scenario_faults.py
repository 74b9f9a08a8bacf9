"""Shows what is wrong with scenario files, as the import error of this file, which has no DAG of its own.

Airflow takes every DAG of a file that has an import error out of service. Raised where the training DAGs are made, one
misspelt key would stop all scenarios; raised here it stops its own, and stands where people look for such faults.
"""

from dags.scenario_files import read_scenarios
from mtl_tasks.errors import ConfigError

_, faults = read_scenarios()
if faults:
    raise ConfigError("; ".join(faults))
