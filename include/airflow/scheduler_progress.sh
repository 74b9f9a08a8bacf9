# One line for each finished task or run in the scheduler's log; sourced by up.sh.
# shellcheck shell=bash

# Read the log's new lines from stdin until there are no more.
show_progress() {
    local line place
    while read -r line; do
        if [[ $line =~ TaskInstance\ Finished:\ dag_id=([^,]+),\ task_id=([^,]+),\ run_id=([^,]+),\ map_index=(-?[0-9]+),.*\ state=([a-z_]+) ]]; then
            place=
            [ "${BASH_REMATCH[4]}" = -1 ] || place="[${BASH_REMATCH[4]}]"
            echo "  ${BASH_REMATCH[1]} ${BASH_REMATCH[3]}  ${BASH_REMATCH[2]}$place: ${BASH_REMATCH[5]}"
        elif [[ $line =~ DagRun\ Finished:\ dag_id=([^,]+),.*\ run_id=([^,]+),.*\ state=([a-z_]+) ]]; then
            echo "  ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}: ${BASH_REMATCH[3]}"
        fi
    done
}
