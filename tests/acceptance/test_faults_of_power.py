"""Row 39 of the fault matrix: power is lost, and the end of what was written is not there.

What the disk had not yet may be any end of a log, a part of a record included; this cuts logs in
many places. That what was acknowledged is not part of such an end is what syncing is for
(`durability`), and no test without a disk that lies can show more.
"""

import shutil
import signal
from pathlib import Path

import apsw
import pytest
from servers import server

from celeriac import states
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options

IDS = [f"t{number}" for number in range(20)]
MANIFEST = Manifest(tasks={"job": TaskFacts()}, hostname="host", pid=1)


def work(store) -> None:
    """Each is sent by a call of its own; the first half is also run, one by one."""
    for id in IDS:
        store.queue.enqueue([compose(Header(id, "job", f"n{id}"), b"[[],{}]")])
    store.queue.register("w1", MANIFEST)
    commits: list[Commit] = []
    for seq in range(1, len(IDS) // 2 + 2):
        answer = store.queue.exchange("w1", 0, seq, commits, [], ["celery"], Want(free=1))
        commits = [
            Commit(each.fence, Outcome(states.SUCCEEDED, b"r")) for each in answer.deliveries
        ]


def seen(store) -> tuple[int, int]:
    """How many were stored and how many had ended, each a beginning of all; work goes on."""
    found = store.inspection.get(IDS)
    stored = [each is not None for each in found]
    ended = [each is not None and each.state == states.SUCCEEDED for each in found]
    for which in (stored, ended):
        assert which == sorted(which, reverse=True)
    for each in found:
        if each is not None and each.state == states.SUCCEEDED:
            assert store.results.get_many([each.id])[0].body == b"r"
    store.queue.reap(dead=["w1"])
    store.queue.register("w2", MANIFEST)
    left = sum(stored) - sum(ended)
    got = store.queue.exchange("w2", 0, 1, [], [], ["celery"], Want(free=50)).deliveries
    assert [each.id for each in got] == IDS[sum(ended) : sum(ended) + left]
    return sum(stored), sum(ended)


def cut_files(folder: Path):
    """(what was stored, what had ended) for each length of the write-ahead log."""
    whole = folder / "whole.db"
    store = connect(f"sqlite:///{whole}")
    work(store)
    log = Path(f"{whole}-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    base = whole.read_bytes()
    # A header, then frames. At each of their bounds, and somewhere within each of them.
    frame = page + 24
    bounds = range(32, len(log) + 1, frame)
    assert bounds[-1] == len(log)
    within = (each + (number * 997) % frame for number, each in enumerate(bounds[:-1]))
    for length in sorted({0, *bounds, *within}):
        part = folder / f"cut{length}.db"
        part.write_bytes(base)
        part.chmod(0o600)
        Path(f"{part}-wal").write_bytes(log[:length])
        connection = apsw.Connection(str(part))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        connection.close()
        if tables != [(0,)]:  # else the file was not made yet
            yield seen(connect(f"sqlite:///{part}"))
        for end in ("", "-wal", "-shm"):
            Path(f"{part}{end}").unlink(missing_ok=True)


def cut_server(_folder: Path):
    """The same for lengths of the server's log."""
    with server("redis", appendonly="yes", appendfsync="always") as made:
        store = connect(made.url, Options(timeout=20.0))
        work(store)
        made.stop(signal.SIGKILL)
        place = made.folder / "appendonlydir"
        kept = made.folder / "kept"
        shutil.copytree(place, kept)
        (log,) = (each.name for each in kept.glob("*.incr.aof"))
        size = (kept / log).stat().st_size
        for length in range(size // 40, size + 1, size // 40):
            shutil.rmtree(place)
            shutil.copytree(kept, place)
            with (place / log).open("r+b") as file:
                file.truncate(length)
            made.start()
            yield seen(connect(made.url, Options(timeout=20.0)))
            made.stop(signal.SIGKILL)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_log_that_was_cut_anywhere_holds_a_beginning(kind: str, tmp_path: Path) -> None:
    found = list((cut_files if kind == "sqlite" else cut_server)(tmp_path))
    assert len(found) > 20
    assert found == sorted(found), "a longer log holds more"
    assert found[0][0] < len(IDS)
    assert found[-1][0] == len(IDS)
    assert len(set(found)) > 20
