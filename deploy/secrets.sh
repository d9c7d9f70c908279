#!/bin/sh
# Makes what compose.yaml mounts, once: deploy/secrets.sh https://issuer.example. Never overwrites anything.
set -eu
base_url=${1:?the base URL, as in: deploy/secrets.sh https://issuer.example}
umask 077
mkdir "${SECRETS:=$(dirname "$0")/secrets}"
password=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')
head -c 32 /dev/urandom > "$SECRETS/kek"
printf %s "$password" > "$SECRETS/database_password"
cat > "$SECRETS/realmint.toml" <<TOML
base_url = "$base_url"
database_url = "postgresql://realmint:$password@database/realmint"
kek_file = "/run/secrets/kek"
TOML
# The user of the image reads them, and nobody else may.
if [ "$(id -u)" = 0 ]; then
    chown -R 10001:10001 "$SECRETS"
else
    echo "Now: sudo chown -R 10001:10001 $SECRETS   (rootless podman: podman unshare chown -R 10001:10001 $SECRETS)"
fi
