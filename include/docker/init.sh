#!/usr/bin/env bash
# What must be there before Airflow's processes start: its tables, the pools, and somebody who can log in. Harmless to repeat.
set -euo pipefail

airflow db migrate
airflow pools set cpu_heavy "$CPU_HEAVY_SLOTS" "A slot is a thread of work on processors"
airflow pools set gpu "$GPU_SLOTS" "A slot is a GPU"
# The password goes through standard input, as the arguments of a process can be read by everybody on the machine.
# It is asked for twice, on the terminal if there is one: setsid leaves it.
printf '%s\n' "$ADMIN_PASSWORD" "$ADMIN_PASSWORD" | setsid --wait airflow users create \
    --username admin --role Admin --firstname Airflow --lastname Admin --email admin@localhost
