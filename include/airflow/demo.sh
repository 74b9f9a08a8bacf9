#!/usr/bin/env bash
# Run train_movies for one date through Airflow, without a scheduler, then recommend_movies, and show the result.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
as_of=${AS_OF:-2013-08-25}
log=$AIRFLOW_HOME/demo.log

run_dag() { .venv/bin/python include/airflow/run_dag.py "$@"; }

prepare
export PYTHONUNBUFFERED=1 # a task's line is shown when it ends, not when a buffer is full
echo "Running the DAGs train_movies and recommend_movies as of $as_of (log: .airflow/demo.log)"
if ! { run_dag train_movies "{\"as_of\": \"$as_of\"}" && run_dag recommend_movies; } 2>&1 | .venv/bin/python include/airflow/progress.py "$log"; then
    reason=$(sed -n 's/^mtl_tasks\.core\.errors\.[A-Za-z]*: //p' "$log" | tail -n 1)
    [ -n "$reason" ] || tail -n 30 "$log" >&2
    echo "error: train_movies failed as of $as_of${reason:+: $reason} (the whole log is in .airflow/demo.log)" >&2
    exit 1
fi
include/bin/mtl show movies --as-of "$as_of"
include/bin/mtl show movies --as-of "$as_of" --json | .venv/bin/python include/airflow/places.py "http://localhost:$port"
