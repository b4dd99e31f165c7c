"""Protocol section 1: what a person may do with ended records. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from typing import Final

import pytest

from celeriac import states
from celeriac.message import Edges, NewJoin
from celeriac.outcome import Outcome
from celeriac.records import RevokeEffect
from celeriac.testing.conformance.kit import Kit, Suite, Worker, message
from celeriac.testing.conformance.workflows import chain, members

#: How a record may be released by another one's end: the edges of both.
_WAYS: Final = {
    "takes": (Edges(success=("b",)), Edges(waits=True, takes="a")),
    "after": (Edges(success=("b",)), Edges(waits=True, after="a")),
    "an errback": (Edges(failure=("b",)), Edges(waits=True, told="a")),
    "an errback of its own": (Edges(own=("b",)), Edges(waits=True, told="a")),
    "an errback that is told nothing": (Edges(own=("b",)), Edges(waits=True, after="a")),
}


def _fail_next(worker: Worker) -> str:
    """Fail what is next; its id."""
    delivery = worker.take()
    worker.fail(delivery)
    return delivery.id


def _end_errback(worker: Worker) -> None:
    """Run the errback that is due."""
    worker.succeed(worker.take(queues=["celery", "errors"]))


def _guarded(kit: Kit) -> None:
    """A → b; errback e of both, which "after" follows."""
    kit.enqueue(
        message("a", edges=Edges(success=("b",))),
        message("b", edges=Edges(waits=True, failure=("e",))),
        message("e", queue="errors", edges=Edges(waits=True, told="b", success=("after",))),
        message("after", queue="errors", edges=Edges(waits=True)),
    )


class OperatorSuite(Suite):
    """Retry and discard by a person."""

    def test_retry_reopens_an_ended_record_in_a_new_generation(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.again(worker.take())
        assert _fail_next(worker) == "a"
        assert kit.store.inspection.retry(["a"]) == ["a"]
        record = kit.get("a")
        assert (record.state, record.generation, record.attempt) == (states.QUEUED, 1, 2)
        assert (record.retries, record.crashes, record.losses) == (0, 0, 0)
        assert (record.reason, record.body, record.ended_at) == ("", None, None)
        kit.done(worker, "a")
        assert kit.state("a") == states.SUCCEEDED

    def test_what_succeeded_or_still_lives_is_not_reopened(self, kit: Kit) -> None:
        kit.send("a", "b")
        kit.done(kit.worker(), "a")
        assert kit.store.inspection.retry(["a", "b", "never"]) == []
        assert kit.states("a", "b") == [states.SUCCEEDED, states.QUEUED]
        assert kit.get("b").generation == 0

    def test_retry_reopens_what_failed_only_because_of_it(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        assert _fail_next(worker) == "a"
        _end_errback(worker)
        reopened = kit.store.inspection.retry(["a"])
        assert (reopened[0], sorted(reopened)) == ("a", ["a", "b", "c", "e"])
        assert kit.states(*"abce") == [states.QUEUED, *[states.WAITING] * 3]
        assert [kit.get(id).generation for id in "abce"] == [1, 1, 1, 1]
        assert kit.get("b").cause == ""

    def test_retry_of_what_failed_because_of_another_goes_through_that_one(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        _fail_next(worker)
        _end_errback(worker)
        assert kit.store.inspection.retry(["c"])[0] == "a"
        assert kit.states("a", "b", "c") == [states.QUEUED, states.WAITING, states.WAITING]

    def test_an_errback_runs_once_per_generation(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        _fail_next(worker)
        _end_errback(worker)
        kit.store.inspection.retry(["a"])
        assert kit.state("e") == states.WAITING
        _fail_next(worker)
        assert kit.state("e") == states.QUEUED

    @pytest.mark.parametrize("how", ["queued", "runs", "scheduled", "was replaced", "is followed"])
    def test_nothing_is_reopened_while_an_errback_has_not_ended(self, kit: Kit, how: str) -> None:
        """It is called for the end that was; while it is, it could not be called for the next."""
        _guarded(kit)
        worker = kit.worker()
        _fail_next(worker)
        held = None
        if how != "queued":
            held = worker.take(queues=["errors"])
            assert held.id == "e"
        if held is not None and how == "scheduled":
            worker.again(held, delay=5.0)
        elif held is not None and how == "was replaced":
            part = message("p", queue="errors", edges=Edges(success=("e",)))
            edges = Edges(waits=True, told="b", success=("after",))
            instead = message("e", nonce="again", queue="errors", edges=edges)
            worker.commit(
                held,
                Outcome(states.WAITING, message=instead.encode(), parts=(part.encode(),)),
            )
        elif held is not None and how == "is followed":
            worker.succeed(held)
        ids = ("a", "b", "e", "after")
        before = [kit.get(id) for id in ids]
        assert kit.store.inspection.retry(["a"]) == []
        assert kit.store.inspection.retry(["b"]) == []
        assert [kit.get(id) for id in ids] == before
        if how == "runs" and held is not None:
            worker.succeed(held)
        kit.tick(6, alive=[worker])
        while ready := worker.lease(queues=["errors"]):
            worker.succeed(ready[0])
        assert kit.states("e", "after") == [states.SUCCEEDED, states.SUCCEEDED]
        assert sorted(kit.store.inspection.retry(["a"])) == ["a", "after", "b", "e"]
        _fail_next(worker)
        assert kit.states("e", "after") == [states.QUEUED, states.WAITING]

    def test_an_errback_that_is_revoked_has_ended(self, kit: Kit) -> None:
        _guarded(kit)
        worker = kit.worker()
        _fail_next(worker)
        assert kit.store.inspection.retry(["a"]) == []
        kit.store.queue.revoke(["e"])
        assert sorted(kit.store.inspection.retry(["a"])) == ["a", "after", "b", "e"]

    def test_an_errback_of_another_part_keeps_nothing_from_being_retried(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        for delivery in worker.lease(2):
            worker.fail(delivery)
        assert kit.state("e") == states.QUEUED
        assert kit.store.inspection.retry(["m0"]) == ["m0"]  # the body waits for m1, too
        assert kit.store.inspection.retry(["m1"]) == []
        worker.succeed(worker.take(queues=["errors"]))
        assert sorted(kit.store.inspection.retry(["m1"])) == ["body", "e", "m1", "z"]

    def test_retry_of_a_member_reopens_join_and_body(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        assert _fail_next(worker) == "m0"
        kit.done(worker, "m1")
        worker.succeed(worker.take(queues=["errors"]))
        assert kit.state("e") == states.SUCCEEDED
        reopened = kit.store.inspection.retry(["m0"])
        assert (reopened[0], sorted(reopened)) == ("m0", ["body", "e", "m0", "z"])
        assert kit.states("body", "z", "e") == [states.WAITING] * 3
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.decided, view.cause) == ("", "")
        kit.done(worker, "m0")
        assert kit.state("body") == states.QUEUED

    def test_a_join_stays_failed_until_every_failed_member_is_retried(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        held = worker.lease(2)
        for delivery in held:
            worker.fail(delivery)
        worker.succeed(worker.take(queues=["errors"]))
        kit.store.inspection.retry(["m0"])
        assert kit.states("m0", "m1", "body") == [states.QUEUED, states.FAILED, states.FAILED]
        kit.store.inspection.retry(["m1"])
        assert kit.states("m1", "body", "z") == [states.QUEUED, states.WAITING, states.WAITING]
        taken = {each.id: each for each in worker.lease(9)}
        for id in ("m0", "m1"):
            worker.succeed(taken[id])
        assert kit.state("body") == states.QUEUED

    def test_retry_may_bring_a_new_message(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        _fail_next(worker)
        new = message("a", nonce="new", payload=b"[[9],{}]")
        assert kit.store.inspection.retry(["a"], {"a": new}) == ["a"]
        assert worker.take().wire == new.encode()

    def test_retry_of_what_expired_runs_it(self, kit: Kit) -> None:
        kit.send("a", expires=kit.now() + 3)
        kit.tick(4)
        kit.store.inspection.retry(["a"])
        assert kit.worker().take().id == "a"

    @pytest.mark.parametrize("how", [*_WAYS])
    def test_what_ended_before_its_turn_waits_for_that_again(self, kit: Kit, how: str) -> None:
        """It was revoked, or expired, while it waited. What it waits for still runs."""
        before, behind = _WAYS[how]
        kit.enqueue(message("a", edges=before), message("b", edges=behind))
        worker = kit.worker()
        assert kit.store.queue.revoke(["b"]) == {"b": RevokeEffect.REVOKED}
        assert kit.store.inspection.retry(["b"]) == ["b"]
        assert kit.state("b") == states.WAITING
        delivery = worker.take()
        kit.store.queue.revoke(["b"])
        assert kit.store.inspection.retry(["b"]) == ["b"]
        assert kit.states("a", "b") == [states.LEASED, states.WAITING]
        (worker.succeed if before.success else worker.fail)(delivery)
        assert worker.take().id == "b"

    @pytest.mark.parametrize("how", [*_WAYS])
    def test_what_ended_before_its_turn_runs_at_once_if_that_has_come(
        self, kit: Kit, how: str
    ) -> None:
        before, behind = _WAYS[how]
        kit.enqueue(message("a", edges=before), message("b", edges=behind))
        kit.store.queue.revoke(["b"])
        worker = kit.worker()
        (worker.succeed if before.success else worker.fail)(worker.take())
        assert kit.store.inspection.retry(["b"]) == ["b"]
        assert worker.take().id == "b"

    @pytest.mark.parametrize("how", [*_WAYS])
    def test_what_ended_before_its_turn_is_not_reopened_if_that_never_comes(
        self, kit: Kit, how: str
    ) -> None:
        before, behind = _WAYS[how]
        kit.enqueue(message("a", edges=before), message("b", edges=behind))
        kit.store.queue.revoke(["b"])
        worker = kit.worker()
        delivery = worker.take()
        (worker.fail if before.success else worker.succeed)(delivery)
        assert kit.store.inspection.retry(["b"]) == []
        assert kit.state("b") == states.CANCELLED

    @pytest.mark.parametrize("how", ["failure", "own"])
    @pytest.mark.parametrize("state", [states.FAILED, states.SKIPPED])
    def test_an_errback_that_was_called_and_failed_runs_again(
        self, kit: Kit, how: str, state: str
    ) -> None:
        """Also about what ended as ignored by itself."""
        edges = Edges(failure=("e",)) if how == "failure" else Edges(own=("e",))
        kit.enqueue(message("a", edges=edges), message("e", edges=Edges(waits=True, told="a")))
        worker = kit.worker()
        worker.commit(worker.take(), Outcome(state, reason="no"))
        assert _fail_next(worker) == "e"
        assert kit.store.inspection.retry(["e"]) == ["e"]
        assert worker.take().id == "e"

    def test_an_errback_of_a_body_runs_again_though_a_member_is_what_failed(self, kit: Kit) -> None:
        parts = [
            message("m", edges=Edges(join=("J", 0), within=("J", 0))),
            message("body", edges=Edges(waits=True, gathers="J", own=("e",))),
            message("e", edges=Edges(waits=True, told="body")),
        ]
        kit.store.queue.enqueue(parts, joins=[NewJoin("J", "body", 1)])
        worker = kit.worker()
        assert _fail_next(worker) == "m"
        assert _fail_next(worker) == "e"
        assert kit.store.inspection.retry(["e"]) == ["e"]
        assert worker.take().id == "e"

    def test_an_errback_that_waits_again_is_not_released_by_what_took_its_place(
        self, kit: Kit
    ) -> None:
        kit.enqueue(
            message("a", edges=Edges(own=("e",))), message("e", edges=Edges(waits=True, told="a"))
        )
        worker = kit.worker()
        _fail_next(worker)
        held = worker.take()
        part = message("m", edges=Edges(join=("R", 0)))
        new = message("e", edges=Edges(waits=True, told="a", gathers="R"))
        outcome = Outcome(
            states.WAITING,
            message=new.encode(),
            parts=(part.encode(),),
            joins=(NewJoin("R", "e", 1),),
        )
        worker.commit(held, outcome)
        assert _fail_next(worker) == "m"
        assert kit.store.inspection.retry(["a"]) == ["a", "e"]
        assert kit.store.inspection.retry(["m"]) == ["m"]
        deliveries = {each.id: each for each in (worker.take(), worker.take())}
        worker.succeed(deliveries["m"])
        assert kit.state("e") == states.WAITING
        worker.succeed(deliveries["a"])
        assert kit.state("e") == states.SKIPPED

    def test_retry_forgets_the_revoke(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.revoke(["a"])
        worker.again(delivery)
        assert kit.store.inspection.retry(["a"]) == ["a"]
        worker.again(worker.take())
        assert kit.state("a") == states.QUEUED

    def test_what_takes_a_result_waits_for_it_again(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        held = worker.take()
        kit.store.queue.revoke(["b"])
        assert kit.store.inspection.retry(["b"]) == ["b", "c"]
        assert kit.states("a", "b", "c") == [states.LEASED, states.WAITING, states.WAITING]
        worker.succeed(held, b"of a")
        delivery = worker.take()
        assert (delivery.id, delivery.inputs) == ("b", b"of a")

    def test_what_takes_a_result_that_will_not_come_is_not_reopened(self, kit: Kit) -> None:
        chain(kit)
        kit.store.queue.revoke(["b", "a"])
        kit.done(kit.worker(), "e")
        assert kit.store.inspection.retry(["b"]) == []
        assert kit.states("a", "b", "c") == [states.CANCELLED] * 3
        assert kit.store.inspection.retry(["a"]) == ["a", "e"]
        assert kit.store.inspection.retry(["b"]) == ["b", "c"]
        assert kit.states("a", "b", "c") == [states.QUEUED, states.WAITING, states.WAITING]

    def test_what_takes_a_result_that_is_there_runs_at_once(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        kit.done(worker, "a", b"of a")
        kit.store.queue.revoke(["b"])
        assert kit.store.inspection.retry(["b"]) == ["b", "c"]
        delivery = worker.take()
        assert (delivery.id, delivery.inputs) == ("b", b"of a")

    def test_a_body_that_was_revoked_waits_for_its_join_again(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        kit.done(worker, "m0")
        kit.store.queue.revoke(["body"])
        worker.succeed(worker.take(queues=["errors"]))
        reopened = kit.store.inspection.retry(["body"])
        assert (reopened[0], sorted(reopened)) == ("body", ["body", "e", "z"])
        assert kit.states("body", "z", "e") == [states.WAITING] * 3
        kit.done(worker, "m1")
        assert kit.state("body") == states.QUEUED

    def test_a_body_that_was_revoked_is_not_reopened_while_its_join_is_failed(
        self, kit: Kit
    ) -> None:
        members(kit, 2)
        worker = kit.worker()
        kit.store.queue.revoke(["body"])
        worker.succeed(worker.take(queues=["errors"]))
        _fail_next(worker)
        assert kit.store.inspection.retry(["body"]) == []
        assert kit.store.inspection.retry(["m0"]) == ["m0"]
        assert kit.store.inspection.retry(["body"])[0] == "body"
        kit.done(worker, "m1")
        kit.done(worker, "m0")
        assert kit.state("body") == states.QUEUED

    def test_the_old_fence_is_fenced_in_the_new_generation(self, kit: Kit) -> None:
        kit.send("a")
        old = kit.worker("w1")
        lost = old.take()
        kit.reap(["w1"])
        worker = kit.worker("w2")
        _fail_next(worker)
        kit.store.inspection.retry(["a"])
        old.succeed(lost)
        assert kit.state("a") == states.QUEUED

    def test_discard_removes_ended_and_queued_records_and_leaves_held_ones(self, kit: Kit) -> None:
        kit.send("failed", "held", "queued")
        worker = kit.worker()
        worker.fail(worker.take())
        worker.take()
        removed = kit.store.inspection.discard(["failed", "held", "queued", "never"])
        assert sorted(removed) == ["failed", "queued"]
        assert kit.find("failed") is None
        assert kit.find("queued") is None
        assert kit.state("held") == states.LEASED

    def test_discard_of_a_queued_record_follows_its_edges(self, kit: Kit) -> None:
        chain(kit)
        kit.store.inspection.discard(["a"])
        assert kit.find("a") is None
        assert kit.states("b", "c", "e") == [states.CANCELLED, states.CANCELLED, states.QUEUED]


__all__ = ["OperatorSuite"]
