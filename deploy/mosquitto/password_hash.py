"""Password lines of Mosquitto, made with the standard library, so that no broker need be installed to make them.

A line is `name:$7$ITERATIONS$SALT$HASH`: PBKDF2 with HMAC-SHA-512 over 101 iterations, salt and hash in base64, the
format of `mosquitto_passwd` 2.x. Passwords made by `add-device.sh` are 192 random bits, so few iterations are enough.

    password_hash.py FILE NAME < PASSWORD

replaces the line of NAME in FILE, or adds one. The file is written in place: a container that has this one file mounted
would go on seeing the old one if it were replaced. The broker reads it when it is told to (SIGHUP), not meanwhile. The
password comes on standard input, because arguments are visible to every user of the machine.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import sys
from pathlib import Path

ITERATIONS = 101
SALT_BYTES = 12
NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""A name with `/`, `+` or `#` would be denied everything by the broker, one with `:` would break the file."""


def password_line(name: str, password: str) -> str:
    """One line of the password file. Raises ValueError for a name or a password that cannot stand there."""
    if not NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: letters, digits, '_', '-' and '.', at most 128")
    if not password:
        raise ValueError("the password is empty")
    salt = secrets.token_bytes(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"{name}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def put(file: Path, name: str, password: str) -> None:
    """Replace or add the line of one name. Raises ValueError, or OSError where the file cannot be written."""
    line = password_line(name, password)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [old for old in lines if old.partition(":")[0] != name]
    file.write_text("\n".join([*kept, line]) + "\n", encoding="utf-8")


def main() -> int:
    """The command line; 2 for wrong usage."""
    if len(sys.argv) != 3:
        print("usage: password_hash.py FILE NAME < PASSWORD", file=sys.stderr)  # noqa: T201
        return 2
    try:
        put(Path(sys.argv[1]), sys.argv[2], sys.stdin.read().strip("\r\n"))
    except (ValueError, OSError) as error:
        print(f"password_hash.py: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
