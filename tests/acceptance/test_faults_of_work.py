"""Rows 46 to 70 of the fault matrix that no other test has: messages, code, limits.

Which test shows which row stands in `support/fault_matrix.py`.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis
from servers import server
from workers import REDIS_LATER, Site, client_of, eventually, site, site_on

from celeriac import Celeriac, states
from celeriac.message import Header, compose
from celeriac.records import Manifest, TaskFacts, Want

#: Bytes around one text in the arguments of a call: ``[["``, ``"],{}]``.
ROUND = 9


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "fault_tasks.py", noting=True) as made:
        yield made


@pytest.fixture
def app(place: Site):
    with client_of(place) as made:
        yield made


def test_damaged_messages_fail_and_the_worker_goes_on(place: Site) -> None:
    """Every bit of the arguments flipped, one after the other, and what is no message at all."""
    place.worker("-c", "1").ready()
    whole = b'[["some text",2],{"second":"x"}]'
    damaged = [
        bytes([*whole[:at], whole[at] ^ (1 << bit), *whole[at + 1 :]])
        for at in range(len(whole)) for bit in range(8)
    ]  # fmt: skip
    damaged += [b"", b"\x00", b"[]", b"[[],[]]", b"null", b"\xff" * 100, b"[" * 10_000]
    ids = [f"damaged-{number}" for number in range(len(damaged))]
    place.store.queue.enqueue(
        [compose(Header(id, "tasks.typed", f"n{id}"), body)
         for id, body in zip(ids, damaged, strict=True)]
    )  # fmt: skip
    (after,) = place.send("tasks.traced")
    records = place.ended([*ids, after])
    assert records[-1].state == "succeeded"
    for record in records[:-1]:
        # A bit within a text makes another text.
        assert record.state in {"failed", "succeeded"}
        assert (record.crashes, record.attempt) == (0, 1)
        if record.state == "failed":
            assert record.reason.partition(":")[0] in {
                "DecodeError", "InvalidTaskError", "TypeError", "ValidationError", "ValueError"
            }, record.reason  # fmt: skip
    assert sum(each.state == "failed" for each in records) > 100


def test_what_cannot_be_sent_is_refused_and_nothing_is_stored(place: Site) -> None:
    said = place.python(
        "import tasks, threading\n"
        "limit = tasks.app.conf.payload_max\n"
        "calls = [\n"
        "    lambda: tasks.typed.delay(),\n"
        "    lambda: tasks.typed.delay(1, 'x', 'too many'),\n"
        "    lambda: tasks.typed.delay(1, third=3),\n"
        "    lambda: tasks.give.delay({'a': [1, {'b': threading.Lock()}]}),\n"
        f"    lambda: tasks.give.delay('x' * (limit - {ROUND} + 1)),\n"
        "    lambda: tasks.give.delay('x' * 100_000_000),\n"
        "    lambda: tasks.give.apply_async((1,), queue='🥬'),\n"
        "    lambda: tasks.give.apply_async((1,), queue='x' * 129),\n"
        "    lambda: tasks.give.apply_async((1,), task_id='x' * 10_000),\n"
        "]\n"
        "for call in calls:\n"
        "    try:\n"
        "        print('stored', call().id)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, str(error)[:200].replace(chr(10), ' '))\n"
    ).splitlines()
    assert [line.partition(" ")[0] for line in said[:3]] == ["TypeError"] * 3
    assert "a'][1]['b'" in said[3] or '"a"][1]["b"' in said[3], said[3]
    assert not [line for line in said if line.startswith("stored")], said
    assert len(said) == 9
    assert [line.partition(" ")[0] for line in said[4:6]] == ["PayloadTooLarge"] * 2
    assert "1,048,577 bytes and 1,048,576 are allowed" in said[4]
    counts = place.store.inspection.counts().states
    assert not any(sum(each.values()) for each in counts.values())


def test_what_is_just_allowed_travels_whole(place: Site, app: Celeriac) -> None:
    worker = place.worker("-c", "1", "-Q", f"celery,{'q' * 128}").ready()
    sent = place.python(
        "import tasks\n"
        f"most = tasks.app.conf.payload_max - {ROUND}\n"
        "print(tasks.sized_result.apply_async((3,), queue='q' * 128).id)\n"
        "print(tasks.give.apply_async((None,), task_id='i' * 128).id)\n"
        "print(tasks.give.delay('').id)\n"
        "print(tasks.give.delay('🥬\\x00').id)\n"
        "print(tasks.give.delay([]).id)\n"
        "print(tasks.give.delay({}).id)\n"
        "print(tasks.traced.delay('x' * most).id)\n"
        "print(tasks.app.conf.result_max)\n"
    ).split()
    found = [app.AsyncResult(id).get(timeout=60) for id in sent[:6]]
    assert found == ["xxx", None, "", "🥬\x00", [], {}]
    assert {each.state for each in place.ended(sent[:6])} == {"succeeded"}
    # As long as a payload may be is longer than a result may, which is said.
    assert place.ended([sent[6]])[0].reason.startswith("ResultTooLarge")
    limit = int(sent[7])

    def taken(length: int) -> int:
        """The bytes of a result of that *length* that was too large."""
        (id,) = place.send("tasks.sized_result", length)
        told = re.fullmatch(
            r"ResultTooLarge: .* takes ([\d,]+) bytes .*", place.ended([id])[0].reason
        )
        assert told, place.record(id).reason
        return int(told[1].replace(",", ""))

    most = limit - (taken(limit) - limit)
    (largest,) = place.send("tasks.sized_result", most)
    assert app.AsyncResult(largest).get(timeout=60) == "x" * most
    assert taken(most + 1) == limit + 1
    assert worker.stop() == 0


@pytest.mark.parametrize("given", [2**31, 2**32])
def test_more_tasks_than_32_bits_can_count(place: Site, given: int) -> None:
    """They are sent, ordered, leased, repeated, listed and deleted beyond it as before."""
    place.send("tasks.traced", queue="elsewhere")
    count_from(place, given - 4)
    waiting = place.send("tasks.traced", count=12)
    repeats = place.send("tasks.again_in", 0.01)
    first = place.send("tasks.traced", priority=9)
    assert leased_at_once(place) == [*first, *waiting, *repeats]
    worker = place.worker("-c", "1").ready()
    ended = place.ended([*waiting, *first])
    assert {each.state for each in ended} == {states.SUCCEEDED}
    eventually(lambda: place.record(repeats[0]).retries, "it runs again")
    begun = [line.id for line in place.ledger("start") if line.id in {*waiting, *first}]
    assert sorted(begun) == sorted([*first, *waiting])
    inspection = place.store.inspection
    known = [each.id for each in inspection.list(limit=7)]
    known += [each.id for each in inspection.list(limit=7, after=known[-1])]
    assert len(set(known)) == 14
    assert place.store.queue.purge(["elsewhere"]) == 1
    assert worker.stop() == 0
    assert set(inspection.discard(waiting)) == set(waiting)
    assert inspection.get(waiting) == [None] * 12


def leased_at_once(place: Site) -> list[str]:
    """What one exchange leases, in order; it is handed back. A worker has several under way, and
    what they bring may change places."""
    queue = place.store.queue
    known = {name: TaskFacts() for name in ("tasks.traced", "tasks.again_in")}
    queue.register("onlooker", Manifest(known))
    answer = queue.exchange("onlooker", 0, 1, [], [], ["celery"], Want(20))
    queue.close_owner("onlooker")
    return [each.id for each in answer.deliveries]


def count_from(place: Site, number: int) -> None:
    """Let the store go on as if it had been given so many tasks."""
    if place.broker.startswith("redis"):
        with redis.Redis.from_url(place.broker) as server:
            (key,) = server.keys(f"*{place.options.namespace}*:seq")
            assert int(server.getset(key, number)) == 1
        return
    with closing(sqlite3.connect(place.broker.removeprefix("sqlite:///"))) as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE name LIKE '%counter'")
        ((table,),) = tables.fetchall()
        file.execute(f'UPDATE "{table}" SET last = ?', (number,))
        file.commit()


def test_names_that_nobody_can_know_wait_aside_and_hurt_nobody(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    names = ["🥬", "x" * 10_000, "a\x00b", "a\nb", "tasks.traced ", "' OR 1=1 --"]
    strange = place.python(
        f"import tasks\nfor name in {names!r}:\n    print(tasks.app.send_task(name).id)\n"
    ).split()
    (after,) = place.send("tasks.traced")
    assert place.ended([after])[0].state == "succeeded"
    eventually(lambda: all(place.record(each).parked for each in strange), "all are parked")
    assert [place.record(each).task for each in strange] == names
    place.store.queue.revoke(strange)
    assert {each.state for each in place.ended(strange)} == {"revoked"}
    assert worker.stop() == 0


def test_a_task_that_sends_itself_for_ever_is_ended_by_a_purge(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    place.send("tasks.again")
    eventually(lambda: len(place.ledger("start")) > 200, "it goes on and on")
    (other,) = place.send("tasks.traced")
    assert place.ended([other])[0].state == "succeeded", "others have their turn"

    def over() -> bool:
        """A purge ends what is queued, not what runs and has yet to send the next."""
        place.store.queue.purge(["celery"])
        counts = place.store.inspection.counts().states["celery"]
        return not any(counts.get(each) for each in states.STORE_STATES - states.TERMINAL)

    eventually(over, "nothing is queued and nothing runs", interval=0.0)
    begun = len(place.ledger("start"))
    after = place.send("tasks.traced", count=20)
    assert {each.state for each in place.ended(after)} == {"succeeded"}
    assert {line.id for line in place.ledger("start")[begun:]} == {*after}
    assert worker.stop() == 0
    assert place.store.inspection.counts().states["celery"]["revoked"] == 1


def test_what_a_killed_process_holds_is_free_once_its_time_is_over(place: Site) -> None:
    code = (
        "import time, tasks\n"
        "take = tasks.app.store.coordinator.acquire\n"
        "while True:\n"
        "    before = time.monotonic()\n"
        f"    assert take('lock', 'holder', 1, {HELD})\n"
        "    print(before, flush=True)\n"
        "    time.sleep(0.2)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=place.folder, env=place.environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    take = place.store.coordinator.acquire
    try:
        assert holder.stdout.readline()
        until = time.monotonic() + HELD + 1.0
        while time.monotonic() < until:  # longer than its time: it is kept
            assert not take("lock", "other", 1, HELD)
            time.sleep(0.05)
    finally:
        holder.send_signal(signal.SIGKILL)
        told, _ = holder.communicate()
    eventually(lambda: take("lock", "other", 1, HELD), "it is free")
    free = time.monotonic()
    # Its last one may have been cut off before it told: then it is free a little later.
    last = float(told.rpartition("\n")[0].rpartition("\n")[2])
    assert HELD - 0.1 < free - last < HELD + 5.0


#: Seconds for which a place is taken.
HELD = 3.0


@pytest.fixture(params=REDIS_LATER)
def kept(tmp_path: Path, request):
    """A place, and what restarts its server, which keeps all that it acknowledged."""
    if request.param == "sqlite":
        with site(tmp_path, "fault_tasks.py", noting=True) as made:
            yield made, lambda: None
        return
    with (
        server("redis", appendonly="yes", appendfsync="always") as found,
        site(tmp_path, "fault_tasks.py", broker=found.url, noting=True) as made,
    ):

        def restart() -> None:
            found.stop(signal.SIGKILL)
            found.start()

        yield made, restart


def test_times_far_away_and_gone_by(kept) -> None:
    """An eta in a year is kept over a restart and held by nobody; what has expired never runs."""
    place, restart = kept
    year = 365 * 24 * 3600
    first = place.worker("-c", "1").ready()
    sent = place.python(
        "import tasks, datetime\n"
        "now = datetime.datetime.now(datetime.timezone.utc)\n"
        "past = now - datetime.timedelta(hours=1)\n"
        f"print(tasks.traced.apply_async(countdown={year}).id)\n"
        "print(tasks.traced.apply_async(eta=past).id)\n"
        "print(tasks.traced.apply_async(expires=past).id)\n"
        "try:\n"
        "    tasks.traced.apply_async(countdown=60, expires=1)\n"
        "except ValueError as error:\n"
        "    print('refused')\n"
    ).split()
    far, past, expired, refused = sent
    assert refused == "refused"
    assert [each.state for each in place.ended([past, expired])] == ["succeeded", "expired"]
    first.kill()
    told = time.monotonic()
    (soon,) = place.send("tasks.traced", countdown=3, expires=600)
    (late,) = place.send("tasks.traced", expires=0.2)
    restart()
    second = place.worker("-c", "1").ready()
    assert [each.state for each in place.ended([soon, late])] == ["succeeded", "expired"]
    (line,) = place.ledger("start", soon)
    assert line.attempt == 1
    assert line.at - told > 2.9
    record = place.record(far)
    assert (record.state, record.attempt) == ("scheduled", 0)
    assert {each.id for each in place.ledger("start")} == {past, soon}
    assert second.stop() == 0


@pytest.fixture(params=REDIS_LATER)
def old_and_new(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared) as made:
        yield made


def test_an_old_and_a_new_worker_side_by_side_lose_nothing(old_and_new: Site) -> None:
    """A deploy: what only the new code knows is not failed by the old, whoever meets it first."""
    old = old_and_new.worker("-c", "1").ready()
    fresh = old_and_new.send("tasks.extra", count=20)
    known = old_and_new.send("tasks.traced", count=20)
    assert {each.state for each in old_and_new.ended(known)} == {"succeeded"}
    assert {each.state for each in old_and_new.store.inspection.get(fresh)} == {"queued"}
    new = old_and_new.worker("-c", "1", EXTRA_TASK="1").ready()
    more = old_and_new.send("tasks.extra", count=20)
    records = old_and_new.ended([*fresh, *more])
    assert {(each.state, each.crashes) for each in records} == {("succeeded", 0)}
    assert [old.stop(), new.stop()] == [0, 0]


#: Handlers, each with the end of a run that calls it, and what becomes of that run.
HANDLERS = {
    "on_success": ("succeeds", "succeeded"),
    "on_failure": ("fails", "failed"),
    "on_retry": ("retries", "succeeded"),
    "after_return": ("succeeds", "succeeded"),
}


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_handlers_that_raise_or_exit_are_told_and_change_nothing(
    place: Site, app: Celeriac, how: str
) -> None:
    worker = place.worker("-c", "1").ready()
    (process,) = values_of(app, place.send("tasks.pid"))
    cases = [*HANDLERS.items(), ("after_return", ("fails", "failed"))]
    ids = [place.send("tasks.handled", end, {name: how})[0] for name, (end, _) in cases]
    # What comes before the body is a part of the run.
    (before,) = place.send("tasks.handled", "succeeds", {"before_start": how})
    records = place.ended([*ids, before])
    assert [each.state for each in records] == [*(state for _, (_, state) in cases), "failed"]
    assert {each.crashes for each in records} == {0}
    raised = {"raise": "ValueError", "exit": "SystemExit"}[how]
    for id, (name, _) in zip(ids, cases, strict=True):
        worker.wait_for(f"Task tasks.handled[{id}]: {name} raised {raised}")
    for record, (_, (end, _)) in zip(records, cases, strict=False):
        assert record.retries == (end == "retries")
        assert (record.state != "failed") or record.reason == "ValueError: by itself"
    assert records[-1].reason.startswith(raised)
    assert values_of(app, place.send("tasks.pid")) == [process], "one process ran them all"
    assert worker.stop() == 0


@pytest.mark.faults
def test_handlers_that_hang_or_end_their_process_end_the_run(place: Site, tally) -> None:
    """Its outcome was not sent: that of a run that hangs, or dies, is what its limits say."""
    worker = place.worker("-c", "2").ready()
    hang = {
        name: place.send("tasks.handled", end, {name: "hang"}, time_limit=1)[0]
        for name, (end, _) in HANDLERS.items()
    }
    die = {
        name: place.send("tasks.handled", end, {name: "die"})[0]
        for name, (end, _) in HANDLERS.items()
    }
    (after,) = place.send("tasks.traced")
    ids = [*hang.values(), *die.values(), after]
    records = {each.id: each for each in tally(place, ids, faults=8)}
    for name, id in hang.items():
        assert (records[id].state, records[id].crashes) == ("failed", 0), name
        assert records[id].reason.startswith("TimeLimitExceeded"), name
    for name, id in die.items():
        assert (records[id].state, records[id].crashes) == ("dead", 3), name
    assert records[after].state == "succeeded"
    assert worker.stop() == 0


def test_a_formatter_that_raises_changes_no_state(place: Site, tally) -> None:
    """The formatter of the application, of each line that names a task."""
    worker = place.worker("-c", "2", FORMATTER="raises").ready()
    ends = ["succeeds", "fails", "retries"] * 3
    ids = [place.send("tasks.handled", end, {})[0] for end in ends]
    (died,) = place.send("tasks.wait_for", str(place.folder / "gate"))
    (begun,) = place.wait_ledger("start", died)
    os.kill(begun.pid, signal.SIGKILL)  # of which the supervisor has to tell
    (place.folder / "gate").touch()
    records = tally(place, [*ids, died], faults=1)
    expected = {"succeeds": "succeeded", "fails": "failed", "retries": "succeeded"}
    assert [each.state for each in records] == [*(expected[each] for each in ends), "succeeded"]
    assert sum(each.crashes for each in records) == 1
    assert worker.stop() == 0


def values_of(app: Celeriac, ids: list[str]) -> list:
    return [app.AsyncResult(id).get(timeout=60) for id in ids]
