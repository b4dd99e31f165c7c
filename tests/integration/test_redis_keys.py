"""What the Redis store leaves under its prefix: bounded steps, and nothing that stays for ever."""

import itertools

import pytest
from msgspec.structs import replace
from servers import server

from celeriac import states
from celeriac.exceptions import PayloadTooLarge, StoreError
from celeriac.ids import new_calls
from celeriac.message import ADDED, Alike, Edges, NewJoin, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit
from celeriac.stores import connect
from celeriac.stores.redis import queue as module
from celeriac.testing.conformance import Kit, message

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place():
    with server("redis") as made:
        yield made


@pytest.fixture
def kit(place):
    name = f"keys{next(_numbers)}"
    made = Kit(lambda options: connect(place.url, replace(options, namespace=name)))
    made.names = lambda: sorted(
        key.decode().partition("}:")[2] for key in place.do("KEYS", f"{{{name}}}:*")
    )
    made.do = lambda command, key, *more: place.do(command, f"{{{name}}}:{key}", *more)
    return made


def work(worker, commits=(), free=0):
    """Lease and succeed until nothing is left, results ignored."""
    while True:
        answer = worker.exchange(commits, free or 300)
        commits = [
            Commit(each.fence, Outcome(states.SUCCEEDED, b"r", keep=False))
            for each in answer.deliveries
        ]
        if not commits:
            return


def test_the_members_of_a_wide_join_are_let_go_of_in_bounded_steps(kit):
    size = 1200
    kit.store.queue.open_join("J", message("body", edges=Edges(waits=True, gathers="J")))
    for start in range(0, size, 400):
        members = [
            message(f"m{index}", edges=Edges(join=("J", index), within=("J", index)))
            for index in range(start, start + 400)
        ]
        kit.enqueue(*members, join="J")
    kit.store.queue.seal("J", size)
    worker = kit.worker()
    held = []
    while len(held) < size:
        held += worker.lease(300)
    for start in range(0, size, 300):
        worker.exchange(
            [
                Commit(each.fence, Outcome(states.SUCCEEDED, b"r", keep=False))
                for each in held[start : start + 300]
            ]
        )
    assert all(each and each.body == b"r" for each in kit.store.results.join_results("J"))
    body = worker.take()
    assert body.id == "body"
    worker.succeed(body)
    assert [each and each.body for each in kit.store.results.join_results("J")] == [None] * size
    assert "pend" not in kit.names()


def test_added_members_are_let_go_of_in_bounded_steps(kit):
    size = 1200
    kit.store.queue.enqueue(
        [message("body", edges=Edges(waits=True, gathers="J")), member("m", 0)],
        joins=[NewJoin("J", "body", 1)],
    )
    worker = kit.worker()
    parts = tuple(member(f"x{number}", ADDED + number).encode() for number in range(size))
    worker.commit(worker.take(), Outcome(states.SUCCEEDED, b"r", parts=parts))
    done = 0
    while done < size:
        held = worker.lease(300)
        done += len(held)
        worker.exchange(
            [Commit(each.fence, Outcome(states.SUCCEEDED, b"r", keep=False)) for each in held]
        )
    assert len(kit.store.results.join_results("J")) == size + 1
    kit.done(worker, "body")
    kept = [each and each.body for each in kit.store.results.join_results("J")]
    assert kept == [b"r"] + [None] * size
    assert "pend" not in kit.names()


def member(id, index):
    return message(id, flow="F", edges=Edges(join=("J", index), within=("J", index)))


def whole_workflow(kit, worker):
    """One that uses every kind of key that workflows have."""
    waits = Edges(waits=True)
    body = message("body", flow="F", edges=Edges(waits=True, gathers="J", own=("e",)))
    kit.store.queue.enqueue(
        [body, member("m", 0), message("e", flow="F", edges=waits)], joins=[NewJoin("J", "body", 1)]
    )
    parts = (member("x", ADDED).encode(),)
    worker.commit(worker.take(), Outcome(states.SUCCEEDED, b"r", parts=parts))
    work(worker)
    open_body = message("open-body", flow="F", edges=Edges(waits=True, gathers="K"))
    kit.store.queue.open_join("K", open_body)
    kit.enqueue(message("w", flow="F", edges=Edges(waits=True, join=("K", 0))), join="K")
    assert {"fl:F", "j:J", "j:J:m", "j:J:a", "j:K", "j:K:w", "jopen"} <= set(kit.names())


def test_after_retention_nothing_is_left_but_what_is_bounded(kit):
    kit.configure(tombstone_expires=10.0, result_expires=10.0, dead_expires=10.0)
    worker = kit.worker()
    for start in range(0, 9000, 1000):
        kit.enqueue(*(message(f"a{number}") for number in range(start, start + 1000)))
    work(worker)
    kit.enqueue(message("c1", edges=Edges(success=("c2",))))
    kit.enqueue(message("c2", edges=Edges(waits=True, takes="c1")))
    whole_workflow(kit, worker)
    kit.send("failed")
    kit.send("scheduled", eta=kit.now() + 1, expires=kit.now() + 5)
    work(worker)
    kit.store.queue.revoke(["never-came"])
    kit.tick(180, alive=[worker])
    kit.store.queue.close_owner(worker.name)
    kit.reap()
    left = [key for key in kit.names() if not key.startswith(("bell:", "rv:never"))]
    # The newest list of creation stays until a later one is begun.
    lists = [key for key in left if key.startswith("o:")]
    assert len(lists) <= 1
    assert set(left) - set(lists) <= {"og", "pass", "refs", "rvs", "schema", "seq"}
    assert kit.store.inspection.counts().states == {}


def test_counts_of_queues_that_are_empty_go(kit):
    worker = kit.worker()
    for number in range(20):
        kit.send(f"t{number}", queue=f"q{number}")
    ids = [f"t{number}" for number in range(20)]
    kit.store.queue.revoke(ids)
    kit.store.inspection.discard(ids)
    kit.tick(4, alive=[worker])
    assert "n" not in kit.names()
    assert kit.store.inspection.counts().states == {}


def test_one_enqueue_leaves_one_token_whatever_the_number(kit):
    for number in range(50):
        kit.send(f"t{number}")
    assert kit.do("LLEN", "bell:celery") == 1


def refused(kit, messages):
    with pytest.raises(PayloadTooLarge, match="nothing was stored") as raised:
        kit.store.queue.enqueue(messages)
    assert kit.store.inspection.counts().states == {}
    assert kit.names() == ["schema"]
    return str(raised.value)


def alike(count, payload=b"[[], {}]"):
    header = message("x").header
    return Alike(header, new_calls(count), [payload] * count)


@pytest.mark.parametrize("kind", ["alike", "of all kinds"])
def test_what_one_step_cannot_store_is_refused_whole(kit, kind):
    kit.configure(timeout=60.0)  # a step that takes long, on a busy machine longer
    kit.store.inspection.counts()  # the schema is there
    count = module.ENQUEUE_MOST + 1
    if kind == "alike":
        messages = alike(count)
    else:
        messages = [message(str(number), priority=number % 3) for number in range(count)]
    assert "10,001 messages in one call" in refused(kit, messages)
    kit.store.queue.enqueue(messages[1:])
    counts = kit.store.inspection.counts().states
    assert sum(sum(each.values()) for each in counts.values()) == module.ENQUEUE_MOST


def test_bytes_beyond_what_one_step_may_bring_are_refused_whole(kit, monkeypatch):
    kit.store.inspection.counts()
    monkeypatch.setattr(module, "ENQUEUE_BYTES", 100)
    for messages in (alike(2, b"x" * 51), list(alike(2, b"x" * 51))):
        assert "102 bytes of arguments" in refused(kit, messages)
    kit.store.queue.enqueue(alike(1, b"x" * 200))  # one alone is bounded by payload_max


def test_a_retry_that_would_reopen_too_many_changes_nothing(kit):
    """What one step may reopen it does; one more, and nothing of it is reopened."""
    kit.configure(timeout=60.0)
    most, worker = 10_000, kit.worker()
    for root, count in (("fits", most - 1), ("large", most)):
        ids = [f"{root}{number}" for number in range(count)]
        kit.enqueue(message(root, edges=Edges(success=tuple(ids))))
        for start in range(0, count, 2000):
            waiting = ids[start : start + 2000]
            kit.enqueue(*(message(id, edges=Edges(waits=True)) for id in waiting))
        (one,) = worker.exchange(free=1).deliveries
        worker.exchange([Commit(one.fence, Outcome(states.FAILED, reason="x"))])
        kit.reap()
    ended = kit.store.inspection.counts().states["celery"]
    assert ended == {states.FAILED: 2 * most + 1}
    with pytest.raises(StoreError, match="Task large was not reopened: more than 10,000 tasks"):
        kit.store.inspection.retry(["large"])
    assert kit.store.inspection.counts().states["celery"] == ended
    reopened = kit.store.inspection.retry(["fits"])
    assert reopened[0] == "fits"
    assert len(set(reopened)) == len(reopened) == most
    assert kit.store.inspection.counts().states["celery"] == {
        states.FAILED: most + 1,
        states.WAITING: most - 1,
        states.QUEUED: 1,
    }


def fields(found):
    """A hash, as either version of the protocol has it."""
    if isinstance(found, dict):
        return found
    return dict(zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("number", [1, 3, 5_000])
@pytest.mark.parametrize("key", ["seq", "n", "q:celery:0", "o:0", "bell:celery"])
def test_a_key_of_another_program_leaves_nothing_half_stored(kit, key, number):
    """Scripts are not rolled back: what can be refused is asked for before messages are stored."""
    kit.store.queue.enqueue([message("first", queue="other")])
    others = {"seq": ("LPUSH", "x"), "n": ("LPUSH", "x"), "q:celery:0": ("SET", "x"),
              "o:0": ("SET", "x"), "bell:celery": ("SET", "x")}  # fmt: skip
    kit.do("DEL", key)
    command, value = others[key]
    kit.do(command, key, value)
    counted = kit.do("HGETALL", "n") if key != "n" else None
    before = set(kit.names())
    with pytest.raises(StoreError, match="another program writes under the names of Celeriac"):
        kit.store.queue.enqueue([message(f"m{each}") for each in range(number)])
    assert set(kit.names()) - before == set() or key == "seq"
    assert not [name for name in kit.names() if name.startswith("m:m")]
    if counted is not None:
        after = fields(kit.do("HGETALL", "n"))
        assert {name: each for name, each in after.items() if each != b"0"} == fields(counted)
    kit.do("DEL", key)
    kit.store.queue.enqueue([message("m0", queue="celery")])
    assert kit.store.inspection.get(["m0"])[0] is not None


def test_parts_of_a_workflow_are_read_without_a_script(kit, place):
    """A script would carry every byte of each message through Lua: half of the time that the tree
    of a workflow of 10,000 took."""
    parts = [
        replace(message(f"p{number}").header, flow="f", edges=Edges()) for number in range(1200)
    ]
    kit.enqueue(*(compose(each, b"payload") for each in parts))
    kit.done(kit.worker(), "p0", b"body")
    place.do("CONFIG", "RESETSTAT")
    found, after = [], None
    while page := kit.store.inspection.flow("f", after, 1000):
        found += page
        after = page[-1].id
    whole = kit.store.inspection.get(["p0", "p1", "never"])
    calls = place.do("INFO", "commandstats")
    assert not {"cmdstat_evalsha", "cmdstat_eval"} & calls.keys()
    assert calls["cmdstat_mget"]["calls"] == 4
    assert [each.id for each in found] == [each.id for each in parts]
    assert [each.state for each in found[:2]] == [states.SUCCEEDED, states.QUEUED]
    assert {each.body for each in found} == {None}
    assert all(each.wire for each in found)
    assert whole[0].body == b"body"
    assert whole[1] == found[1]
    assert whole[2] is None
