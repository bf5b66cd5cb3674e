#!/usr/bin/env bash
# Make the secrets of one installation: random passwords, each in a file of its own, for docker-compose.yml.
#
#   make-secrets.sh [FOLDER]     default deploy/secrets
#
# Files that exist are kept, so running it again is harmless. The folder is closed to others; the files inside can be read
# by everybody who gets through it, because each container reads its own as another user.
#
# Hosts inside the URLs are the service names of docker-compose.yml; TWINMETER_REDIS_AT, TWINMETER_POSTGRES_AT and
# TWINMETER_MQTT_AT (host:port) name others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

# Hexadecimal: needs no quoting in a URL or an option file.
random() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
# One word in one file, made once. Prints it.
word() {
  [ -s "$folder/$1" ] || printf '%s\n' "$(random)" >"$folder/$1"
  cat "$folder/$1"
}
once() { [ -s "$folder/$1" ] || cat >"$folder/$1"; }

redis=$(word redis_password)
postgres=$(word postgres_password)
mqtt=$(word mqtt_password)
word admin_token >/dev/null
word grafana_password >/dev/null

# Redis: nobody without a password, and not even the platform may empty it or stop it.
hash=$(printf '%s' "$redis" | python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
once redis_users.acl <<END
user default off
user twinmeter on #$hash ~* &* +@all -flushall -flushdb -shutdown -debug -swapdb
END
once redis_url <<<"redis://twinmeter:$redis@${TWINMETER_REDIS_AT:-redis:6379}/0"
once database_url <<<"postgresql://twinmeter:$postgres@${TWINMETER_POSTGRES_AT:-postgres:5432}/twinmeter"
once mqtt_url <<<"mqtt://twinmeter:$mqtt@${TWINMETER_MQTT_AT:-mosquitto:1883}"

# Mosquitto: the platform's own user; devices follow with mosquitto/add-device.sh.
if ! grep -qs '^twinmeter:' "$folder/mosquitto_passwords"; then
  printf '%s\n' "$mqtt" | python3 "$here/mosquitto/password_hash.py" "$folder/mosquitto_passwords" twinmeter
fi
# Options of mosquitto_sub for the broker's health check, so that no password stands in a process list.
once mosquitto_sub <<END
-u twinmeter
-P $mqtt
END
echo "secrets are in $folder; the first administrator's token is in $folder/admin_token" >&2
