"""Small file systems that fill up: real ones (tmpfs), which a test mounts and takes away."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

NEEDS = "to mount a small file system takes root (CONTRIBUTING.md)"


class Unavailable(Exception):
    """Nothing can be mounted here."""


class Disk:
    """A file system of *size* bytes at *path*."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._ballast = path / "ballast"

    def leave(self, room: int) -> None:
        """Fill it up to the last *room* bytes."""
        free = os.statvfs(self.path)
        with self._ballast.open("ab") as file:
            file.write(b"x" * max(0, free.f_bavail * free.f_frsize - room))

    def make_room(self) -> None:
        """Take away what :meth:`leave` put there."""
        self._ballast.unlink()


@contextlib.contextmanager
def disk(path: Path, size: int) -> Iterator[Disk]:
    """Mount one at *path*, which is a new folder."""
    path.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        raise Unavailable(NEEDS)
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:  # a container without the rights, say
        raise Unavailable(f"{NEEDS}; here: {done.stderr.strip()}")
    try:
        yield Disk(path, size)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
