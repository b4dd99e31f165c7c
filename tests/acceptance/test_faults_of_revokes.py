"""Rows 59 and 60 of the fault matrix: what is revoked does not run, and a signal hits nobody else.

Which test shows which row stands in `support/fault_matrix.py`.
"""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from workers import DEADLINE, REDIS_LATER, Site, client_of, eventually, site_on

from celeriac import Celeriac, states


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "fault_tasks.py", noting=True) as made:
        yield made


@pytest.fixture
def app(place: Site):
    with client_of(place) as made:
        yield made


def test_what_is_revoked_does_not_run_whoever_lives(place: Site, app: Celeriac, tally) -> None:
    """Before it came, in its queue, running, between two repeats, with no worker alive, and with
    every worker replaced since."""
    gate, never = (str(place.folder / name) for name in ("gate", "never"))
    kinds = ("early", "queued", "runs", "stands", "repeats", "scheduled")
    early, queued, runs, stands, repeats, scheduled = (f"{each}-{gate[-4:]}" for each in kinds)
    app.control.revoke(early)
    app.send_task("tasks.wait_for", (gate,), task_id=early)
    worker = place.worker("-c", "2").ready()
    app.send_task("tasks.wait_for", (never,), task_id=runs)
    app.send_task("tasks.wait_for", (gate,), task_id=stands)
    for each in (runs, stands):
        place.wait_ledger("start", each)
    app.send_task("tasks.again_in", (3600,), task_id=repeats, priority=9)
    app.send_task("tasks.traced", task_id=queued, queue="elsewhere")
    app.send_task("tasks.traced", task_id=scheduled, countdown=3600)
    # Of what runs, one is ended and the other left to end.
    app.control.revoke([runs], terminate=True, signal="SIGKILL")
    place.wait_ledger("start", repeats)
    eventually(lambda: place.record(repeats).state == states.SCHEDULED, "it waits for its repeat")
    app.control.revoke([stands, repeats, queued, scheduled])
    ends = [early, queued, runs, repeats, scheduled]
    records = tally(place, ends, faults=len(ends))
    assert {each.state for each in records} == {states.CANCELLED}
    Path(gate).touch()
    assert place.ended([stands])[0].state == states.SUCCEEDED, "without terminate its end stands"
    assert worker.stop() == 0

    # With nobody alive, and then before others begin.
    down = [f"{each}-down" for each in kinds[:2]]
    app.send_task("tasks.traced", task_id=down[1])
    app.control.revoke(down)
    app.send_task("tasks.traced", task_id=down[0])
    place.worker("-c", "1").ready()
    (after,) = place.send("tasks.traced")
    assert place.ended([after, *down])[0].state == states.SUCCEEDED
    assert {each.state for each in place.ended([*ends, *down])} == {states.CANCELLED}
    begun = {line.id for line in place.ledger("start")}
    assert begun == {runs, stands, repeats, after}
    assert len(place.ledger("start")) == len(begun)


@pytest.mark.parametrize("terminate", ["SIGKILL", None])
def test_what_is_revoked_as_its_worker_dies_does_not_run_again(
    place: Site, tally, terminate: str | None
) -> None:
    """The worker has not heard of it; whoever buries it ends what it ran, and requeues nothing."""
    first = place.worker("-c", "1", LEASE="60").ready()
    (task_id,) = place.send("tasks.wait_for", str(place.folder / "never"))
    place.wait_ledger("start", task_id)
    eventually(lambda: place.record(task_id).state == states.RUNNING, "its start is known")
    mate = place.worker("-c", "1", LEASE="60").ready()
    first.send(signal.SIGSTOP)
    place.store.queue.revoke([task_id], terminate=terminate)
    record = place.record(task_id)
    assert (record.state, record.revoked) == (states.RUNNING, True)
    first.kill()
    mate.wait_for(f"(pid {first.pid}) died: 0 task(s) requeued, 0 failed, 0 put aside")
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.crashes, record.attempt) == (states.CANCELLED, 0, 1)
    (after,) = place.send("tasks.traced")
    assert place.ended([after])[0].state == states.SUCCEEDED
    assert [line.id for line in place.ledger("start")] == [task_id, after]
    assert mate.stop() == 0


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [(40, 7), *(pytest.param(500, each, marks=pytest.mark.faults) for each in (7, 8))],
)
def test_a_terminate_that_comes_as_its_task_ends_hits_no_other(
    place: Site, app: Celeriac, tally, rounds: int, seed: int
) -> None:
    """The next task of that process has begun, or has not, when the signal is sent."""
    worker = place.worker("-c", "1").ready()
    pick = random.Random(seed)
    out = place.python(
        "import tasks\n"
        f"for _ in range({rounds}):\n"
        f"    print(tasks.nap.delay({NAP}).id, tasks.nap.delay(0.02).id)\n"
    )
    victims, others = out.split()[::2], out.split()[1::2]
    moment = NAP * 3 / 4  # after its begin; it is moved to where both ends are as likely
    with place.ledger_path.open() as lines:
        for victim in victims:
            at = began(lines, victim)
            time.sleep(max(0.0, at + moment + pick.uniform(-0.002, 0.002) - time.monotonic()))
            app.control.revoke(victim, terminate=True, signal="SIGKILL")
            eventually(
                lambda each=victim: place.record(each).state in states.TERMINAL,
                "the victim has ended",
                interval=0.003,
            )
            moment += 0.002 if place.record(victim).state == "revoked" else -0.002
    ended = tally(place, others, deadline=200)
    assert Counter(each.state for each in ended) == {"succeeded": rounds}
    assert {(each.crashes, each.attempt) for each in ended} == {(0, 1)}
    for each in others:
        assert len(place.ledger("start", each)) == 1
        assert len(place.ledger("end", each)) == 1
    records = tally(place, victims, faults=rounds)
    ends = Counter(each.state for each in records)
    print(dict(ends), f"at {moment:.3f} s of {NAP}")
    assert set(ends) == {"succeeded", "revoked"}, "it came before ends and after them"
    assert {each.crashes for each in records} == {0}
    assert worker.stop() == 0


#: How long a task lasts that is to be ended as it ends, seconds.
NAP = 0.08


def began(lines, id: str) -> float:
    """When the task *id* began, from the *lines* of a ledger that is read on: known at once."""
    word, until = f"start {id} ", time.monotonic() + DEADLINE
    while time.monotonic() < until:
        line = lines.readline()
        if line.startswith(word):
            return float(line.split()[-1])
        if not line:
            time.sleep(0.001)
    raise AssertionError(f"{id} has not begun")
