"""Row 49 of the fault matrix: two versions of the library on one store.

The later one is pretended (``support/later_version.py``): its schema is one more than ours.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import psutil
import pytest
from redis_dump import kept
from servers import Server, server
from workers import DEADLINE, EVERY_STORE, HERE, Site, eventually, site, site_on

from celeriac.crashpoints import ENVIRONMENT, POINTS
from celeriac.exceptions import StoreVersionError
from celeriac.message import Edges, Header, Message, NewJoin, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Exchanged, Fence, Manifest, StoredResult, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Entry, Store
from celeriac.stores.redis import schema as redis_schema
from celeriac.stores.sqlite import schema as sqlite_schema
from celeriac.testing.faults import CALLS

NOW = [sys.executable, "-m", "celeriac"]
LATER = [sys.executable, str(HERE / "later_version.py")]
MIGRATING = sorted(name for name in POINTS if name.startswith("migrate."))
VERSIONS = {
    "sqlite": sqlite_schema.VERSION, "redis": redis_schema.VERSION, "valkey": redis_schema.VERSION,
}  # fmt: skip


@pytest.fixture(params=EVERY_STORE)
def kind(request) -> str:
    return request.param


@pytest.fixture
def place(kind: str, tmp_path: Path, shared):
    broker = namespace = ""
    if kind != "sqlite":
        broker, namespace = shared.url(kind), shared.namespace()
    with site(tmp_path, broker=broker, namespace=namespace) as made:
        yield made


@contextmanager
def later(place: Site):
    """What is started meanwhile is of the later version."""
    place.celeriac = LATER
    try:
        yield
    finally:
        place.celeriac = NOW


def command(place: Site, program: list[str], *words: str, **environment: str):
    return subprocess.run(
        [*program, "-A", "tasks", *words],
        cwd=place.folder, env={**place.environment, **environment},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


def migrate(place: Site) -> None:
    done = command(place, LATER, "status")
    assert done.returncode == 0, done.stderr


def says_why(text: str, kind: str) -> bool:
    """Both versions are named, and the cure."""
    found, known = VERSIONS[kind] + 1, VERSIONS[kind]
    if kind == "sqlite":
        told = f"has schema version {found}, and this version of Celeriac knows {known}."
        return told in text and "Install the version of Celeriac that wrote the file" in text
    told = f"(schema {found}; this one knows {known})"
    return told in text and "Install that version here, too" in text


def message(id: str, edges: Edges | None = None, queue: str = "celery") -> Message:
    return compose(Header(id, "tasks.traced", f"n{id}", queue, edges=edges), b"[[],{}]")


def test_of_those_that_start_at_once_one_migrates_and_all_work(place: Site, kind: str) -> None:
    ids = place.send("tasks.nap", 0.2, count=6)
    ids += place.send("tasks.traced", count=2, countdown=1)
    with later(place):
        workers = [place.worker("-n", f"w{number}@here") for number in range(3)]
    for worker in workers:
        worker.ready()
    told = f"was migrated from schema {VERSIONS[kind]} to {VERSIONS[kind] + 1}."
    with pytest.raises(StoreVersionError):  # ours is the older one now
        place.store.inspection.get(ids)
    ended = {line.id for line in place.ledger("end")}
    eventually(lambda: {line.id for line in place.ledger("end")} >= set(ids), f"all ended: {ended}")
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    assert sum(worker.text().count(told) for worker in workers) == 1
    for id in ids:
        assert command(place, LATER, "result", id).returncode == 0


def test_a_newer_store_is_refused_by_worker_client_and_command(place: Site, kind: str) -> None:
    place.send("tasks.traced")
    migrate(place)
    worker = place.worker()
    assert worker.process.wait(DEADLINE) == 3
    assert says_why(worker.text(), kind)
    assert "Traceback" not in worker.text()
    done = command(place, NOW, "status")
    assert done.returncode == 3
    assert says_why(done.stderr, kind)
    assert "Traceback" not in done.stderr
    said = place.python(
        "import tasks\n"
        "from celeriac.exceptions import StoreVersionError\n"
        "for ask in (tasks.add.delay, lambda *_: tasks.app.AsyncResult('x').get(timeout=9)):\n"
        "    try:\n"
        "        ask(1, 2)\n"
        "    except StoreVersionError as error:\n"
        "        print(error)\n"
    )
    assert len(said.splitlines()) == 2
    assert all(says_why(line, kind) for line in said.splitlines())
    assert place.ledger() == []


def test_a_worker_that_runs_while_another_version_migrates_stops_and_says_why(
    place: Site, kind: str
) -> None:
    worker = place.worker("-c", "1").ready()
    (id,) = place.send("tasks.nap_on")
    (begun,) = place.wait_ledger("start", id)
    place.record(id)  # this process has the store open, too
    migrate(place)
    assert worker.process.wait(DEADLINE) == 3
    assert says_why(worker.text(), kind)
    assert "This worker stops; its tasks run elsewhere" in worker.text()
    assert "Traceback" not in worker.text()
    eventually(lambda: not psutil.pid_exists(begun.pid), "what ran is ended")
    with later(place):
        mate = place.worker("-c", "1").ready()
    again = place.wait_ledger("start", id, 2)[1]
    assert again.attempt == 2
    (place.folder / f"end-{id}").touch()
    done = command(place, LATER, "result", id, "--follow")
    assert done.returncode == 0, done
    assert mate.stop() == 0


def test_an_idle_worker_hears_of_it_with_its_next_beat(place: Site, kind: str) -> None:
    worker = place.worker("-c", "1").ready()
    migrate(place)
    assert worker.process.wait(DEADLINE) == 3
    assert says_why(worker.text(), kind)


#: Calls that write nothing, and the bus, which keeps nothing.
READS = {
    "queue.wait", "queue.leases", "queue.revoked_stamps", "queue.outbox", "queue.outgoing",
    "results.get_many", "results.wait", "results.join_results", "schedules.load",
    *(each for each in CALLS if each.startswith("inspection.")),
    "bus.publish", "bus.listen", "subscription.get",
} - {"inspection.retry", "inspection.discard"}  # fmt: skip
#: These do not ask Redis for its version, as they keep no records (``stores/redis/schema.py``).
#: They do what they do, to these keys.
PLAIN = {
    "coordinator.acquire": "place:lock", "coordinator.release": "place:held",
    "coordinator.take": "bucket:bucket", "schedules.remove": "beat",
}  # fmt: skip


def member(join: str) -> Message:
    return message(f"{join}-0", Edges(join=(join, 0), within=(join, 0)))


def body(join: str) -> Message:
    return message(f"{join}-body", Edges(waits=True, gathers=join))


def filled(place: Site) -> tuple[Store, dict[str, Fence], int]:
    """A store as a worker `w` has it open, with something that each call could change; what is held
    under which lease, and the number of a row of its outbox."""
    store = connect(place.broker, msgspec.structs.replace(place.options, mirror=True))
    queue = store.queue
    queue.register("w", manifest())
    queue.enqueue([message(id) for id in ("done", "failed", "a", "b", "c")])
    taken = queue.exchange("w", 0, 1, [], [], ["celery"], Want(free=5)).deliveries
    held = {each.id: each.fence for each in taken}
    ends = {"done": Outcome("succeeded", b"1"), "failed": Outcome("failed", reason="why")}
    commits = [Commit(held[id], outcome) for id, outcome in ends.items()]
    queue.exchange("w", 0, 2, commits, [], ["celery"], Want())
    queue.enqueue([message("queued")])
    queue.open_join("J", body("J"))
    store.coordinator.acquire("held", "me", 1, 600.0)
    store.schedules.save(Entry("each", b"d", None, True))
    if store.capabilities.leases_as_it_waits:
        # From now on it does not look first: it sleeps, and leases when it wakes.
        answer = queue.wait_and_lease("w", 1, 1, ["hot"], Want(free=1), 0.01)
        assert answer is None or answer.deliveries == ()
    queue.enqueue([message("hot", queue="hot")])
    return store, held, next(each.number for each in queue.outbox(9) if each.id == "done")


def manifest() -> Manifest:
    return Manifest(tasks={"tasks.traced": TaskFacts()}, hostname="here")


def writes(store: Store, held: dict[str, Fence], row: int) -> list[tuple[str, Callable[[], Any]]]:
    """Each call that writes, by its name, with each of its ways."""
    queue, results, places = store.queue, store.results, store.coordinator
    success, retry = Outcome("succeeded", b"1"), Outcome("scheduled", delay=5.0, charge="retry")
    chord = [member("N"), body("N")]

    def exchange(commits: list[Commit], started: list[Fence], free: int) -> Exchanged:
        return queue.exchange("w", 0, 3, commits, started, ["celery"], Want(free=free))

    told = StoredResult("far", "succeeded", body=b"1", ended_at=time.time())
    found: list[tuple[str, Callable[[], Any]]] = [
        ("queue.enqueue", lambda: queue.enqueue([message("d")])),
        ("queue.enqueue", lambda: queue.enqueue([message("e"), message("f")])),
        ("queue.enqueue", lambda: queue.enqueue([member("J")], "J")),
        ("queue.enqueue", lambda: queue.enqueue(chord, joins=[NewJoin("N", "N-body", 1)])),
        ("queue.open_join", lambda: queue.open_join("K", body("K"))),
        ("queue.seal", lambda: queue.seal("J", 0)),
        ("queue.exchange", lambda: exchange([Commit(held["a"], success)], [], 0)),
        ("queue.exchange", lambda: exchange([Commit(held["a"], retry)], [], 0)),
        ("queue.exchange", lambda: exchange([], [held["a"]], 0)),
        ("queue.exchange", lambda: exchange([], [], 1)),
        ("queue.beat", lambda: queue.beat("w")),
        ("queue.beat", lambda: queue.beat("w", [held["a"]])),
        ("queue.update", lambda: queue.update(held["a"], "SEEN", b"")),
        ("queue.release", lambda: queue.release("w", [held["a"]])),
        ("queue.release", lambda: queue.release("w", [held["b"]], True, 5.0)),
        ("queue.register", lambda: queue.register("v", manifest())),
        ("queue.revoke", lambda: queue.revoke(["a", "queued", "z"])),
        ("queue.revoke", lambda: queue.revoke(["a"], "SIGTERM")),
        ("queue.revoke_stamps", lambda: queue.revoke_stamps(["x=1"])),
        ("queue.purge", lambda: queue.purge(["celery"])),
        ("queue.reap", lambda: queue.reap(["w"])),
        ("queue.mirrored", lambda: queue.mirrored([row])),
        ("queue.close_owner", lambda: queue.close_owner("w")),
        ("results.forget", lambda: results.forget(["done"])),
        ("results.put_many", lambda: results.put_many([told])),
        ("inspection.retry", lambda: store.inspection.retry(["failed"])),
        ("inspection.discard", lambda: store.inspection.discard(["done", "queued"])),
        ("coordinator.acquire", lambda: places.acquire("lock", "me", 1, 600.0)),
        ("coordinator.release", lambda: places.release("held", "me")),
        ("coordinator.take", lambda: places.take("bucket", 1, 0.001, 3)),
        ("schedules.save", lambda: store.schedules.save(Entry("other", b"d", None, True))),
        ("schedules.claim", lambda: store.schedules.claim("each", 1.0, [message("tick")])),
        ("schedules.remove", lambda: store.schedules.remove("each")),
    ]
    if store.capabilities.leases_as_it_waits:
        lease = partial(queue.wait_and_lease, "w", 1, 2, ["hot"], Want(free=1), 0.05)
        found.append(("queue.wait_and_lease", lease))
    return found


def test_whoever_has_the_store_open_writes_nothing_old(place: Site, kind: str) -> None:
    """Each way of writing, from a process that was there before."""
    store, held, row = filled(place)
    calls = writes(store, held, row)
    # What is added to the seam is here, too, or the test says so.
    there = {name for name, _ in calls} | READS
    assert there | {"queue.wait_and_lease"} == CALLS
    assert ("queue.wait_and_lease" in there) == (kind != "sqlite")
    migrate(place)
    before = dump(place, kind)
    plain = {} if kind == "sqlite" else PLAIN
    for name, write in calls:
        if name in plain:
            continue
        with pytest.raises(StoreVersionError) as refused:
            write()
        assert says_why(str(refused.value), kind), name
        assert dump(place, kind) == before, name
    for name, write in calls:
        if name in plain:
            write()
    after = dump(place, kind)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed == set(plain.values())


def test_each_of_these_calls_would_change_something(kind: str, tmp_path: Path, shared) -> None:
    """In a store of its own version; or the test before this one would show nothing."""
    left = 1
    while left:
        folder = tmp_path / str(left)
        folder.mkdir()
        with site_on(kind, folder, shared) as place:
            store, held, row = filled(place)
            calls = writes(store, held, row)
            name, write = calls[left - 1]
            before = dump(place, kind)
            write()
            assert dump(place, kind) != before, (name, left)
        left = (left + 1) % (len(calls) + 1)
    assert len(calls) > 30


def dump(place: Site, kind: str) -> dict[str, Any]:
    if kind == "sqlite":
        file = apsw.Connection(str(place.db), flags=apsw.SQLITE_OPEN_READONLY)
        tables = file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name: file.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}
    port = int(place.broker.rpartition(":")[2].partition("/")[0])
    found = kept(Server(place.folder, "", port), place.options.namespace)
    return {key: value for key, value in found.items() if not key.startswith("bell:")}


@pytest.mark.parametrize("point", MIGRATING)
def test_whoever_migrates_dies_and_leaves_the_old_store_or_the_new_one(
    place: Site, kind: str, point: str
) -> None:
    ids = place.send("tasks.traced", count=3)
    before = dump(place, kind)
    done = command(place, LATER, "status", **{ENVIRONMENT: f"{point}:1:kill"})
    assert done.returncode == -signal.SIGKILL, done
    if point == "migrate.begun":
        assert dump(place, kind) == before
        ids += place.send("tasks.traced")
    else:
        with pytest.raises(StoreVersionError):
            place.store.inspection.get(ids)
    with later(place):
        worker = place.worker().ready()
    eventually(lambda: {line.id for line in place.ledger("end")} == set(ids), "all have ended")
    assert worker.stop() == 0
    told = f"was migrated from schema {VERSIONS[kind]}"
    assert worker.text().count(told) == (point == "migrate.begun")


@pytest.mark.parametrize("version", ["redis", "redis-6.2"])
def test_a_full_server_is_migrated(version: str, tmp_path: Path) -> None:
    """Or workers of the new version could not drain it."""
    with server(version) as full, site(tmp_path, broker=full.url) as place:
        ids = place.send("tasks.traced", count=3)
        full.do("CONFIG", "SET", "maxmemory", "1")
        migrate(place)
        assert full.do("GET", "{celeriac}:schema") == b"%d" % (redis_schema.VERSION + 1)
        with later(place):
            worker = place.worker().ready()
        eventually(lambda: {line.id for line in place.ledger("end")} == set(ids), "drained")
        assert worker.stop() == 0
