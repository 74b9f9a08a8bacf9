#!/usr/bin/env bash
# Write the digests of the images that docker-compose.yaml and the Dockerfile name by tag into .env, so that every
# machine runs the same bytes. Run it again after a tag changes. Usage: include/docker/pin-images.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v docker >/dev/null || { echo "error: docker is not on the PATH" >&2; exit 1; }
[ -f .env ] || { echo "error: .env is missing: run make env" >&2; exit 1; }

draft=$(mktemp .env.XXXXXX)
trap 'rm -f "$draft"' EXIT
grep -v '^\(AIRFLOW\|POSTGRES\|REDIS\)_IMAGE=' .env >"$draft" || true
for name in AIRFLOW_IMAGE POSTGRES_IMAGE REDIS_IMAGE; do
    image=$(sed -n "s/.*\${$name:-\([^}]*\)}.*/\1/p" docker-compose.yaml)
    docker pull --quiet "$image" >/dev/null
    digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$image")
    echo "$name=$image@${digest#*@}" | tee -a "$draft"
done
mv "$draft" .env
