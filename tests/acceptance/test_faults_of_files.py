"""Rows 36 to 38 of the fault matrix under real workers: a database file that is full, locked, gone.

Which test shows which row stands in `support/fault_matrix.py`.
"""

import resource
import shutil
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from workers import LENIENCE, Site, eventually, site

from celeriac import Celeriac
from celeriac.exceptions import OperationalError

#: Seconds that `delay()` may take (`publish_timeout`), and seconds for what comes after it is over.
BUDGET, MORE = 5.0, 1.5
TIMED = (
    "import time, tasks\n"
    "began = time.monotonic()\n"
    "try:\n"
    "    tasks.traced.delay()\n"
    "except tasks.traced.OperationalError as error:\n"
    "    print(time.monotonic() - began, error)\n"
)
#: Bytes of the log that are kept.
LOG = 17 << 20
ROOM = 3_000_000
FILL = (
    "import tasks\n"
    "from celeriac.exceptions import StoreFull\n"
    "try:\n"
    "    while True:\n"
    "        print(tasks.give.apply_async(('x' * 2000,), queue='nobody').id)\n"
    "except StoreFull as error:\n"
    "    assert 'nothing was stored' in str(error), error\n"
)
LIMITED = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, {ROOM}))\n"


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "fault_tasks.py", noting=True) as made:
        yield made


def test_a_worker_whose_database_may_not_grow_holds_its_outcomes_until_it_may(
    place: Site, tally
) -> None:
    """EFBIG, as a quota gives it. What a full disk (ENOSPC) does to the store is the same code."""
    worker = place.worker("-c", "2").ready()
    gate = place.folder / "gate"
    running = place.send("tasks.wait_for", str(gate), 60_000, count=2)
    for each in running:
        place.wait_ledger("start", each)
    unlimited = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    kept = place.python(LIMITED + FILL).split()
    # It filled up. How many it takes is a matter of how often the log could start anew.
    assert len(kept) > 10
    # More than the worker's log may need, and less than one result.
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (30_000, unlimited[1]))
    gate.touch()
    worker.wait_for("No room left for the database")
    for each in running:
        place.wait_ledger("end", each)
    # Nothing could be written: how far that has got is what it was before.
    assert {place.record(each).state for each in running} <= {"leased", "running"}
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)
    records = tally(place, running, faults=1)
    assert {(each.state, each.crashes) for each in records} == {("succeeded", 0)}
    assert Counter(line.id for line in place.ledger("end")) == dict.fromkeys(running, 1)
    # What was acknowledged while it filled up is there.
    found = place.store.inspection.get(kept)
    assert {each.state for each in found} == {"queued"}
    assert worker.stop() == 0


def test_a_writer_that_holds_the_file_for_eight_seconds_costs_nobody_a_task(
    place: Site, tally
) -> None:
    """Twice the lease of these workers, and longer than a call may take."""
    workers = [place.worker("-c", "1").ready() for _ in range(2)]
    ids = place.send("tasks.nap", 0.5, count=4)
    place.wait_ledger("start", ids[0])
    said: list[str] = []
    with (
        closing(apsw.Connection(str(place.db))) as other,
        Celeriac("client", broker=place.broker, set_as_current=False) as app,
    ):
        ids.append(app.send_task("tasks.traced").id)
        other.set_busy_timeout(10_000)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        client = threading.Thread(target=lambda: said.append(place.python(TIMED)))
        client.start()
        with pytest.raises(OperationalError) as refused:  # this one has the file open
            app.send_task("tasks.traced")
        said.append(f"{time.monotonic() - began} {refused.value}")
        # And until the client has been told, which on a busy machine begins late.
        while time.monotonic() - began < 8.0 or client.is_alive():
            assert time.monotonic() - began < 60
            assert [each.process.poll() for each in workers] == [None, None]
            time.sleep(0.1)
        other.execute("ROLLBACK")
    assert len(said) == 2
    for line in said:
        seconds, _, told = line.partition(" ")
        assert "stayed locked" in told
        assert 4.0 < float(seconds) < BUDGET + MORE * LENIENCE, said
    records = tally(place, ids, faults=1)
    assert {(each.state, each.crashes) for each in records} == {("succeeded", 0)}
    for record in records:
        # Each start after the first is explained by an attempt that the store knows of.
        assert len(place.ledger("start", record.id)) <= record.attempt
    assert [each.stop() for each in workers] == [0, 0]


@pytest.mark.faults
def test_a_database_that_takes_two_seconds_for_each_step_loses_nobody(place: Site, tally) -> None:
    """Somebody else holds it most of the time, for two seconds at a time, as a slow disk would."""
    place.environment["LEASE"] = "15"
    workers = [place.worker("-c", "1").ready() for _ in range(2)]
    ids = place.send("tasks.nap", 0.5, count=12)
    over, holds = threading.Event(), 0

    def hold() -> None:
        nonlocal holds
        with closing(apsw.Connection(str(place.db))) as other:
            other.set_busy_timeout(60_000)
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                holds += 1
                over.wait(2.0)
                other.execute("ROLLBACK")
                over.wait(0.05)  # each of the others has a step meanwhile, or has not

    slow = threading.Thread(target=hold)
    slow.start()
    try:
        records = tally(place, ids, faults=1, deadline=200)
    finally:
        over.set()
        slow.join()
    assert {(each.state, each.crashes, each.losses) for each in records} == {("succeeded", 0, 0)}
    assert Counter(line.id for line in place.ledger("end")) == dict.fromkeys(ids, 1)
    assert holds > 5
    assert len(place.alive_workers()) == 2
    assert [each.stop() for each in workers] == [0, 0]


@pytest.mark.faults
def test_a_reader_of_a_minute_keeps_nobody_from_working(place: Site) -> None:
    worker = place.worker("-c", "2").ready()
    log = place.db.with_name(place.db.name + "-wal")
    with closing(apsw.Connection(str(place.db))) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        began = time.monotonic()
        # Nothing is written back beyond what the reader sees, so that the log grows; on a slow
        # machine it takes longer to do so.
        while time.monotonic() - began < 60.0 or log.stat().st_size <= LOG:
            assert time.monotonic() - began < 240, f"{log.stat().st_size} bytes of log"
            ids = place.send("tasks.traced", "x" * 1000, count=200)
            assert {each.state for each in place.ended(ids)} == {"succeeded"}
        other.execute("ROLLBACK")
    eventually(
        lambda: place.ended(place.send("tasks.traced", count=50)) and log.stat().st_size <= LOG,
        "the log is cut again",
    )
    assert worker.stop() == 0


@pytest.mark.parametrize("put", ["nothing", "another"])
def test_a_database_that_was_moved_away_is_told_and_nothing_is_written_to_it(
    place: Site, tmp_path: Path, put: str
) -> None:
    worker = place.worker("-c", "1").ready()
    done = place.send("tasks.traced", count=5)
    place.ended(done)
    other = tmp_path / "other.db"
    if put == "another":
        place.python(
            "import tasks\ntasks.app.send_task('tasks.traced').id\n", BROKER=f"sqlite:///{other}"
        )
    moved = tmp_path / "moved.db"
    move(place.db, moved)
    if put == "another":
        untouched = dump(other)
        move(other, place.db)
    told = "is gone" if put == "nothing" else "was replaced by another file"
    worker.wait_for(told)
    if put == "nothing":
        # Put back, it is the same file, and the worker goes on.
        move(moved, place.db)
        after = place.send("tasks.traced", count=2)
        assert {each.state for each in place.ended(after)} == {"succeeded"}
        assert worker.stop() == 0
        return
    # From then on nothing is written to either of them, not even by its leave.
    left = dump(moved)
    status = worker.stop()
    assert dump(moved) == left
    assert dump(place.db) == untouched
    assert status == 1, "it could not take its leave"
    assert len(place.ledger("start")) == len(done), "the task of the other file did not run"
    with closing(apsw.Connection(str(moved))) as old:
        assert old.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    again = place.worker("-c", "1").ready()
    eventually(lambda: len(place.ledger("start")) == len(done) + 1, "that one runs now")
    assert again.stop() == 0


def dump(file: Path) -> dict[str, list[object]]:
    """All that is in a database."""
    with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as opened:
        tables = opened.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name: opened.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def move(here: Path, there: Path) -> None:
    """A database with all that belongs to it."""
    for end in ("", "-wal", "-shm"):
        if Path(f"{here}{end}").exists():
            shutil.move(f"{here}{end}", f"{there}{end}")
