"""Disks that a test owns: small ones that become full, and ones that lose power. Both take root;
tests are skipped without.

A power loss is made with the kernel's own parts. A file system lies in an image behind a loop device; what a program
has written and not synchronised is in the page cache of that file system, and nowhere in the image. A copy of the image
is therefore what a disk holds whose machine loses its power now; mounted, its journal is replayed as at a real start.
The writers must be stopped while the copy is made. The kernel's own timers, which would save unsynchronised data within
5 to 30 seconds, are told to wait (`commit=`, and the test must be quicker than `dirty_expire_centisecs`).

What this does not show: disks that lie about having written, torn sectors, and whatever only another file system than
ext4 does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

BLOCK_BYTES = 64 * 1024


def mounted(*arguments: str | Path) -> bool:
    """Mount; False where that is not allowed or not possible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return not subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


class SmallDisk:
    """A disk in memory of a few MiB, at a folder. `fill` leaves next to nothing free, `tidy` takes that back."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted = mounted("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder)

    def fill(self, leave_bytes: int = 0) -> None:
        """Take what is free, but for so many bytes."""
        free = shutil.disk_usage(self.folder).free - leave_bytes
        with contextlib.suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as ballast:
            while free > 0:  # others may have taken the rest meanwhile
                free -= ballast.write(b"x" * min(free, BLOCK_BYTES))

    def tidy(self) -> None:
        """Give it back."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.mounted = False


class MortalDisk:
    """An ext4 disk whose power can be cut: `after_power_loss` is the same disk as it comes up again, at another folder.

    Use it as a context manager; skips the test where loop devices cannot be mounted.
    """

    def __init__(self, folder: Path, mib: int = 64) -> None:
        self.folder = folder / "disk"
        self._image, self._copy = folder / "disk.img", folder / "after.img"
        self._after = folder / "after"
        self._mib = mib
        self._mounts: list[Path] = []

    def __enter__(self) -> MortalDisk:
        for folder in (self.folder, self._after):
            folder.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(self._mib << 20)
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True, capture_output=True)
        self._mount(self._image, self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for folder in reversed(self._mounts):
            subprocess.run(["umount", "-l", str(folder)], check=False)

    def after_power_loss(self) -> Path:
        """The folder with what would be there after the machine lost its power at this instant."""
        shutil.copyfile(self._image, self._copy)
        self._mount(self._copy, self._after)
        return self._after

    def _mount(self, image: Path, folder: Path) -> None:
        if not mounted("-o", "loop,commit=300", image, folder):
            pytest.skip("mounting a disk of one's own takes root and loop devices")
        self._mounts.append(folder)
