"""An older version of the platform, as the history of this repository has it, to run beside the present one."""

from __future__ import annotations

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIGRATIONS = "adapters/store/migrations/0*.py"


class NoHistoryError(RuntimeError):
    """This tree has no history, or too little of it, to take an older version from."""


def before_the_last_migrations(count: int) -> str:
    """The commit before the newest `count` migrations came. Raises NoHistoryError."""
    listed = _git("log", "--diff-filter=A", "--format=%H", "--", MIGRATIONS).decode().split()
    if len(listed) <= count:
        raise NoHistoryError(f"the history has {len(listed)} commits with migrations, {count} are to be left out")
    return f"{listed[count - 1]}^"


def unpack(commit: str, folder: Path) -> Path:
    """The tree of a commit in a folder of its own."""
    with tarfile.open(fileobj=BytesIO(_git("archive", commit))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def newest_migration(tree: Path) -> str:
    """Name of the newest migration of a tree."""
    return max(path.stem for path in tree.glob(MIGRATIONS))


def _git(*arguments: str) -> bytes:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistoryError(f"git {arguments[0]}: {error}") from error
    return done.stdout
