"""``kill -9`` at every named crash point: each one is reached, and nothing acknowledged is lost.

``test_kills.py`` strikes at random; here every line between two states has its turn.
"""

import signal
import subprocess
import sys
from pathlib import Path

import noting_worker
import pytest
from tallies import Onlooker
from workers import DEADLINE, EVERY_STORE, Site, Worker, eventually, site_on

from celeriac.crashpoints import ENVIRONMENT, POINTS

CLIENT = sorted(name for name in POINTS if name.startswith("enqueue."))
EXECUTOR = sorted(name for name in POINTS if name.startswith("executor."))
#: Where results go to another store: `integration/test_two_stores.py` dies there.
RELAY = {name for name in POINTS if name.startswith("relay.")}
#: Points of the supervisor that a stop leads to; the others are met in ordinary work.
STOPPING = {"release.applied": 1, "close.applied": 1}
#: Where a store of an older version is migrated: `test_versions.py` dies there.
MIGRATING = {name for name in POINTS if name.startswith("migrate.")}
#: Where a command acts, and the words of that command; it is given ids, too.
COMMANDS = {
    "revoke.applied": ("revoke",),
    "purge.applied": ("purge", "-f"),
    "retry.applied": ("retry",),
    "discard.applied": ("dead", "discard", "--state", "all", "--yes"),
}
#: Where a step leaves work to others: `test_flow_crashpoints.py` dies there.
LARGE = {"sweep.before"}
WORKING = sorted(
    set(POINTS)
    - {*CLIENT, *EXECUTOR, *STOPPING, *COMMANDS, "reap.applied"}
    - (RELAY | MIGRATING | LARGE)
)


@pytest.fixture(params=[*EVERY_STORE, "redis-6.2", "sentinel", "cluster"])
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, noting=True) as made:
        yield made


@pytest.fixture
def finish(place: Site, tally):
    """A function: a worker without crash points ends what is left; each id has one success."""

    def finished(ids: list[str], **more) -> None:
        onlooker = Onlooker()
        onlooker.see(place.store.inspection.get(ids))
        place.worker().ready()
        records = tally(place, ids, onlooker=onlooker, faults=1, **more)
        assert {record.state for record in records} == {"succeeded"}
        for record in records:
            assert len(place.ledger("start", record.id)) <= record.attempt
        eventually(
            lambda: all(view.alive for view in place.store.inspection.workers()),
            "whoever died is no longer registered",
        )

    return finished


def napping(place: Site) -> list[str]:
    """Two tasks that have begun and go on until they are woken."""
    ids = place.send("tasks.nap_on", count=2)
    for task_id in ids:
        place.wait_ledger("start", task_id)
    return ids


def wake(place: Site, ids: list[str]) -> None:
    for task_id in ids:
        (place.folder / f"end-{task_id}").touch()


def struck(worker: Worker) -> None:
    assert worker.process.wait(DEADLINE) == -signal.SIGKILL, worker.text()


@pytest.mark.parametrize("point", WORKING)
def test_the_supervisor_dies_in_the_middle_of_work(place: Site, finish, point: str) -> None:
    ids = place.send("tasks.traced", count=40)
    worker = place.worker(**{ENVIRONMENT: f"{point}:2:kill"})
    struck(worker)
    finish(ids)


@pytest.mark.parametrize("exchange", [1, 6])
def test_the_supervisor_dies_before_it_is_told_of_ends_that_are_stored(
    place: Site, finish, exchange: int
) -> None:
    """That of crash points need not have ends in it: some exchanges only lease."""
    # Too long to be sent ahead of each other: each end goes into an exchange of its own.
    ids = place.send("tasks.nap", 0.02, count=20)
    struck(place.worker("-c", "1", **{noting_worker.UNTOLD: str(exchange)}))
    told = {each.id for each in noting_worker.read(place.ledger_path) if each.decides}
    records = place.store.inspection.get(ids)
    untold = [each.id for each in records if each.state == "succeeded" and each.id not in told]
    assert untold
    finish(ids)
    for id in untold:
        assert len(place.ledger("start", id)) == 1, "nobody runs again what has ended"


@pytest.mark.parametrize("point", sorted(STOPPING))
def test_the_supervisor_dies_while_it_stops(place: Site, finish, point: str) -> None:
    worker = place.worker(GRACE="0.2", **{ENVIRONMENT: f"{point}:{STOPPING[point]}:kill"}).ready()
    ids = napping(place)
    worker.send(signal.SIGTERM)
    struck(worker)
    wake(place, ids)
    # It was about to hand both back, which is no charge.
    finish(ids, interrupted=dict.fromkeys(ids, 1))


def test_the_supervisor_dies_while_it_reaps(place: Site, finish) -> None:
    first = place.worker().ready()
    ids = napping(place)
    first.kill()
    struck(place.worker(**{ENVIRONMENT: "reap.applied:1:kill"}))
    wake(place, ids)
    finish(ids)


@pytest.mark.parametrize("point", EXECUTOR)
def test_an_executor_dies(place: Site, tally, point: str) -> None:
    ids = place.send("tasks.traced", count=10)
    worker = place.worker("-c", "1", **{ENVIRONMENT: f"{point}:3:kill"})
    worker.wait_for("died of signal 9")
    records = tally(place, ids, faults=1)
    assert {record.state for record in records} == {"succeeded"}
    if point == "executor.received":
        # Nothing of the task had begun: nobody is charged.
        assert sum(record.crashes for record in records) == 0
        assert len(place.ledger("start")) == len(ids)
    if point == "executor.ran":
        # Each process that follows has the crash point, too.
        deaths = worker.text().count("died of signal 9")
        charged = sorted(record.crashes for record in records)
        assert charged == [0] * (len(ids) - deaths) + [1] * deaths
    if point == "executor.sent":
        # The outcome was in the pipe: it wins over the death, and nobody is charged.
        assert sum(record.crashes for record in records) == 0
        assert len(place.ledger("start")) == len(ids)


@pytest.mark.parametrize("point", CLIENT)
def test_a_client_dies(place: Site, finish, point: str) -> None:
    code = (
        "import tasks\n"
        "for n in range(5):\n"
        "    print(tasks.traced.apply_async((n,), task_id=f'client-{n}').id, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        env={**place.environment, ENVIRONMENT: f"{point}:3:kill"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    acknowledged = done.stdout.split()
    assert acknowledged == ["client-0", "client-1"]
    # The third was stored or not; never half.
    stored = place.store.inspection.get(["client-2"])[0]
    assert (stored is not None) == (point == "enqueue.applied")
    finish(acknowledged + (["client-2"] if stored else []))


@pytest.mark.parametrize("place", EVERY_STORE, indirect=True)
@pytest.mark.parametrize("point", COMMANDS)
def test_a_command_dies(place: Site, finish, point: str) -> None:
    """What it was asked for is done, or not, and to ask for it again does the rest."""
    waiting = place.send("tasks.traced", count=3, countdown=3600)
    failed = place.send("tasks.flaky", 9, count=2)
    worker = place.worker().ready()
    assert {each.state for each in place.ended(failed)} == {"failed"}
    assert worker.stop() == 0
    asked = failed if point in ("retry.applied", "discard.applied") else waiting
    words = [*COMMANDS[point], *(asked if point != "purge.applied" else ())]
    assert command(place, words, point).returncode == -signal.SIGKILL
    found = place.store.inspection.get(asked)
    met = {
        "revoke.applied": lambda each: each.state == "revoked",
        "purge.applied": lambda each: each.state == "revoked",
        "retry.applied": lambda each: each.generation == 1,
        "discard.applied": lambda each: each is None,
    }[point]
    # A purge goes in several steps, and on Redis the first is not that which ends these.
    assert met(found[0]) or point == "purge.applied", found
    done = command(place, words)
    # Of what is gone already it says so.
    assert done.returncode == (4 if point == "discard.applied" else 0), done.stderr
    assert all(map(met, place.store.inspection.get(asked)))
    others = [id for id in (*waiting, *failed) if id not in asked]
    assert all(each.state in ("scheduled", "failed") for each in place.store.inspection.get(others))
    finish(place.send("tasks.traced", count=2))


def command(place: Site, words: list[str], point: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of ``celeriac``, which is killed at *point*."""
    return subprocess.run(
        [*place.celeriac, "-A", "tasks", *words],
        cwd=place.folder,
        env={**place.environment, ENVIRONMENT: f"{point}:1:kill" if point else ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
