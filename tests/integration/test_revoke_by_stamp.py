"""Tasks revoked by what they are stamped with, with real workers, on SQLite and on Redis."""

import json
import subprocess
import sys

import pytest
from servers import server
from workers import DEADLINE, eventually, site

from celeriac import states


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request):
    if request.param == "sqlite":
        with site(tmp_path, "stamp_tasks.py") as made:
            yield made
        return
    with server("redis") as found, site(tmp_path, "stamp_tasks.py", broker=found.url) as made:
        yield made


def run(place, code):
    """What *code* says of itself with ``say(…)``."""
    head = (
        "import json\n"
        "from celeriac import chain, chord, group\n"
        "from tasks import *\n"
        "def say(value): print(json.dumps(value))\n"
    )
    return [json.loads(line) for line in place.python(head + code).splitlines()]


def send(place, task, *args, **stamps):
    """Send one call with these stamps; its id."""
    return place.send(f"tasks.{task}", *args, **stamps, stamped_headers=list(stamps))[0]


def revoke(place, headers, **how):
    """What each id met."""
    (met,) = run(
        place, f"say(app.control.revoke_by_stamped_headers({headers!r}, **{how!r}) or {{}})\n"
    )
    return met


def state(place, *ids):
    return [place.record(id).state for id in ids]


def heard(worker, stamp):
    worker.wait_for(f"What carries one of these stamps will not run here: {stamp}")


def begun(place, id):
    return [line for line in place.ledger() if line.id == id]


def test_what_waits_is_revoked_whatever_it_waits_for(place):
    mine = [send(place, "plain", customer="acme") for _ in range(3)]
    both = send(place, "plain", customer=["other", "acme"], batch=7)
    later = place.send("tasks.plain", countdown=600, stamped_headers=["customer"], customer="acme")
    other, none = send(place, "plain", customer="other"), *place.send("tasks.plain")
    ((first, last, unstamped),) = run(
        place,
        "flow = chain(plain.si(), plain.si()).stamp(customer='acme')\n"
        "result = flow.delay(); follows = chain(plain.si().stamp(customer='acme'), plain.si())\n"
        "say([result.parent.id, result.id, follows.delay().id])\n",
    )
    met = revoke(place, {"customer": ["acme", "nobody"]})
    stamped = {*mine, both, *later, first, last}
    assert stamped < met.keys()
    assert set(met.values()) == {"revoked"}
    assert state(place, *stamped, unstamped) == [states.CANCELLED] * (len(stamped) + 1)
    place.worker().ready()
    assert [each.state for each in place.ended([other, none])] == [states.SUCCEEDED] * 2
    assert {line.id for line in place.ledger()} == {other, none}
    assert revoke(place, {"customer": "acme"}) == {}, "again does nothing"


def test_numbers_and_truth_are_named_by_their_text(place):
    ids = [send(place, "plain", batch=7), send(place, "plain", urgent=True)]
    assert set(revoke(place, {"batch": "7", "urgent": "true"})) == set(ids)
    assert state(place, *ids) == [states.CANCELLED] * 2


def test_what_runs_is_ended_with_terminate_and_its_neighbour_is_not(place):
    worker = place.worker("-c", "2").ready()
    mine, other = send(place, "until_go", customer="acme"), *place.send("tasks.until_go")
    for id in (mine, other):
        place.wait_ledger("until_go", id)
    assert revoke(place, {"customer": "acme"}, terminate=True) == {mine: "pending"}
    (record,) = place.ended([mine])
    assert (record.state, record.crashes) == (states.CANCELLED, 0)
    assert state(place, other) == [states.RUNNING], worker.text()
    (place.folder / "go").touch()
    assert [each.state for each in place.ended([other])] == [states.SUCCEEDED]


def test_what_runs_is_left_without_terminate_but_not_repeated(place):
    place.worker("-c", "2").ready()
    ends, repeats = send(place, "until_go", batch=1), send(place, "again_after_go", batch=1)
    place.wait_ledger("until_go", ends)
    place.wait_ledger("again_after_go", repeats)
    assert revoke(place, {"batch": 1}) == {ends: "pending", repeats: "pending"}
    (place.folder / "go").touch()
    found = place.ended([ends, repeats])
    assert [each.state for each in found] == [states.SUCCEEDED, states.CANCELLED]
    assert len(begun(place, repeats)) == 1


def test_what_waits_for_its_repeat_is_revoked(place):
    place.worker().ready()
    id = send(place, "again", 600, batch=1)
    eventually(lambda: state(place, id) == [states.SCHEDULED], "it waits for its repeat")
    assert revoke(place, {"batch": 1}) == {id: "revoked"}
    assert state(place, id) == [states.CANCELLED]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_is_sent_afterwards_does_not_begin(place, pool):
    worker = place.worker("-P", pool, *(() if pool == "solo" else ("-c", "2"))).ready()
    assert revoke(place, {"customer": "acme"}) == {}
    heard(worker, "customer=acme")
    mine = [send(place, "plain", customer="acme"), send(place, "plain", customer=["b", "acme"])]
    other = send(place, "plain", customer="b")
    ((head, last),) = run(
        place,
        "result = chain(plain.si(), group(plain.si(), plain.si()), plain.si())"
        ".stamp(customer='acme').delay()\n"
        "say([result.parent.parent.id, result.id])\n",
    )
    records = place.ended([*mine, head, last])
    assert [each.state for each in records[:3]] == [states.CANCELLED] * 3
    assert "revoked" in records[0].reason
    assert records[3].state == states.FAILED, "as a body does if its header was revoked by id"
    assert [each.state for each in place.ended([other])] == [states.SUCCEEDED]
    assert {line.id for line in place.ledger()} == {other}
    ((value,),) = [run(place, f"say(app.AsyncResult({mine[0]!r}).state)\n")]
    assert value == "REVOKED"
    assert worker.stop() == 0


def test_a_worker_that_starts_later_and_one_that_starts_anew_know_it(place):
    first = place.worker().ready()
    revoke(place, {"customer": "acme"})
    heard(first, "customer=acme")
    first.stop()
    mine, other = send(place, "plain", customer="acme"), *place.send("tasks.plain")
    second = place.worker().ready()
    assert [each.state for each in place.ended([mine, other])] == ["revoked", "succeeded"]
    heard(second, "customer=acme")
    second.kill()
    again = send(place, "plain", customer="acme")
    place.worker().ready()
    assert [each.state for each in place.ended([again])] == [states.CANCELLED]
    assert not begun(place, mine)
    assert not begun(place, again)


def test_what_takes_a_tasks_place_is_revoked_with_it(place):
    place.worker("-c", "2").ready()
    id = send(place, "swap", customer="acme")
    place.wait_ledger("swap", id)
    assert revoke(place, {"customer": "acme"}) == {id: "pending"}
    (place.folder / "go").touch()
    assert [each.state for each in place.ended([id])] == [states.CANCELLED]
    assert not place.ledger("plain")


def test_from_a_result_and_from_the_command_line(place):
    mine = [send(place, "plain", batch=number) for number in (1, 2, 3)]
    run(place, f"app.AsyncResult({mine[0]!r}).revoke_by_stamped_headers({{'batch': [1]}})\n")

    def celeriac(*args, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "celeriac", "-A", "tasks", *args],
            cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return done

    said = celeriac("revoke", "--stamp", "batch=2").stdout
    assert said.splitlines() == [
        f"{mine[1]}  revoked", "What is sent with batch=2 in the next 7 days is revoked, too.",
    ]  # fmt: skip
    found = celeriac("control", "revoke_by_stamped_headers", "batch=3", "batch=4", "--json").stdout
    assert json.loads(found) == {mine[2]: "revoked"}
    assert state(place, *mine) == [states.CANCELLED] * 3
    assert "write NAME=VALUE" in celeriac("revoke", "--stamp", "batch", code=2).stderr
    assert "option of apply_async" in celeriac("revoke", "--stamp", "queue=a", code=2).stderr
    assert "Name tasks by ID" in celeriac("revoke", code=2).stderr


def test_whoever_asks_hears_that_a_retry_would_be_revoked_again(place):
    def command(*args):
        return subprocess.run(
            [sys.executable, "-m", "celeriac", "-A", "tasks", *args], cwd=place.folder,
            env=place.environment, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    stamped = send(place, "plain", customer="acme")
    plain = send(place, "plain", customer="other")
    assert revoke(place, {"customer": "acme"}) == {stamped: "revoked"}
    app_revoke = f"say(app.control.revoke({plain!r}))"
    run(place, app_revoke)
    why = command("why", stamped).stdout
    assert "Whatever carries customer=acme is revoked until 20" in why
    assert "send it anew, without that stamp" in why
    assert f"retry {stamped}" not in why
    assert f"retry {plain}" in command("why", plain).stdout
    done = command("retry", stamped)
    assert done.returncode == 1
    assert f"{stamped}: it would be revoked again: whatever carries customer=acme" in done.stderr
    assert state(place, stamped) == ["revoked"]
    assert command("retry", plain).returncode == 0
    assert state(place, plain) == ["queued"]
