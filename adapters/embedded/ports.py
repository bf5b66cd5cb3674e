"""TCP ports of this machine: a free one, and who holds one that is not."""

from __future__ import annotations

import socket
from pathlib import Path

_LISTENING = "0A"


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago; whoever binds it must be ready to try another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def who_listens(port: int) -> str:
    """The process that listens on a port, as `pid 812 (redis-server *:6379)`, or why that is not known.

    Reads /proc; a process of another user shows up without its name.
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return "a process that cannot be seen from here"
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                return f"pid {process.name} ({command_of(int(process.name))})"
        except OSError:
            continue
    return "a process of another user"


def command_of(pid: int) -> str:
    """The command line of a process, shortened to 120 characters; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:120]


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
