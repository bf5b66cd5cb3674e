#!/usr/bin/env bash
# Give a device or a gateway its own user at the broker: the name is its id, the password is random and printed once.
#
#   add-device.sh em-001                                      a device that publishes for itself
#   add-device.sh gw-01 --site park-1 --for em-001,em-002     a gateway, with the devices it publishes for
#
# Options: --passwords FILE   default deploy/secrets/mosquitto_passwords
#          --acl FILE         default deploy/mosquitto/acl
#
# The same name again gets a new password; devices named again are not listed twice. Tell the broker afterwards, nobody is
# disconnected: docker compose kill -s HUP mosquitto
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
passwords=$here/../secrets/mosquitto_passwords
acl=$here/acl
name= site= devices=

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "add-device.sh: $1" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --passwords) passwords=${2:-}; shift 2 || usage ;;
    --acl) acl=${2:-}; shift 2 || usage ;;
    --site) site=${2:-}; shift 2 || usage ;;
    --for) devices=${2:-}; shift 2 || usage ;;
    -*) usage ;;
    *) [ -z "$name" ] || usage; name=$1; shift ;;
  esac
done
[ -n "$name" ] || usage
id='^[A-Za-z0-9_-]{1,64}$'
[[ $name =~ ^[A-Za-z0-9_.-]{1,128}$ ]] || fail "name '$name': letters, digits, '_', '-' and '.'"
[ "$name" != twinmeter ] || fail "'twinmeter' is the platform itself; its password is made by make-secrets.sh"
if [ -n "$devices" ]; then
  [[ $site =~ $id ]] || fail "--for needs --site, the id of the site that the devices belong to"
  for device in ${devices//,/ }; do
    [[ $device =~ $id ]] || fail "device '$device': 1 to 64 letters, digits, '_' and '-'"
  done
fi
[ -d "$(dirname "$passwords")" ] || fail "$(dirname "$passwords") does not exist; run deploy/make-secrets.sh first"

if [ -n "$devices" ]; then
  # Lines of one user stand together under its name. Those that are there already stay, new ones are put beneath it.
  fresh=$(mktemp "$acl.XXXXXX")
  trap 'rm -f "$fresh"' EXIT
  lines=()
  for device in ${devices//,/ }; do
    for verb in birth conn tele event state ack; do lines+=("topic write twinmeter/v1/$site/$device/$verb"); done
    for verb in cfg cmd; do lines+=("topic read twinmeter/v1/$site/$device/$verb"); done
  done
  wanted=$(printf '%s\n' "${lines[@]}")
  NAME=$name WANTED=$wanted awk '
    function give(  i) { for (i = 1; i <= n; i++) if (!(line[i] in have)) print line[i]; n = 0 }
    BEGIN { n = split(ENVIRON["WANTED"], line, "\n"); user = "user " ENVIRON["NAME"] }
    { text[NR] = $0; if ($0 ~ /^user /) inside = ($0 == user); if (inside) { have[$0] = 1; found = 1 } }
    END {
      for (r = 1; r <= NR; r++) { print text[r]; if (text[r] == user) give() }
      if (!found) { print ""; print user; give() }
    }' "$acl" >"$fresh"
  chmod --reference="$acl" "$fresh"
  mv "$fresh" "$acl"
fi

password=$(python3 -c 'import secrets; print(secrets.token_hex(24))')
printf '%s\n' "$password" | python3 "$here/password_hash.py" "$passwords" "$name"
echo "user      $name"
echo "password  $password"
echo "Keep it now: only its hash is stored. Then: docker compose kill -s HUP mosquitto" >&2
