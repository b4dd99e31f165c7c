"""The SQLite store between processes: contention, forks, locks, kill -9 at every crash point."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from celeriac.exceptions import OperationalError
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Fence, Manifest, TaskFacts, Verdict, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.sqlite import reap

DEADLINE = 60.0
MANIFEST = Manifest(tasks={"job": TaskFacts()}, hostname="host", pid=1)

#: What every child begins with: its store, and the pieces it needs.
HEAD = """
import sys
from celeriac.message import Edges, Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
store = connect(sys.argv[1], Options(lease=60.0, timeout=60.0))
queue = store.queue
def send(*ids, **header):
    queue.enqueue([compose(Header(id, "job", "n" + id, **header), b"[[],{}]") for id in ids])
def register(owner):
    queue.register(owner, Manifest(tasks={"job": TaskFacts()}, hostname="host", pid=1))
def take(owner, seq, free, commits=(), started=()):
    return queue.exchange(owner, 0, seq, commits, started, ["celery"], Want(free=free))
def done(deliveries):
    return [Commit(each.fence, Outcome("succeeded", body=b"r")) for each in deliveries]
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def spawn(url):
    """Starts children; none outlives the test."""
    children = []

    def start(code, *args, **environment):
        child = subprocess.Popen(
            [sys.executable, "-c", HEAD + code, url, *map(str, args)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def send(store, *ids, **header):
    store.queue.enqueue([compose(Header(id, "job", f"n{id}", **header), b"[[],{}]") for id in ids])


def states(store, ids):
    return [each.state if each is not None else None for each in store.inspection.get(ids)]


# -- contention


ENQUEUER = """
name, count = sys.argv[2], int(sys.argv[3])
for start in range(0, count, 7):
    send(*[f"{name}.{n}" for n in range(start, min(start + 7, count))])
"""
EXCHANGER = """
register(sys.argv[2])
held, seq, idle = (), 0, 0
while idle < 200 and not store.results.get_many(["stop"])[0]:
    seq += 1
    answer = take(sys.argv[2], seq, 16, done(held))
    assert all(verdict == "ok" for verdict in answer.verdicts), answer.verdicts
    held = answer.deliveries
    for each in held:
        print(each.id, each.attempt)
    if not held:
        queue.wait(["celery"], 0.2)
"""


def test_nothing_is_lost_or_doubled_between_processes(url, spawn):
    store = connect(url)
    exchangers = [spawn(EXCHANGER, f"w{n}") for n in range(2)]
    enqueuers = [spawn(ENQUEUER, f"e{n}", 200) for n in range(4)]
    assert [each.wait(DEADLINE) for each in enqueuers] == [0] * 4
    ids = [f"e{n}.{k}" for n in range(4) for k in range(200)]
    left = set(ids)
    while left:
        ended = store.results.wait(left, DEADLINE)
        assert ended, f"{len(left)} of {len(ids)} never ended"
        left -= ended.keys()
    send(store, "stop", queue="nobody's")
    runs = []
    for each in exchangers:
        out, _ = each.communicate(timeout=DEADLINE)
        assert each.returncode == 0
        runs += out.split("\n")[:-1]
    assert sorted(runs) == sorted(f"{id} 1" for id in ids)
    assert set(states(store, ids)) == {"succeeded"}


def test_a_lock_held_too_long_is_told_with_the_file_and_what_to_do(url, tmp_path):
    store = connect(url, Options(timeout=0.2))
    other = apsw.Connection(str(tmp_path / "jobs.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match=r"jobs\.db stayed locked for 0\.2 s.*fuser"):
        send(store, "a")
    other.execute("ROLLBACK")
    send(store, "a")
    assert states(store, ["a"]) == ["queued"]


def test_a_lock_that_is_given_back_in_time_is_waited_for(url, tmp_path):
    store = connect(url, Options(timeout=DEADLINE))
    other = apsw.Connection(str(tmp_path / "jobs.db"))
    other.execute("BEGIN IMMEDIATE")
    sender = threading.Thread(target=send, args=(store, "a"))
    sender.start()
    sender.join(0.05)
    assert sender.is_alive()
    other.execute("ROLLBACK")
    sender.join(DEADLINE)
    assert states(store, ["a"]) == ["queued"]


def test_two_processes_may_create_one_database_at_once(url, spawn):
    children = [spawn("send(sys.argv[2])", f"c{n}") for n in range(4)]
    assert [each.wait(DEADLINE) for each in children] == [0] * 4
    assert states(connect(url), [f"c{n}" for n in range(4)]) == ["queued"] * 4


# -- forks


def test_a_forked_child_has_a_connection_of_its_own(url, tmp_path):
    store = connect(url)
    send(store, "before")
    mine = store.queue._database.connection()
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ok = store.queue._database.connection() is not mine
                send(store, *[f"{number}.{k}" for k in range(20)])
                ok = ok and states(store, ["before"]) == ["queued"]
                status = 0 if ok else 2
            finally:
                os._exit(status)
        children.append(child)
    send(store, "during")
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    send(store, "after")
    ids = ["before", "during", "after", *[f"{n}.{k}" for n in range(4) for k in range(20)]]
    assert states(store, ids) == ["queued"] * len(ids)
    assert store.queue._database.connection() is mine
    assert mine.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_child_that_ends_normally_does_not_close_what_it_inherited(url, spawn):
    """The child of a fork runs its whole interpreter shutdown while the parent goes on."""
    parent = spawn(
        """
import os, gc
send("a")
child = os.fork()
if child == 0:
    send("child")
    del store, queue
    gc.collect()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
for n in range(50):
    send(f"p{n}")
"""
    )
    assert parent.wait(DEADLINE) == 0
    store = connect(url)
    ids = ["a", "child", *[f"p{n}" for n in range(50)]]
    assert states(store, ids) == ["queued"] * len(ids)


def test_waiting_works_in_a_forked_child(url):
    store = connect(url)
    store.queue.wait(["celery"], 0.0)  # the parent has a seat of its own
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if store.queue.wait(["celery"], DEADLINE) else 3
        finally:
            os._exit(status)
    send(store, "a")
    assert os.waitpid(child, 0)[1] == 0


def test_connections_of_ended_threads_are_closed(url):
    store = connect(url)

    def descriptors():
        return [each for each in Path("/proc/self/fd").iterdir() if "jobs.db" in target(each)]

    def target(descriptor):
        try:
            return str(descriptor.readlink())
        except FileNotFoundError:  # the one that read the folder
            return ""

    send(store, "first")
    before = len(descriptors())
    for number in range(20):
        thread = threading.Thread(target=send, args=(store, f"t{number}"))
        thread.start()
        thread.join()
    # SQLite keeps descriptors of a file that somebody else in the process has locked: a few.
    assert len(descriptors()) <= before + 3


# -- kill -9 at each crash point of the store

KILLED = {
    "enqueue.applied": 'print("ack", flush=True); send("x")',
    "exchange.before": 'take("w1", 2, 1, done(held))',
    "exchange.applied": 'take("w1", 2, 1, done(held))',
    "release.applied": 'queue.release("w1", [each.fence for each in held])',
    "beat.applied": 'queue.beat("w1", [each.fence for each in held])',
    "reap.applied": 'queue.reap(dead=["w1"])',
    "close.applied": 'queue.close_owner("w1")',
}


@pytest.mark.parametrize("point", KILLED)
def test_kill_9_at_a_crash_point_loses_nothing(url, spawn, point):
    code = (
        """
from celeriac.crashpoints import arm
send("a", "b", "c", "d")
register("w1")
held = take("w1", 1, 2).deliveries
print(*[f"{each.id} {each.attempt} {each.nonce}" for each in held], sep=";", flush=True)
arm(sys.argv[2] + ":1:kill")
"""
        + KILLED[point]
        + '\nprint("still here", flush=True)'
    )
    child = spawn(code, point)
    out, _ = child.communicate(timeout=DEADLINE)
    assert child.returncode == -signal.SIGKILL
    assert "still here" not in out
    fences = [
        Fence(id, int(attempt), nonce)
        for id, attempt, nonce in (each.split() for each in out.split("\n")[0].split(";"))
    ]
    store = connect(url)
    assert store.queue._database.connection().execute("PRAGMA integrity_check").fetchall() == [
        ("ok",)
    ]
    repeat(store, point, fences)
    # Whoever comes next ends everything that was acknowledged, and nothing twice.
    store.queue.reap(dead=["w1"])
    store.queue.register("w2", MANIFEST)
    taken = store.queue.exchange("w2", 0, 1, [], [], ["celery"], Want(free=10)).deliveries
    commits = [Commit(each.fence, Outcome("succeeded")) for each in taken]
    answer = store.queue.exchange("w2", 0, 2, commits, [], ["celery"], Want(free=10))
    assert set(answer.verdicts) <= {Verdict.OK}
    ids = ["a", "b", "c", "d", *(["x"] if point == "enqueue.applied" else [])]
    assert states(store, ids) == ["succeeded"] * len(ids)


def repeat(store, point, fences):
    """What the one who got no answer does: the same call again, and what it must read."""
    ok = [Commit(each, Outcome("succeeded", body=b"r")) for each in fences]
    match point:
        case "enqueue.applied":
            send(store, "x")
        case "exchange.before" | "exchange.applied":
            answer = store.queue.exchange("w1", 0, 2, ok, [], ["celery"], Want(free=1))
            expected = Verdict.OK if point == "exchange.before" else Verdict.ALREADY
            assert answer.verdicts == (expected,) * 2
            assert [each.id for each in answer.deliveries] == ["c"]
        case "release.applied":
            assert store.queue.release("w1", fences) == (Verdict.ALREADY,) * 2
            assert states(store, ["a", "b"]) == ["queued"] * 2
        case "beat.applied":
            assert states(store, ["a", "b"]) == ["running"] * 2
            assert not store.queue.beat("w1", fences).lost
            assert set(store.queue.leases("w1")) == set(fences)
        case "reap.applied":
            assert states(store, ["a", "b"]) == ["queued"] * 2
            assert store.queue.beat("w1").lost
        case "close.applied":
            assert store.queue.close_owner("w1") == 0
            assert states(store, ["a", "b"]) == ["queued"] * 2


def test_a_transaction_that_was_cut_is_not_there(url, spawn):
    """Killed between BEGIN and COMMIT, by another process' hand."""
    child = spawn(
        """
with store.queue._database.write() as step:
    from celeriac.stores.sqlite.enqueue import insert
    insert(step, [compose(Header("half", "job", "n"), b"[[],{}]")])
    print("open", flush=True)
    import signal
    signal.pause()
"""
    )
    assert child.stdout.readline() == "open\n"
    child.kill()
    child.wait()
    store = connect(url)
    assert store.inspection.get(["half"]) == [None]
    send(store, "half")
    assert states(store, ["half"]) == ["queued"]


# -- leases and boots


def test_owners_of_another_boot_are_dead_at_once(url):
    class Rebooted(type(Options().clock)):
        def boot_id(self):
            return "the boot after this one"

    store = connect(url, Options(lease=3600.0))
    send(store, "a")
    store.queue.register("w1", MANIFEST)
    store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=1))
    assert store.queue.reap().owners == ()
    later = connect(url, Options(lease=3600.0, clock=Rebooted()))
    assert not later.inspection.workers()[0].alive
    assert later.queue.reap().owners == ("w1",)
    assert states(later, ["a"]) == ["queued"]


def test_a_lost_owner_stays_lost_even_if_it_beats_while_it_is_reaped(url, monkeypatch):
    monkeypatch.setattr(reap, "BATCH", 2)
    store = connect(url)
    send(store, *"abcde")
    store.queue.register("w1", MANIFEST)
    store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=5))
    beats = []
    take_back = store.queue._reaper._lose_some

    def beat_in_between(number, ended):
        beats.append(store.queue.beat("w1").lost)
        return take_back(number, ended)

    monkeypatch.setattr(store.queue._reaper, "_lose_some", beat_in_between)
    assert store.queue.reap(dead=["w1"]).requeued == 5
    assert beats == [True, True, True]
    assert states(store, list("abcde")) == ["queued"] * 5
