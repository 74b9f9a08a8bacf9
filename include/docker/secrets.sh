#!/usr/bin/env bash
# Write .env with the secrets that docker-compose.yaml needs, unless it exists. Usage: include/docker/secrets.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 077

random_hex() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; } # 32 bytes in URL-safe base64

draft=$(mktemp .env.XXXXXX)
trap 'rm -f "$draft"' EXIT
cat >"$draft" <<SECRETS
# Read by docker-compose.yaml. Keep a copy where the backups are: without FERNET_KEY stored connections cannot be read,
# without MTL_STORE_KEY no artifact and no verdict.
POSTGRES_PASSWORD=$(random_hex 24)
REDIS_PASSWORD=$(random_hex 24)
FERNET_KEY=$(fernet_key)
JWT_SECRET=$(random_hex 64)
API_SECRET_KEY=$(random_hex 32)
MTL_STORE_KEY=$(random_hex 32)
ADMIN_PASSWORD=$(random_hex 12)
SECRETS
# A hard link is created atomically, and not at all if the name is taken.
if ln "$draft" .env 2>/dev/null; then
    echo "Wrote .env; the password of admin is its ADMIN_PASSWORD"
elif [ -e .env ]; then
    echo ".env is there already and stays as it is; delete it to have new secrets made"
else
    echo "error: $PWD/.env could not be written" >&2
    exit 1
fi
