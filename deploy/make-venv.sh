#!/usr/bin/env bash
# Make a virtual environment with Python 3.11 or newer. Debian's python3 comes without ensurepip and without pip, so there
# are three ways, tried in turn; the last one needs the right to install packages.
set -euo pipefail
target=$1

find_python() {
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  echo "Python 3.11 or newer is needed (Debian 12: apt-get install python3)" >&2
  exit 1
}

python=$(find_python)
echo "making a virtual environment with $("$python" --version) ..."
rm -rf "$target"
if "$python" -m venv "$target" >/dev/null 2>&1 && "$target/bin/python" -m pip --version >/dev/null 2>&1; then exit 0; fi
rm -rf "$target"
if "$python" -m virtualenv --version >/dev/null 2>&1; then "$python" -m virtualenv --quiet "$target"; exit 0; fi
if "$python" -m pip --version >/dev/null 2>&1; then
  tools=$(mktemp -d)
  trap 'rm -rf "$tools"' EXIT
  "$python" -m pip install --quiet --disable-pip-version-check --target "$tools" virtualenv
  PYTHONPATH=$tools "$python" -m virtualenv --quiet "$target"
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  "$python" -m venv "$target"
  exit 0
fi
echo "This Python has neither venv nor pip. Install one of them once: apt-get install python3-venv" >&2
exit 1
