"""What the machine or container allows, and what our processes use of it. Linux; elsewhere psutil.

Layer 5. Reads ``/proc`` and the cgroup files (version 2 first, then 1); changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_CGROUP: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")
#: cgroup version 1 writes "no limit" as a huge number.
_UNLIMITED: Final = 1 << 60


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _own_groups() -> dict[str, str]:
    """Controller name ("" for version 2) → path of this process's cgroup."""
    text = _read(_OWN_CGROUPS) or ""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _cgroup_files(controller: str, name: str) -> list[Path]:
    """Candidates for a controller's file: our own group, then its ancestors up to the mount."""
    groups = _own_groups()
    found: list[Path] = []
    for key, root in (("", _CGROUP), (controller, _CGROUP / controller)):
        if key not in groups:
            continue
        here = root / groups[key].lstrip("/")
        for folder in (here, *here.parents):
            if not folder.is_relative_to(root):
                break
            found.append(folder / name)
    return [path for path in found if path.exists()]


def cpu_budget() -> int:
    """Number of cores this process may use: affinity, cut by the container's quota; at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    for path in _cgroup_files("cpu", "cpu.max"):
        quota, period = (_read(path) or "max 100000").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    for path in _cgroup_files("cpu", "cpu.cfs_quota_us"):
        limit = int(_read(path) or -1)
        span = int(_read(path.with_name("cpu.cfs_period_us")) or 100_000)
        if limit > 0:
            cores = min(cores, max(1, round(limit / span)))
    return max(1, cores)


def _tightest() -> tuple[int, Path] | None:
    """The lowest memory limit above us, and the folder of the group that has it."""
    limits = [
        (int(text), path.parent)
        for name in ("memory.max", "memory.limit_in_bytes")
        for path in _cgroup_files("memory", name)
        if (text := _read(path)) and text != "max" and int(text) < _UNLIMITED
    ]
    return min(limits, key=lambda found: found[0]) if limits else None


def container_limit() -> int | None:
    """Bytes the container may use, None where there is no limit."""
    found = _tightest()
    return None if found is None else found[0]


def memory_limit() -> int:
    """Bytes this worker and its neighbours may use: the container's limit, else the machine's."""
    limit = container_limit()
    machine = os.sysconf("SC_PHYS_PAGES") * _PAGE
    return machine if limit is None else min(limit, machine)


def container_usage() -> int | None:
    """Bytes that count against the container's limit now, without file cache that can be
    reclaimed; None if there is no limit. Of the group that has the limit: neighbours count, too."""
    found = _tightest()
    if found is None:
        return None
    for name in ("memory.current", "memory.usage_in_bytes"):
        text = _read(found[1] / name)
        if text is None:
            continue
        used = int(text)
        for line in (_read(found[1] / "memory.stat") or "").splitlines():
            key, _, value = line.partition(" ")
            # Version 1 lists its own pages first and the total of the subtree as total_….
            if key == ("inactive_file" if name == "memory.current" else "total_inactive_file"):
                used -= int(value)
        return max(0, used)
    return None


def oom_kills() -> int:
    """How often the kernel's OOM killer struck in this container so far; 0 if it cannot be told."""
    for name in ("memory.events", "memory.oom_control"):
        for path in _cgroup_files("memory", name)[:1]:
            for line in (_read(path) or "").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def began(pid: int) -> float | None:
    """When the process began, in seconds since the epoch; None if that cannot be told."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def stopped(pid: int) -> bool:
    """True if the process is stopped by a signal or a debugger (state T or t)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (FileNotFoundError, ProcessLookupError):
        return False


def megabytes(count: int) -> str:
    """A size for people: "512 MiB"."""
    return f"{count / (1 << 20):.0f} MiB"


__all__ = [
    "began",
    "container_limit",
    "container_usage",
    "cpu_budget",
    "megabytes",
    "memory_limit",
    "oom_kills",
    "resident",
    "stopped",
]
