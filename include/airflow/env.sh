# Airflow's settings on a developer's machine, in one place; sourced by demo.sh, up.sh and include/bin/airflow.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/../.." # paths of scenarios and data are relative to the project
[ -x .venv/bin/python ] || { echo "error: $PWD/.venv is missing: run make setup" >&2; exit 1; }
umask 077                                 # Airflow's state holds its keys and the login

port=${PORT:-8080}

export AIRFLOW_HOME="$PWD/.airflow"
export MTL_STORE="${MTL_STORE:-$PWD/.store}"
export PYTHONPATH="$PWD"
export OMP_WAIT_POLICY=PASSIVE # see the Makefile
export OPENBLAS_NUM_THREADS=1 # as mtl_tasks/core/process.py sets it, which comes too late for what is preloaded
# These warnings ask for packages that nothing here needs; every Airflow command would begin with them.
export PYTHONWARNINGS='ignore:Using `httpx` with `starlette.testclient`,ignore:Could not import graphviz'

export AIRFLOW__CORE__DAGS_FOLDER="${AIRFLOW__CORE__DAGS_FOLDER:-$PWD/dags}"
export AIRFLOW__CORE__PLUGINS_FOLDER="$PWD/plugins"
export AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX=regexp # with glob, Airflow 3.3 warns of its own code
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__EXECUTOR=LocalExecutor
export AIRFLOW__CORE__PARALLELISM=4 # 1 GB in all; the default of 32 workers takes far more
# Tasks are forked from a process that has imported what each of them would spend seconds on. The project's own modules
# are not among them, so that a change of the code needs no restart.
export AIRFLOW__SCHEDULER__MP_START_METHOD=forkserver
export AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD=airflow.executors.local_executor,airflow.dag_processing.dagbag,airflow.sdk.execution_time.task_runner,great_expectations,implicit.als,lightgbm,matplotlib.backends.backend_svg,matplotlib.figure,pandas,pyarrow.dataset,sklearn.isotonic,sklearn.linear_model
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE="$AIRFLOW_HOME/passwords.json"
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://127.0.0.1:$port/execution/"
export AIRFLOW__API_AUTH__JWT_SECRET_CMD="cat '$AIRFLOW_HOME/jwt_secret'" # Airflow's own is too short for SHA-512
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT="$port"
export AIRFLOW__API__BASE_URL="http://localhost:$port"
export AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL=10 # a new DAG file shows up after 10 s, not 5 minutes
export AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL=10
export AIRFLOW__LOGGING__COLORED_CONSOLE_LOG=False
export AIRFLOW__LOGGING__NAMESPACE_LEVELS="great_expectations=WARNING"

airflow() { .venv/bin/python -m airflow "$@"; }

# The pools of dags/resources.py: a slot of cpu_heavy is a thread, one of gpu a device.
pools() {
    local cores
    cores=$(getconf _NPROCESSORS_ONLN)
    {
        airflow pools set cpu_heavy "$((cores > 2 ? cores : 2))" "Threads of the machine, for what keeps them busy"
        airflow pools set gpu "${GPUS:-1}" "GPUs"
    } >>"$AIRFLOW_HOME/migrate.log" 2>&1
}

# Make the signing key once; update the metadata database and the pools when the lock file or this file changes.
prepare() {
    mkdir -p "$AIRFLOW_HOME"
    [ -s "$AIRFLOW_HOME/jwt_secret" ] ||
        .venv/bin/python -c 'import secrets; print(secrets.token_hex(64))' >"$AIRFLOW_HOME/jwt_secret"
    [ "$AIRFLOW_HOME/.migrated" -nt requirements.txt ] && [ "$AIRFLOW_HOME/.migrated" -nt include/airflow/env.sh ] && return
    echo "Preparing Airflow's database (once)"
    if ! airflow db migrate >"$AIRFLOW_HOME/migrate.log" 2>&1; then
        tail -n 20 "$AIRFLOW_HOME/migrate.log" >&2
        echo "error: Airflow's database could not be prepared; the whole log is in .airflow/migrate.log" >&2
        return 1
    fi
    pools
    touch "$AIRFLOW_HOME/.migrated"
}
