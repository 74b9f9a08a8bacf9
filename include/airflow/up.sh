#!/usr/bin/env bash
# Run Airflow here, every process with its own log in .airflow/logs, until Ctrl-C.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source include/airflow/scheduler_progress.sh
logs=$AIRFLOW_HOME/logs
names=()
pids=()

# Each process leads a group of its own, so that Ctrl-C reaches only this script, which then stops them in order.
start() {
    set -m
    .venv/bin/python -m airflow "$@" >"$logs/$1.log" 2>&1 &
    set +m
    names+=("$1")
    pids+=($!)
}

alive() { kill -0 "$1" 2>/dev/null; }

stop() {
    trap '' INT TERM HUP
    trap - EXIT
    echo
    echo "Stopping Airflow"
    local pid waited=0
    for pid in ${pids[@]+"${pids[@]}"}; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in ${pids[@]+"${pids[@]}"}; do
        while alive "$pid" && [ $((waited += 1)) -lt 100 ]; do sleep 0.2; done
        kill -KILL -- "-$pid" 2>/dev/null || true # what is left of its group, if anything
    done
    wait 2>/dev/null
    exit "$1"
}

healthy() {
    .venv/bin/python - "http://127.0.0.1:$port/api/v2/monitor/health" <<'PYTHON' 2>/dev/null
import json, sys, urllib.request
state = json.load(urllib.request.urlopen(sys.argv[1], timeout=5))
sys.exit(any(part["status"] != "healthy" for part in state.values()))
PYTHON
}

check_alive() {
    local i
    for i in "${!pids[@]}"; do
        alive "${pids[i]}" && continue
        tail -n 20 "$logs/${names[i]}.log" >&2
        echo "error: Airflow's ${names[i]} has ended; its whole log is .airflow/logs/${names[i]}.log" >&2
        stop 1
    done
}

login() { .venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["admin"])' "$1"; }

if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "error: port $port is taken; choose another: make up PORT=8081" >&2
    exit 1
fi
prepare
mkdir -p "$logs"
trap 'stop 0' INT TERM HUP
trap 'stop 1' EXIT
echo "Starting Airflow (about half a minute)"
start api-server
start scheduler --skip-serve-logs
start dag-processor
start triggerer --skip-serve-logs
until healthy; do
    check_alive
    sleep 1
done
echo "Airflow is up: http://localhost:$port"
echo "Log in as admin with the password $(login "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")"
echo "Logs are in .airflow/logs, artifacts in ${MTL_STORE#"$PWD"/}. Ctrl-C stops it."
exec 4<"$logs/scheduler.log"
while :; do
    check_alive
    show_progress <&4
    sleep 1
done
