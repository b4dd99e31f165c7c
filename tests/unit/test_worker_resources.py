"""Resources: cgroup files of either version as a tree in a folder, processes as they are."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from celeriac.worker import resources

MIB = 1 << 20


class Tree:
    """A made-up ``/sys/fs/cgroup`` and what ``/proc/self/cgroup`` says of us in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "cgroup"
        self.root.mkdir()
        self.own = folder / "own"
        self.own.write_text("")
        monkeypatch.setattr(resources, "_CGROUP", self.root)
        monkeypatch.setattr(resources, "_OWN_CGROUPS", self.own)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)

    def belong(self, *lines: str) -> None:
        self.own.write_text("\n".join(lines) + "\n")

    def file(self, path: str, text: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return Tree(tmp_path, monkeypatch)


def test_without_cgroups_the_machine_is_the_limit(tree: Tree):
    assert resources.container_limit() is None
    assert resources.container_usage() is None
    assert resources.oom_kills() == 0
    assert resources.memory_limit() == psutil.virtual_memory().total
    assert resources.cpu_budget() == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("260000 100000", 3)],
)
def test_the_cores_of_a_version_2_quota_are_rounded_and_never_none(
    tree: Tree, quota: str, cores: int
):
    tree.belong("0::/app")
    tree.file("app/cpu.max", quota)
    assert resources.cpu_budget() == cores


def test_the_tightest_quota_on_the_way_up_counts(tree: Tree):
    tree.belong("0::/pod/app")
    tree.file("pod/app/cpu.max", "400000 100000")
    tree.file("pod/cpu.max", "300000 100000")
    assert resources.cpu_budget() == 3


@pytest.mark.parametrize(("quota", "cores"), [(-1, 8), (300_000, 3), (10_000, 1)])
def test_the_cores_of_a_version_1_quota(tree: Tree, quota: int, cores: int):
    tree.belong("4:cpu,cpuacct:/app")
    tree.file("cpu/app/cpu.cfs_quota_us", quota)
    tree.file("cpu/app/cpu.cfs_period_us", 100_000)
    assert resources.cpu_budget() == cores


def test_limit_and_usage_of_version_2_are_those_of_the_group_that_has_the_limit(tree: Tree):
    tree.belong("0::/pod/app")
    tree.file("pod/app/memory.max", "max")
    tree.file("pod/app/memory.current", 10 * MIB)
    tree.file("pod/app/memory.stat", "inactive_file 0")
    tree.file("pod/memory.max", 512 * MIB)
    tree.file("pod/memory.current", 300 * MIB)
    tree.file("pod/memory.stat", f"anon 1\ninactive_file {100 * MIB}\nactive_file 7")
    assert resources.container_limit() == 512 * MIB
    assert resources.container_usage() == 200 * MIB
    assert resources.memory_limit() == 512 * MIB


def test_the_lowest_limit_counts_whichever_group_has_it(tree: Tree):
    tree.belong("0::/pod/app")
    tree.file("pod/app/memory.max", 256 * MIB)
    tree.file("pod/app/memory.current", 5 * MIB)
    tree.file("pod/memory.max", 512 * MIB)
    tree.file("pod/memory.current", 300 * MIB)
    assert resources.container_limit() == 256 * MIB
    assert resources.container_usage() == 5 * MIB


def test_version_1_in_a_container_that_sees_the_path_of_its_host(tree: Tree):
    tree.belong("9:memory:/docker/0123abc", "0::/")
    tree.file("memory/memory.limit_in_bytes", 128 * MIB)
    tree.file("memory/memory.usage_in_bytes", 100 * MIB)
    tree.file("memory/memory.stat", f"inactive_file {MIB}\ncache 3\ntotal_inactive_file {30 * MIB}")
    assert resources.container_limit() == 128 * MIB
    assert resources.container_usage() == 70 * MIB


def test_the_huge_number_of_version_1_is_no_limit(tree: Tree):
    tree.belong("9:memory:/app")
    tree.file("memory/app/memory.limit_in_bytes", 9223372036854771712)
    tree.file("memory/app/memory.usage_in_bytes", 100)
    assert resources.container_limit() is None
    assert resources.container_usage() is None


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        ("0::/app", "app/memory.events", "low 0\noom 5\noom_kill 2\noom_group_kill 9"),
        ("9:memory:/app", "memory/app/memory.oom_control", "under_oom 0\noom_kill 2"),
    ],
)
def test_the_kernels_count_of_oom_kills(tree: Tree, own: str, file: str, text: str):
    tree.belong(own)
    tree.file(file, text)
    assert resources.oom_kills() == 2


def test_a_group_outside_what_is_mounted_is_not_looked_for_above_it(tree: Tree, tmp_path: Path):
    tree.belong("0::/a/b/c")
    (tmp_path / "memory.max").write_text("1\n")
    assert resources.container_limit() is None


# --- processes --------------------------------------------------------------------------------
def test_the_resident_memory_of_a_process():
    measured = psutil.Process().memory_info().rss
    assert resources.resident(os.getpid()) == pytest.approx(measured, rel=0.2)


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_stopped_process_is_told_from_a_running_one(child: subprocess.Popen[bytes]):
    assert not resources.stopped(child.pid)
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert resources.stopped(child.pid)
    child.send_signal(signal.SIGCONT)
    os.waitpid(child.pid, os.WCONTINUED)
    assert not resources.stopped(child.pid)


def test_a_process_that_has_gone_uses_nothing_and_is_not_stopped(child: subprocess.Popen[bytes]):
    child.kill()
    child.wait()
    assert resources.resident(child.pid) == 0
    assert not resources.stopped(child.pid)


@pytest.mark.parametrize(("count", "text"), [(0, "0 MiB"), (512 * MIB, "512 MiB")])
def test_sizes_for_people(count: int, text: str):
    assert resources.megabytes(count) == text
