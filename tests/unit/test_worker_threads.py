"""A thread that cannot begin its work ends the executor: its place would be lost without a word."""

import subprocess
import sys

SCRIPT = """
import socket
from types import SimpleNamespace
from celeriac.records import Delivery
from celeriac.worker import frames
from celeriac.worker.looped import _Run, _Threads
from celeriac.worker.slots import Board
from celeriac.worker.threaded import ThreadedExecutor

def fail():
    raise MemoryError("no room for a runner")

def threads():
    ours, theirs = socket.socketpair()
    station = SimpleNamespace(board=Board.create(1), sock=theirs)
    executor = ThreadedExecutor(None, station)
    executor._make_runner = fail
    delivery = Delivery("a", 1, "nonce", b"", "celery")
    ours.sendall(frames.encode(frames.Run(1, [delivery])))
    executor.serve()

def asyncio():
    import threading
    _Threads(fail, print).put(_Run(0, 1, Delivery("a", 1, "nonce", b"", "celery"), 0.0))
    threading.Event().wait()
"""


def check(pool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT}\n{pool}()"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no room for a runner" in done.stderr


def test_of_the_pool_threads() -> None:
    check("threads")


def test_beside_the_loop() -> None:
    check("asyncio")
