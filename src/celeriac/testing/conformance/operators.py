"""Protocol section 1: what a person may do with ended records. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from celeriac import states
from celeriac.testing.conformance.kit import Kit, Suite, Worker, message
from celeriac.testing.conformance.workflows import chain, members


def _fail_next(worker: Worker) -> str:
    """Fail what is next; its id."""
    delivery = worker.take()
    worker.fail(delivery)
    return delivery.id


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
        reopened = kit.store.inspection.retry(["a"])
        assert (reopened[0], sorted(reopened)) == ("a", ["a", "b", "c"])
        assert kit.states("a", "b", "c") == [states.QUEUED, states.WAITING, states.WAITING]
        assert [kit.get(id).generation for id in "abc"] == [1, 1, 1]
        assert kit.get("b").cause == ""

    def test_retry_of_what_failed_because_of_another_goes_through_that_one(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        _fail_next(worker)
        assert kit.store.inspection.retry(["c"])[0] == "a"
        assert kit.states("a", "b", "c") == [states.QUEUED, states.WAITING, states.WAITING]

    def test_an_errback_runs_once_per_generation(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        _fail_next(worker)
        kit.done(worker, "e")
        kit.store.inspection.retry(["a"])
        assert kit.state("e") == states.WAITING
        _fail_next(worker)
        assert kit.state("e") == states.QUEUED

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

    def test_retry_forgets_the_revoke(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.revoke(["a"])
        worker.again(delivery)
        assert kit.store.inspection.retry(["a"]) == ["a"]
        worker.again(worker.take())
        assert kit.state("a") == states.QUEUED

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
