"""What `test_decoders.py` looks for as bytes are read would be seen: each kind of harm is done."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import harm
import pytest
import traps


def connect(_):
    with socket.socket() as made:
        made.connect(("127.0.0.1", 9))


ACTS = {
    "a program": lambda _: subprocess.run(["true"], check=False),
    "a shell": lambda _: os.system("true"),
    "a process": lambda _: os.fork() or os._exit(0),
    "a connection": connect,
    "a file": lambda file: file.write_text("x"),
    "a file, without Python's layers": lambda file: os.open(file, os.O_WRONLY | os.O_CREAT),
    "a file that goes": lambda file: file.parent.joinpath("there").unlink(),
    "the environment": lambda _: os.environ.update(LEFT_BEHIND="1"),
    "code": lambda _: exec("made = 1"),
    "a module": lambda _: import_module("canary"),
    "a class that is loaded": lambda _: traps.Fields(),
}


@pytest.mark.parametrize("what", ACTS)
def test_harm_is_seen_also_where_all_exceptions_are_taken(what, tmp_path):
    there, file = tmp_path / "there", tmp_path / "made"
    there.touch()
    with (
        pytest.raises(AssertionError, match="reading did harm"),
        harm.watched(),
        suppress(BaseException),
    ):
        ACTS[what](file)
    assert (there.exists(), file.exists()) == (True, False), "it is stopped"
    assert "LEFT_BEHIND" not in os.environ
    assert "canary" not in sys.modules
    assert harm.DONE == []


def test_what_does_no_harm_is_left_alone(tmp_path):
    with harm.watched():
        Path(__file__).read_text(encoding="utf-8")
        socket.gethostname()
        import_module("fractions")


def test_who_is_not_watched_is_not_minded(tmp_path):
    with harm.watched():
        other = threading.Thread(target=(tmp_path / "made").write_text, args=("x",))
        other.start()
        other.join()
    assert (tmp_path / "made").read_text() == "x"
    (tmp_path / "made").write_text("y")


@pytest.fixture(autouse=True)
def clean():
    yield
    harm.DONE.clear()
