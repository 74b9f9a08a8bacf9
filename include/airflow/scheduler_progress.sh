# One line for each finished task or run in the scheduler's log; sourced by up.sh.
# shellcheck shell=bash

# Print the name of a mapped task, such as the member that it fits; arguments: DAG, task, run, index.
mapped_name() { .venv/bin/python include/airflow/mapped_name.py "$@"; }

# Read the log's new lines from stdin until there are no more.
show_progress() {
    local line place found
    while read -r line; do
        if [[ $line =~ TaskInstance\ Finished:\ dag_id=([^,]+),\ task_id=([^,]+),\ run_id=([^,]+),\ map_index=(-?[0-9]+),.*\ state=([a-z_]+) ]]; then
            found=("${BASH_REMATCH[@]}")
            place=
            [ "${found[4]}" = -1 ] || place="[$(mapped_name "${found[@]:1:4}")]"
            echo "  ${found[1]} ${found[3]}  ${found[2]}$place: ${found[5]}"
        elif [[ $line =~ DagRun\ Finished:\ dag_id=([^,]+),.*\ run_id=([^,]+),.*\ state=([a-z_]+) ]]; then
            echo "  ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}: ${BASH_REMATCH[3]}"
        fi
    done
}
