"""Cases of ``lost_answers``: the calls of a queue. Layer 6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celeriac import states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import (
    Commit,
    Exchanged,
    Manifest,
    RevokeEffect,
    TaskFacts,
    Verdict,
    Want,
)
from celeriac.stores.base import Store
from celeriac.testing.conformance.acts import Act, case, losses_are, state_is
from celeriac.testing.conformance.kit import QUEUE, Kit, Worker, message
from celeriac.testing.conformance.plans import body, member, plan
from celeriac.testing.conformance.results import DEADLINE
from celeriac.testing.conformance.workflows import chain
from celeriac.testing.faults import Kind

# -- Queue: sending ----------------------------------------------------------------------------


@case("queue.enqueue")
def _messages(kit: Kit, store: Store) -> Act:
    sent = [message("a"), message("b", eta=kit.now() + 5), message("c", edges=Edges(waits=True))]
    return Act(lambda: store.queue.enqueue(sent))


@case("queue.enqueue")
def _a_message(kit: Kit, store: Store) -> Act:
    return Act(lambda: store.queue.enqueue([message("a")]))


@case("queue.enqueue")
def _a_new_run_of_an_id_that_has_ended(kit: Kit, store: Store) -> Act:
    kit.send("a")
    kit.done(kit.worker(), "a")
    return Act(lambda: store.queue.enqueue([message("a", nonce="another")]))


@case("queue.enqueue")
def _a_whole_plan(kit: Kit, store: Store) -> Act:
    parts, joins = plan(2)
    return Act(lambda: store.queue.enqueue(parts, joins=joins))


@case("queue.enqueue")
def _members_of_an_open_join(kit: Kit, store: Store) -> Act:
    kit.store.queue.open_join("J", body())
    sent = [member(0), member(1)]

    def proof(kind: Kind) -> None:
        kit.store.queue.seal("J", 2)
        worker = kit.worker()
        kit.done(worker, "J-0")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "J-1")
        assert kit.state("body") == states.QUEUED

    return Act(lambda: store.queue.enqueue(sent, "J"), proof=proof)


@case("queue.open_join")
def _with_what_waits_behind(kit: Kit, store: Store) -> Act:
    first = body(success=("later",))
    behind = [message("later", edges=Edges(waits=True, takes="body"))]
    return Act(lambda: store.queue.open_join("J", first, behind))


@case("queue.seal")
def _that_completes_it(kit: Kit, store: Store) -> Act:
    kit.store.queue.open_join("J", body())
    kit.enqueue(member(0), join="J")
    kit.done(kit.worker(), "J-0")
    return Act(
        lambda: store.queue.seal("J", 1),
        proof=lambda kind: state_is(kit, "body", states.QUEUED),
    )


@case("queue.seal")
def _that_says_there_are_none(kit: Kit, store: Store) -> Act:
    kit.store.queue.open_join("J", body())
    return Act(lambda: store.queue.seal("J", 0))


# -- Queue: owners and leases ------------------------------------------------------------------


@case("queue.register")
def _a_worker_whose_tasks_are_parked(kit: Kit, store: Store) -> Act:
    kit.send("a", task="strange")
    assert kit.worker("w2").lease() == []
    manifest = Manifest({"strange": TaskFacts()}, hostname="box")
    return Act(lambda: store.queue.register("w1", manifest))


def _exchange_of(worker: Worker, store: Store, commits: list[Commit]) -> Callable[[], Any]:
    """The next exchange of *worker*; each call of it is a resend."""
    worker.seq += 1
    seq = worker.seq

    def exchange() -> Any:
        return _said(store.queue.exchange(worker.name, 0, seq, commits, (), [QUEUE], Want(1)))

    return exchange


def _said(answer: Exchanged | None) -> Any:
    return answer and (answer.verdicts, [each.id for each in answer.deliveries], answer.lost)


@case("queue.exchange")
def _a_success_and_a_lease(kit: Kit, store: Store) -> Act:
    chain(kit)
    worker = kit.worker()
    commit = Commit(worker.take().fence, Outcome(states.SUCCEEDED, b"of a"))
    make = _exchange_of(worker, store, [commit])
    return Act(make, ((Verdict.OK,), ["b"], False), ((Verdict.ALREADY,), ["b"], False))


@case("queue.exchange")
def _a_retry(kit: Kit, store: Store) -> Act:
    kit.send("a")
    worker = kit.worker()
    outcome = Outcome(states.SCHEDULED, delay=5.0, charge="retry")
    make = _exchange_of(worker, store, [Commit(worker.take().fence, outcome)])
    return Act(make, ((Verdict.OK,), [], False), ((Verdict.ALREADY,), [], False))


@case("queue.exchange")
def _a_member_that_completes_its_join(kit: Kit, store: Store) -> Act:
    parts, joins = plan(1)
    kit.store.queue.enqueue(parts, joins=joins)
    worker = kit.worker()
    commit = Commit(worker.take().fence, Outcome(states.SUCCEEDED))
    make = _exchange_of(worker, store, [commit])
    return Act(make, ((Verdict.OK,), ["body"], False), ((Verdict.ALREADY,), ["body"], False))


@case("queue.exchange")
def _parts_that_take_its_place(kit: Kit, store: Store) -> Act:
    kit.send("a")
    worker = kit.worker()
    part = message("part", edges=Edges(success=("a",)))
    outcome = Outcome(states.WAITING, parts=(part.encode(),))
    make = _exchange_of(worker, store, [Commit(worker.take().fence, outcome)])
    return Act(make, ((Verdict.OK,), ["part"], False), ((Verdict.ALREADY,), ["part"], False))


@case("queue.wait")
def _for_what_is_there(kit: Kit, store: Store) -> Act:
    # A ring may have been heard, and lost with the answer: who gets none looks.
    kit.send("a")
    look = _exchange_of(kit.worker(), kit.store, [])
    return Act(
        lambda: store.queue.wait([QUEUE], DEADLINE), True, ((), ["a"], False), look, changes=False
    )


@case("queue.wait_and_lease")
def _what_is_there(kit: Kit, store: Store) -> Act:
    kit.send("a")
    worker = kit.worker()
    queue: Any = store.queue
    again = _exchange_of(worker, store, [])

    def make() -> Any:
        return _said(queue.wait_and_lease("w1", 0, worker.seq, [QUEUE], Want(1), 0.001))

    return Act(make, ((), ["a"], False), repeat=again)


@case("queue.release")
def _what_was_not_begun(kit: Kit, store: Store) -> Act:
    kit.send("a")
    fences = [kit.worker().take().fence]
    make = lambda: store.queue.release("w1", fences)  # noqa: E731 - one line, named for Act
    return Act(make, (Verdict.OK,), (Verdict.ALREADY,))


@case("queue.release")
def _what_was_begun_for_later(kit: Kit, store: Store) -> Act:
    kit.send("a")
    worker = kit.worker()
    delivery = worker.take()
    worker.start(delivery)
    make = lambda: store.queue.release("w1", [delivery.fence], True, 5.0)  # noqa: E731 - as above
    return Act(make, (Verdict.OK,), (Verdict.ALREADY,))


@case("queue.update")
def _what_it_shows(kit: Kit, store: Store) -> Act:
    kit.send("a")
    fence = kit.worker().take().fence
    return Act(lambda: store.queue.update(fence, "HALFWAY", b"meta"), Verdict.OK)


@case("queue.beat")
def _that_tells_of_a_start(kit: Kit, store: Store) -> Act:
    kit.send("a")
    fence = kit.worker().take().fence
    kit.clock.advance(5)

    def make() -> Any:
        beat = store.queue.beat("w1", [fence])
        return beat.lost, beat.revoked

    return Act(make, (False, ()))


@case("queue.leases")
def _of_one_that_holds_something(kit: Kit, store: Store) -> Act:
    kit.send("a")
    fence = kit.worker().take().fence
    return Act(lambda: store.queue.leases("w1"), [fence], changes=False)


@case("queue.reap")
def _a_dead_owner(kit: Kit, store: Store) -> Act:
    kit.send("a", "b")
    kit.worker("w1").take()
    kit.worker("w2").take()
    make = lambda: store.queue.reap(["w1"]).owners  # noqa: E731 - as above
    return Act(make, ("w1",), (), proof=lambda kind: losses_are(kit, {"a": 1, "b": 0}))


@case("queue.close_owner")
def _that_holds_something(kit: Kit, store: Store) -> Act:
    kit.send("a", "b")
    worker = kit.worker()
    worker.start(worker.lease(2)[0])
    return Act(
        lambda: store.queue.close_owner("w1"), 2, 0,
        proof=lambda kind: losses_are(kit, {"a": 0, "b": 0}),
    )  # fmt: skip


# -- Queue: revoke, purge, outbox --------------------------------------------------------------


@case("queue.revoke")
def _in_every_state(kit: Kit, store: Store) -> Act:
    kit.send("ended", "held", "queued")
    worker = kit.worker()
    kit.done(worker, "ended")
    worker.take()

    def proof(kind: Kind) -> None:
        kit.send("unknown")
        assert kit.state("unknown") == states.CANCELLED

    return Act(
        lambda: store.queue.revoke(["ended", "held", "queued", "unknown"], "SIGTERM"),
        {
            "ended": RevokeEffect.ENDED,
            "held": RevokeEffect.PENDING,
            "queued": RevokeEffect.REVOKED,
            "unknown": RevokeEffect.UNKNOWN,
        },
        proof=proof,
    )


@case("queue.revoke_stamps")
def _two(kit: Kit, store: Store) -> Act:
    # The repeat has another number, so workers look once more.
    return Act(lambda: store.queue.revoke_stamps(["a=1", "b=2"], "SIGKILL"))


@case("queue.revoked_stamps")
def _those_there_are(kit: Kit, store: Store) -> Act:
    kit.store.queue.revoke_stamps(["a=1"])
    kept = kit.store.queue.revoked_stamps()
    return Act(store.queue.revoked_stamps, kept, changes=False)


@case("queue.purge")
def _what_waits(kit: Kit, store: Store) -> Act:
    kit.send("a", "b")
    kit.send("later", eta=kit.now() + 5)
    kit.send("elsewhere", queue="other")
    # How many there were is not known any more: they have ended.
    return Act(lambda: store.queue.purge([QUEUE]), 3, 0)


def _outbox(kit: Kit) -> list[int]:
    """Two rows in the outbox; their numbers."""
    kit.send("a", "b")
    worker = kit.worker()
    kit.done(worker, "a")
    kit.done(worker, "b")
    return [each.number for each in kit.store.queue.outbox(9)]


@case("queue.outbox")
def _its_rows(kit: Kit, store: Store) -> Act:
    numbers = _outbox(kit)
    make = lambda: [each.number for each in store.queue.outbox(9)]  # noqa: E731 - as above
    return Act(make, numbers, changes=False)


@case("queue.mirrored")
def _one_row(kit: Kit, store: Store) -> Act:
    numbers = _outbox(kit)
    return Act(lambda: store.queue.mirrored(numbers[:1]))


@case("queue.outgoing")
def _two_of_three(kit: Kit, store: Store) -> Act:
    _outbox(kit)
    return Act(lambda: store.queue.outgoing(["a", "b", "c"]), {"a", "b"}, changes=False)
