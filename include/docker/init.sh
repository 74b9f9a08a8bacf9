#!/usr/bin/env bash
# Set up what Airflow's processes need before they start: the tables, the pools and an admin user. Safe to repeat.
set -euo pipefail

airflow db migrate
airflow pools set cpu_heavy "$CPU_HEAVY_SLOTS" "A slot is a thread of work on processors"
airflow pools set gpu "$GPU_SLOTS" "A slot is a GPU"
# The password goes through standard input, as everybody on the machine can read the arguments of a process.
# It is asked for twice, on the terminal if there is one: setsid detaches from it.
printf '%s\n' "$ADMIN_PASSWORD" "$ADMIN_PASSWORD" | setsid --wait airflow users create \
    --username admin --role Admin --firstname Airflow --lastname Admin --email admin@localhost
