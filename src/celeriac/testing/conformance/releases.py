"""Protocol section 1: from when and until when a released part may run."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from celeriac import states
from celeriac.message import Edges, NewJoin
from celeriac.testing.conformance.kit import Kit, Suite, message


class PartTimesSuite(Suite):
    """``Edges.delay`` and ``Edges.lasts`` count from the release."""

    def test_a_delay_counts_from_the_release(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, delay=60.0)),
        )
        worker = kit.worker()
        kit.clock.advance(3)
        kit.done(worker, "a")
        assert kit.state("b") == states.SCHEDULED
        assert kit.get("b").due == kit.now() + 60
        kit.tick(61)
        kit.done(kit.worker("w2"), "b")

    def test_an_eta_goes_before_a_delay(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", eta=kit.now() + 5, edges=Edges(waits=True, delay=60.0)),
        )
        due = kit.now() + 5
        kit.done(kit.worker(), "a")
        assert kit.get("b").due == due

    def test_what_lasts_a_while_expires_then_and_takes_along_what_follows(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, success=("c",), lasts=10.0)),
            message("c", edges=Edges(waits=True)),
        )
        worker = kit.worker()
        kit.clock.advance(3)
        kit.done(worker, "a")
        assert kit.state("b") == states.QUEUED
        assert kit.get("b").expires == kit.now() + 10
        kit.tick(11)
        assert kit.states("b", "c") == [states.EXPIRED, states.FAILED]

    def test_a_member_that_expires_where_it_lies_decides_its_join(self, kit: Kit) -> None:
        parts = (
            message("a", edges=Edges(success=("b", "m"))),
            message("b", edges=Edges(True, join=("J", 0), within=("J", 0), lasts=10.0, own=("e",))),
            message("m", edges=Edges(True, join=("J", 1), within=("J", 1))),
            message("body", edges=Edges(waits=True, gathers="J", own=("f",))),
            *(message(id, edges=Edges(waits=True)) for id in "ef"),
        )
        kit.store.queue.enqueue(parts, joins=[NewJoin("J", "body", 2)])
        kit.done(kit.worker(), "a")
        kit.tick(9)
        assert kit.states("b", "body") == [states.QUEUED, states.WAITING]
        kit.tick(2)
        assert kit.states("b", "body") == [states.EXPIRED, states.FAILED]
        assert kit.states("e", "f") == [states.QUEUED, states.QUEUED]

    def test_it_does_not_expire_while_it_waits(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, lasts=2.0)),
        )
        kit.tick(5)
        assert kit.state("b") == states.WAITING
        worker = kit.worker()
        kit.done(worker, "a")
        kit.done(worker, "b")

    def test_what_waits_again_lasts_from_its_next_release(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(failure=("e",))),
            message("e", queue="errors", edges=Edges(waits=True, lasts=10.0, delay=2.0)),
        )
        worker = kit.worker()
        worker.fail(worker.take())
        kit.tick(3, alive=[worker])
        worker.succeed(worker.take(queues=["errors"]))
        assert sorted(kit.store.inspection.retry(["a"])) == ["a", "e"]
        assert kit.get("e").expires is None
        kit.tick(20, alive=[worker])
        assert kit.state("e") == states.WAITING
        worker.fail(worker.take())
        assert kit.state("e") == states.SCHEDULED
        assert (kit.get("e").due, kit.get("e").expires) == (kit.now() + 2, kit.now() + 10)
        kit.tick(12, alive=[worker])
        assert kit.state("e") == states.EXPIRED


__all__ = ["PartTimesSuite"]
