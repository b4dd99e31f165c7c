"""Protocol section 1: errbacks of one part, and of what comes before it. Names state the rules."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import pytest

from celeriac import states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.testing.conformance.kit import Kit, Suite, message
from celeriac.testing.conformance.plans import body

WAITS = Edges(waits=True)


def pair(kit: Kit) -> None:
    """A → b → c; errback e is about b's own run, f about whatever fails up to b."""
    kit.enqueue(
        message("a", edges=Edges(success=("b",))),
        message("b", edges=Edges(waits=True, success=("c",), failure=("f",), own=("e",))),
        message("c", edges=WAITS),
        message("e", queue="errors", edges=Edges(waits=True, told="b", success=("after",))),
        message("after", edges=WAITS),
        message("f", queue="errors", edges=Edges(waits=True, told="b")),
    )


class ErrbackSuite(Suite):
    """``Edges.own`` beside ``Edges.failure``."""

    def test_a_failure_of_its_own_releases_both(self, kit: Kit) -> None:
        pair(kit)
        worker = kit.worker()
        kit.done(worker, "a")
        worker.fail(worker.take())
        assert kit.states("b", "c", "e", "f") == [
            states.FAILED,
            states.FAILED,
            states.QUEUED,
            states.QUEUED,
        ]
        assert kit.state("after") == states.WAITING

    @pytest.mark.parametrize("end", [states.FAILED, states.CANCELLED, states.SKIPPED])
    def test_a_failure_before_it_ends_those_of_its_own_as_ignored(self, kit: Kit, end: str) -> None:
        pair(kit)
        worker = kit.worker()
        worker.commit(worker.take(), Outcome(end))
        assert kit.states("e", "after", "f") == [states.SKIPPED, states.SKIPPED, states.QUEUED]
        assert kit.get("e").reason == "not needed: b did not run, because of a"
        assert kit.get("after").reason == "not needed: e was not"
        assert [kit.get(id).cause for id in ("e", "after")] == ["a", "a"]

    def test_a_success_ends_both_as_ignored(self, kit: Kit) -> None:
        pair(kit)
        worker = kit.worker()
        kit.done(worker, "a")
        kit.done(worker, "b")
        assert kit.states("e", "after", "f") == [states.SKIPPED] * 3
        assert kit.get("e").reason == "not needed: b ended without failure"

    def test_an_expiry_or_a_revoke_at_its_release_is_its_own(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", expires=kit.now() + 5, edges=Edges(waits=True, own=("e",))),
            message("e", edges=WAITS),
        )
        worker = kit.worker()
        delivery = worker.take()
        kit.clock.advance(6)
        worker.succeed(delivery)
        assert kit.states("b", "e") == [states.EXPIRED, states.QUEUED]

    def test_a_revoke_of_it_releases_those_of_its_own(self, kit: Kit) -> None:
        pair(kit)
        kit.store.queue.revoke(["b"])
        assert kit.states("b", "e", "f") == [states.CANCELLED, states.QUEUED, states.QUEUED]

    def test_a_body_whose_join_failed_has_failed_itself(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body(own=("e",)), [message("e", edges=WAITS)])
        kit.enqueue(message("m", edges=Edges(join=("J", 0), within=("J", 0))), join="J")
        kit.store.queue.seal("J", 1)
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.states("body", "e") == [states.FAILED, states.QUEUED]

    def test_a_body_whose_header_was_given_up_has_failed_itself(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body(own=("e",)), [message("e", edges=WAITS)])
        kit.tick(64)
        assert kit.states("body", "e") == [states.FAILED, states.QUEUED]

    def test_a_retry_by_an_operator_lets_them_wait_again(self, kit: Kit) -> None:
        pair(kit)
        worker = kit.worker()
        worker.fail(worker.take())
        worker.succeed(worker.take(queues=["errors"]))
        assert kit.state("f") == states.SUCCEEDED
        reopened = kit.store.inspection.retry(["a"])
        assert (reopened[0], sorted(reopened)) == ("a", ["a", "after", "b", "c", "e", "f"])
        ids = ("a", "b", "c", "e", "f", "after")
        assert kit.states(*ids) == [states.QUEUED, *[states.WAITING] * 5]
        kit.done(worker, "a")
        worker.fail(worker.take())
        assert kit.state("e") == states.QUEUED

    def test_a_wide_set_of_them_is_finished_by_the_reaper(self, kit: Kit) -> None:
        wide = tuple(f"e{number}" for number in range(1200))
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, own=wide)),
            *(message(id, edges=WAITS) for id in wide),
        )
        worker = kit.worker()
        worker.fail(worker.take())
        for _ in range(5):
            kit.reap()
        assert kit.store.inspection.counts().states["celery"] == {
            states.FAILED: 2,
            states.SKIPPED: 1200,
        }

    def test_its_message_is_kept_as_long_as_it_may_be_needed(self, kit: Kit) -> None:
        """An ignored errback is a short-lived record; a retry of what it belongs to needs it."""
        kit.configure(result_expires=5.0)
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, own=("e",))),
            message("e", edges=WAITS),
        )
        worker = kit.worker()
        worker.fail(worker.take())
        kit.tick(30, alive=[worker])
        assert sorted(kit.store.inspection.retry(["a"])) == ["a", "b", "e"]
        assert kit.states("a", "b", "e") == [states.QUEUED, states.WAITING, states.WAITING]


__all__ = ["ErrbackSuite", "pair"]
