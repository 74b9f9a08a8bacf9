#!/usr/bin/env bash
# Remove Airflow's database rows and task logs of runs older than KEEP_DAYS. The newest run of each DAG is kept. The
# store is left alone: `mtl registry prune` is for that.
set -euo pipefail

before=$(date --utc --date="-$KEEP_DAYS days" +%Y-%m-%dT%H:%M:%S+00:00)
airflow db clean --yes --skip-archive --error-on-cleanup-failure --clean-before-timestamp "$before"
find "$AIRFLOW_HOME/logs" -type f ! -newermt "$before" -delete
find "$AIRFLOW_HOME/logs" -mindepth 1 -type d -empty ! -newermt "$before" -delete
