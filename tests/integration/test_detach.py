"""``celeriac worker --detach`` and ``--pidfile``: a worker away from the terminal."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from workers import DEADLINE, Site, eventually, gone, site

from celeriac.cli.detach import PidFile, find_identity


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as found:
        yield found
        for path in tmp_path.glob("**/*.pid"):
            text = path.read_text().strip()
            if text.isdigit() and psutil.pid_exists(int(text)) and int(text) != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(text), signal.SIGKILL)


def celeriac(place: Site, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", "worker", "-c", "1", *options],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def test_a_worker_leaves_the_terminal_and_works(place: Site) -> None:
    done = celeriac(place, "-D", "-n", "back@ground", "--pidfile", "%n.pid", "-l", "info")
    assert done.returncode == 0, done.stderr
    log = place.folder / "back.log"
    assert f"back@ground works in the background; log {log}" in done.stderr
    pid = int((place.folder / "back.pid").read_text())
    process = psutil.Process(pid)
    assert os.getsid(pid) != os.getsid(0)
    assert process.terminal() is None
    assert process.cwd() == str(place.folder)
    # Ready when the command returned, so this needs no wait.
    assert "ready." in log.read_text()
    (task_id,) = place.send("tasks.add", 1, 2)
    place.ended([task_id])
    process.terminate()
    eventually(lambda: gone(pid), "it stops")
    eventually(lambda: not (place.folder / "back.pid").exists(), "the pidfile is removed")
    assert "Stopped." in log.read_text()


def test_a_worker_that_does_not_start_says_why_and_leaves_no_pidfile(place: Site) -> None:
    (place.folder / "tasks.py").write_text("def broken(:\n")
    done = celeriac(place, "--detach", "--pidfile", "w.pid", "-f", "w.log")
    assert done.returncode == 2
    assert "SyntaxError" in done.stderr
    assert not (place.folder / "w.pid").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--detach",), "nowhere/w.log: No such file or directory"),
        ((), "the log file nowhere/w.log cannot be opened: No such file or directory."),
        (("-P", "solo"), "the log file nowhere/w.log cannot be opened: No such file"),
    ],
)
def test_a_log_file_that_cannot_be_written_is_told(
    place: Site, options: tuple[str, ...], told: str
) -> None:
    done = celeriac(place, *options, "-f", "nowhere/w.log")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "the application" not in done.stderr


def test_a_living_process_keeps_its_pidfile(place: Site) -> None:
    first = place.worker("--pidfile", "w.pid").ready()
    assert int((place.folder / "w.pid").read_text()) == first.pid
    for options in ((), ("--detach",)):
        done = celeriac(place, "--pidfile", "w.pid", *options)
        assert done.returncode == 73
        assert f"is held by process {first.pid}, which is alive" in done.stderr
    assert first.stop() == 0
    assert not (place.folder / "w.pid").exists()


def test_a_pidfile_of_another_living_program_is_respected(place: Site) -> None:
    (place.folder / "w.pid").write_text(f"{os.getpid()}\n")
    done = celeriac(place, "--pidfile", "w.pid")
    assert done.returncode == 73
    assert (place.folder / "w.pid").read_text() == f"{os.getpid()}\n"


def test_a_stale_pidfile_is_replaced(place: Site) -> None:
    first = place.worker("--pidfile", "w.pid").ready()
    first.kill()
    assert (place.folder / "w.pid").read_text() == f"{first.pid}\n"
    second = place.worker("--pidfile", "w.pid").ready()
    assert f"was left by process {first.pid}, which is gone; replaced" in second.text()
    assert int((place.folder / "w.pid").read_text()) == second.pid
    assert second.stop() == 0


def test_a_file_that_is_no_pidfile_is_left_as_it_is(place: Site) -> None:
    """It may be the application, named by a slip."""
    before = (place.folder / "tasks.py").read_text()
    done = celeriac(place, "--pidfile", "tasks.py")
    assert done.returncode == 2
    assert "tasks.py holds something else than a process id" in done.stderr
    assert (place.folder / "tasks.py").read_text() == before


def test_a_zombie_holds_no_pidfile(place: Site) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        eventually(lambda: gone(child.pid), "it has ended, and nobody has waited for it")
        path = place.folder / "w.pid"
        path.write_text(f"{child.pid}\n")
        pidfile = PidFile(str(path))
        pidfile.take()
        assert int(path.read_text()) == os.getpid()
        pidfile.drop()
    finally:
        child.wait()


def test_a_number_that_somebody_else_has_now_is_stale(place: Site) -> None:
    """The process with that number began after the file was written."""
    path = place.folder / "w.pid"
    path.write_text(f"{os.getpid()}\n")
    before = psutil.Process().create_time() - 3600
    os.utime(path, (before, before))
    worker = place.worker("--pidfile", "w.pid").ready()
    assert int(path.read_text()) == worker.pid
    assert worker.stop() == 0


def test_the_umask_is_taken(place: Site) -> None:
    assert (
        celeriac(place, "-D", "--pidfile", "w.pid", "-f", "w.log", "--umask", "077").returncode == 0
    )
    assert (place.folder / "w.log").stat().st_mode & 0o777 == 0o600
    os.kill(int((place.folder / "w.pid").read_text()), signal.SIGTERM)
    eventually(lambda: not (place.folder / "w.pid").exists(), "it stops")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--umask", "99"), "an octal number such as 022"),
        (("--uid", "nobody-has-this-name"), "this machine has no user 'nobody-has-this-name'"),
        (("--gid", "nobody-has-this-name"), "this machine has no group 'nobody-has-this-name'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(
    place: Site, options: tuple[str, ...], told: str
) -> None:
    done = celeriac(place, *options)
    assert done.returncode == 2
    assert told in done.stderr


def test_our_own_user_and_group_are_always_allowed(place: Site) -> None:
    worker = place.worker("--uid", str(os.geteuid()), "--gid", str(os.getegid())).ready()
    assert worker.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_takes_another_group(place: Site) -> None:
    """The group alone: another user could not read a Python that is installed for root."""
    worker = place.worker("--gid", "65534", "--pidfile", "w.pid").ready()
    gids = {each.gids().real for each in [psutil.Process(worker.pid), *worker.children()]}
    assert gids == {65534}
    assert worker.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_another_user() -> None:
    who = find_identity("65534", None, 0o027)
    child = os.fork()
    if child == 0:
        try:
            who.take()
            same = (os.getresuid(), os.getresgid()[0]) == ((65534,) * 3, who.gid)
            os._exit(0 if same and os.umask(0) == 0o027 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
