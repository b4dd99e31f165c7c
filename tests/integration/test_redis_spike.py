"""The store protocol in Redis Lua (spikes/redis) on a real server of its own."""

import sys
from pathlib import Path

import pytest

from celeriac.exceptions import DuplicateTask, StoreError
from celeriac.ids import new_nonce, new_task_id
from celeriac.message import Edges, Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Verdict, Want

SPIKE = Path(__file__).parents[2] / "spikes" / "redis"
QUEUES = ["celery"]
KNOWN = Manifest(tasks={"shop.send": TaskFacts()})


@pytest.fixture(scope="module")
def client():
    sys.path.insert(0, str(SPIKE))
    try:
        from server import server
    finally:
        sys.path.remove(str(SPIKE))
    with server() as found:
        yield found


@pytest.fixture
def spike(client):
    sys.path.insert(0, str(SPIKE))
    try:
        from spike import Spike
    finally:
        sys.path.remove(str(SPIKE))
    client.flushall()
    made = Spike(client)
    made.load()
    made.register("one", KNOWN)
    return made


def message(id=None, task="shop.send", **fields):
    header = Header(id=id or new_task_id(), task=task, nonce=new_nonce(), **fields)
    return compose(header, b'[["a@b.c"],{}]')


def exchange(spike, seq, commits=(), free=10, owner="one"):
    return spike.exchange(owner, 0, seq, commits, [], QUEUES, Want(free=free))


def succeeded(delivery, body=b"1"):
    return Commit(delivery.fence, Outcome("succeeded", body=body))


def ids(found):
    return [each.id for each in found]


def test_a_resend_is_no_second_task_and_another_call_under_a_living_id_is_refused(spike):
    first, other = message("a"), message("b")
    spike.enqueue([first])
    spike.enqueue([first])
    with pytest.raises(DuplicateTask):
        spike.enqueue([other, message("a")])
    assert ids(exchange(spike, 1).deliveries) == ["a"]


def test_an_exchange_can_be_repeated_and_a_lower_one_is_refused(spike):
    spike.enqueue([message() for _ in range(5)])
    got = exchange(spike, 1, free=3)
    assert got.more
    assert set(ids(exchange(spike, 1, free=3).deliveries)) == set(ids(got.deliveries))
    commits = [succeeded(each) for each in got.deliveries]
    assert set(exchange(spike, 2, commits).verdicts) == {Verdict.OK}
    again = exchange(spike, 2, commits)
    assert set(again.verdicts) == {Verdict.ALREADY}
    assert len(again.deliveries) == 2
    with pytest.raises(StoreError):
        exchange(spike, 1)


def test_priority_then_sequence_which_is_kept_by_a_release(spike):
    sent = [message() for _ in range(4)]
    urgent = message(priority=9)
    spike.enqueue([*sent, urgent])
    got = exchange(spike, 1, free=3).deliveries
    assert ids(got) == [urgent.id, sent[0].id, sent[1].id]
    assert spike.release("one", [got[2].fence]) == (Verdict.OK,)
    assert spike.release("one", [got[1].fence]) == (Verdict.OK,)
    assert spike.release("one", [got[1].fence]) == (Verdict.ALREADY,)
    back = exchange(spike, 2).deliveries
    assert ids(back) == ids(sent)
    assert [each.attempt for each in back] == [1, 1, 1, 1]


def test_what_a_dead_owner_held_runs_elsewhere_and_its_late_write_is_refused(spike):
    spike.enqueue([message("a")])
    (old,) = exchange(spike, 1).deliveries
    reaped = spike.reap(["one"])
    assert (reaped.owners, reaped.requeued) == (("one",), 1)
    late = exchange(spike, 2, [succeeded(old)])
    assert late.lost
    assert late.verdicts == (Verdict.FENCED,)
    spike.register("two", KNOWN)
    (new,) = exchange(spike, 1, owner="two").deliveries
    assert (new.attempt, new.losses) == (2, 1)
    assert exchange(spike, 2, [succeeded(old), succeeded(new)], owner="two").verdicts == (
        Verdict.FENCED,
        Verdict.OK,
    )


def test_an_unknown_name_is_parked_until_somebody_knows_it(spike):
    spike.enqueue([message("a", task="shop.other"), message("b")])
    assert ids(exchange(spike, 1).deliveries) == ["b"]
    spike.register("two", Manifest(tasks={"shop.other": TaskFacts()}))
    assert ids(exchange(spike, 1, owner="two").deliveries) == ["a"]


def test_a_retry_counts_and_can_be_leased_in_the_same_exchange(spike):
    spike.enqueue([message("a")])
    (got,) = exchange(spike, 1).deliveries
    repeat = Outcome("queued", charge="retry", reason="ValueError: no")
    (again,) = exchange(spike, 2, [Commit(got.fence, repeat)]).deliveries
    assert (again.id, again.attempt, again.retries) == ("a", 2, 1)


def test_the_commit_that_completes_a_join_releases_the_body(spike):
    body = message("body", edges=Edges(waits=True, gathers="j"))
    spike.enqueue([body], opens=("j", "body"))
    spike.enqueue([message(edges=Edges(join=("j", i))) for i in range(3)], join="j")
    spike.seal("j", 3)
    members = exchange(spike, 1).deliveries
    first = exchange(spike, 2, [succeeded(each) for each in members[:2]])
    assert not first.deliveries
    last = exchange(spike, 3, [succeeded(members[2]), succeeded(members[1])])
    assert last.verdicts == (Verdict.OK, Verdict.ALREADY)
    assert ids(last.deliveries) == ["body"]


def test_a_failed_member_ends_the_body(spike):
    body = message("body", edges=Edges(waits=True, gathers="j"))
    spike.enqueue([body], opens=("j", "body"))
    spike.enqueue([message(edges=Edges(join=("j", i))) for i in range(2)], join="j")
    members = exchange(spike, 1).deliveries
    failed = Commit(members[0].fence, Outcome("failed", reason="ValueError: no"))
    exchange(spike, 2, [failed, succeeded(members[1])])
    assert spike.state("body")["s"] == "f"


def test_a_result_travels_with_the_successor(spike):
    spike.enqueue([message("a", edges=Edges(success=("b",)))])
    spike.enqueue([message("b", edges=Edges(waits=True, takes="a"))])
    (first,) = exchange(spike, 1).deliveries
    (second,) = exchange(spike, 2, [succeeded(first, b"42\n43")]).deliveries
    assert (second.id, second.inputs) == ("b", b"42\n43")


def test_a_wide_failure_is_worked_off_in_bounded_steps(spike):
    parts = [message(edges=Edges(waits=True)) for _ in range(1200)]
    spike.enqueue([message("a", edges=Edges(success=tuple(ids(parts)))), *parts])
    (got,) = exchange(spike, 1).deliveries
    exchange(spike, 2, [Commit(got.fence, Outcome("failed", reason="no"))])

    def failed():
        return sum(spike.state(each.id)["s"] == "f" for each in parts)

    assert failed() == 499
    spike.reap()
    spike.reap()
    assert failed() == 1200
