"""Row 49 of the fault matrix: two versions of the library on one store.

The later one is pretended (``support/later_version.py``): its schema is one more than ours.
"""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import apsw
import psutil
import pytest
from redis_dump import kept
from servers import Server, server
from workers import DEADLINE, EVERY_STORE, HERE, Site, eventually, site

from celeriac.crashpoints import ENVIRONMENT, POINTS
from celeriac.exceptions import StoreVersionError
from celeriac.message import Header, Message, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores.base import Entry
from celeriac.stores.redis import schema as redis_schema
from celeriac.stores.sqlite import schema as sqlite_schema

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


def message(id: str) -> Message:
    return compose(Header(id, "tasks.traced", f"n{id}"), b"[[],{}]")


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


def test_whoever_has_the_store_open_writes_nothing_old(place: Site, kind: str) -> None:
    """Each way of writing, from a process that was there before."""
    store = place.store
    manifest = Manifest(tasks={"tasks.traced": TaskFacts()}, hostname="here")
    store.queue.register("w", manifest)
    store.queue.enqueue([message("a")])
    (held,) = store.queue.exchange("w", 0, 1, [], [], ["celery"], Want(free=1)).deliveries
    migrate(place)
    before = dump(place, kind)
    for write in (
        lambda: store.queue.enqueue([message("b")]),
        lambda: store.queue.enqueue([message("c"), message("d")]),
        lambda: store.queue.exchange(
            "w", 0, 2, [Commit(held.fence, Outcome("succeeded", b"1"))], [], ["celery"], Want()
        ),
        lambda: store.queue.beat("w"),
        lambda: store.queue.update(held.fence, "SEEN", b""),
        lambda: store.queue.release("w", [held.fence]),
        lambda: store.queue.register("v", manifest),
        lambda: store.queue.revoke(["a", "z"]),
        lambda: store.queue.revoke_stamps(["x=1"]),
        lambda: store.queue.purge(["celery"]),
        lambda: store.queue.reap(["w"]),
        lambda: store.queue.close_owner("w"),
        lambda: store.results.forget(["a"]),
        lambda: store.inspection.retry("a"),
        lambda: store.inspection.discard(["a"]),
        lambda: store.schedules.save(Entry("each", b"d", None, True)),
        lambda: store.schedules.claim("each", 1.0),
    ):
        with pytest.raises(StoreVersionError) as refused:
            write()
        assert says_why(str(refused.value), kind)
    assert dump(place, kind) == before


def dump(place: Site, kind: str) -> object:
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
