"""Lock files between real processes: the dead are found, the stopped are not."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.duties.hostlock import HostLock, lock_folder

HOLDER = """
import pathlib, sys
from celeriac.worker.duties.hostlock import HostLock
lock = HostLock(pathlib.Path(sys.argv[1]))
lock.hold(sys.argv[2])
print("held", flush=True)
for line in sys.stdin:
    if line == "drop\\n":
        lock.drop()
    print(lock.dead_mates(), flush=True)
"""


class Mate:
    """Another worker's process, which holds the lock of *owner*."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def ask(self, word: str = "probe") -> str:
        """Let it do *word* and then probe; returns whom it finds dead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def mate(tmp_path: Path) -> Iterator[Callable[[str], Mate]]:
    made: list[Mate] = []

    def make(owner: str) -> Mate:
        made.append(Mate(tmp_path, owner))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[HostLock]:
    found = HostLock(tmp_path)
    found.hold("mine")
    yield found
    found.drop()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_living_mate_is_not_dead(lock: HostLock, mate: Callable[[str], Mate]):
    mate("other")
    assert lock.dead_mates() == []


def test_a_mate_killed_with_sigkill_is_dead_until_it_is_buried(
    tmp_path: Path, lock: HostLock, mate: Callable[[str], Mate]
):
    other, living = mate("other"), mate("living")
    other.end()
    assert lock.dead_mates() == ["other"]
    assert living.ask() == "['other']"
    assert lock.dead_mates() == ["other"]  # looking at it changes nothing
    lock.bury("other")
    lock.bury("other")
    assert lock.dead_mates() == []
    assert names(tmp_path) == {"mine.lock", "living.lock"}


def test_a_stopped_mate_is_alive(lock: HostLock, mate: Callable[[str], Mate]):
    other = mate("other")
    other.process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(other.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert lock.dead_mates() == []
    other.process.send_signal(signal.SIGCONT)
    assert other.ask() == "[]"


def test_a_mate_that_left_in_peace_leaves_nothing(
    tmp_path: Path, lock: HostLock, mate: Callable[[str], Mate]
):
    other = mate("other")
    assert other.ask("drop") == "[]"
    assert lock.dead_mates() == []
    assert names(tmp_path) == {"mine.lock"}


def test_ones_own_file_is_never_opened_which_would_drop_the_lock(
    tmp_path: Path, lock: HostLock, mate: Callable[[str], Mate]
):
    other = mate("other")
    for _ in range(3):
        assert lock.dead_mates() == []
    assert other.ask() == "[]"
    second = HostLock(tmp_path)  # another worker in this process, as tests start them
    second.hold("second")
    assert second.dead_mates() == lock.dead_mates() == []
    assert other.ask() == "[]"
    second.drop()
    assert other.ask() == "[]"


def test_a_new_incarnation_gives_up_the_file_of_the_old(
    tmp_path: Path, lock: HostLock, mate: Callable[[str], Mate]
):
    lock.hold("mine-again")
    assert names(tmp_path) == {"mine-again.lock"}
    assert mate("other").ask() == "[]"


def test_a_file_gets_the_name_that_is_probed_only_once_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []
    real = fcntl.lockf

    def watched(fd: int, command: int) -> None:
        seen.append(names(tmp_path))
        real(fd, command)
        seen.append(names(tmp_path))

    monkeypatch.setattr(fcntl, "lockf", watched)
    lock = HostLock(tmp_path)
    lock.hold("mine")
    assert seen == [{"mine"}, {"mine"}]
    assert names(tmp_path) == {"mine.lock"}
    lock.drop()
    assert names(tmp_path) == set()


def test_a_file_without_the_full_name_belongs_to_somebody_who_is_just_starting(
    tmp_path: Path, lock: HostLock
):
    (tmp_path / "nascent").touch()
    assert lock.dead_mates() == []


def test_probing_a_file_that_has_just_gone_neither_fails_nor_makes_it(
    tmp_path: Path, lock: HostLock, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda _folder: ["gone.lock"])
        assert lock.dead_mates() == []
    assert names(tmp_path) == {"mine.lock"}


def test_a_folder_that_was_cleared_away_is_an_empty_one(tmp_path: Path):
    folder = tmp_path / "locks"
    folder.mkdir()
    lock = HostLock(folder)
    lock.hold("mine")
    (folder / "mine.lock").unlink()
    folder.rmdir()
    assert lock.dead_mates() == []
    lock.drop()


def test_the_lock_is_held_by_the_process_not_by_the_thread_that_took_it(
    tmp_path: Path, mate: Callable[[str], Mate]
):
    lock = HostLock(tmp_path)
    taker = threading.Thread(target=lock.hold, args=("mine",))
    taker.start()
    taker.join()
    assert mate("other").ask() == "[]"
    lock.drop()


# --- the folder -------------------------------------------------------------------------------
@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077, 0o000])
def test_the_folder_is_for_its_user_alone_whatever_the_umask(temp: Path, umask: int):
    before = os.umask(umask)
    try:
        folder = lock_folder("sqlite:////x.db", "celeriac")
    finally:
        os.umask(before)
    assert folder.is_relative_to(temp)
    assert folder.stat().st_mode & 0o077 == 0
    assert folder.parent.stat().st_mode & 0o077 == 0


def test_each_store_and_namespace_has_a_folder_of_its_own(temp: Path):
    folders = {
        lock_folder(url, namespace) for url in ("sqlite:///a", "sqlite:///b") for namespace in "mn"
    }
    assert len(folders) == 4
    assert lock_folder("sqlite:///a", "m") in folders


@pytest.mark.parametrize("spoil", ["writable", "symlink"])
def test_a_folder_that_others_could_change_is_refused_with_what_to_do(temp: Path, spoil: str):
    base = temp / f"celeriac-{os.getuid()}"
    if spoil == "writable":
        base.mkdir()
        base.chmod(0o777)
    else:
        (temp / "elsewhere").mkdir()
        base.symlink_to(temp / "elsewhere")
    with pytest.raises(ImproperlyConfigured, match="Remove it, or set TMPDIR") as caught:
        lock_folder("sqlite:///a", "celeriac")
    assert str(base) in str(caught.value)
