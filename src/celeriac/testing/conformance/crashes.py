"""The crash points of a store: what was applied is there, and the call can be repeated.

The process is not killed here (tests of whole workers do that); the point raises instead.
"""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from celeriac import crashpoints, states
from celeriac.outcome import Outcome
from celeriac.records import Commit, Verdict
from celeriac.testing.conformance.kit import Kit, Suite, message


def _crash(point: str, call: Callable[[], object]) -> None:
    """Make *call* with *point* armed; it must be reached."""
    crashpoints.arm(f"{point}:1:raise")
    try:
        with pytest.raises(crashpoints.CrashpointReached):
            call()
    finally:
        crashpoints.arm("")


class CrashpointSuite(Suite):
    """Every point of a store is reached, and stands where its description says."""

    @pytest.fixture(autouse=True)
    def disarm(self) -> Iterator[None]:
        """Leave no point armed, whatever happens."""
        yield
        crashpoints.arm("")

    def test_after_enqueue_applied_the_record_is_there_and_a_resend_changes_nothing(
        self, kit: Kit
    ) -> None:
        kit.send("opens-the-store")
        _crash("enqueue.applied", lambda: kit.send("a"))
        before = kit.get("a")
        kit.send("a")
        assert kit.get("a") == before

    def test_before_an_exchange_nothing_is_applied(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        delivery = worker.take()
        commit = Commit(delivery.fence, Outcome(states.SUCCEEDED))
        _crash("exchange.before", lambda: worker.exchange([commit], 1))
        assert kit.states("a", "b") == [states.LEASED, states.QUEUED]
        answer = worker.exchange([commit], 1, seq=worker.seq)
        assert answer.verdicts == (Verdict.OK,)
        assert [each.id for each in answer.deliveries] == ["b"]

    def test_after_exchange_applied_the_same_seq_returns_what_was_leased(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        commit = Commit(worker.take().fence, Outcome(states.SUCCEEDED))
        _crash("exchange.applied", lambda: worker.exchange([commit], 1))
        assert kit.states("a", "b") == [states.SUCCEEDED, states.LEASED]
        answer = worker.exchange([commit], 1, seq=worker.seq)
        assert answer.verdicts == (Verdict.ALREADY,)
        assert [each.id for each in answer.deliveries] == ["b"]

    def test_after_release_applied_a_repeat_reads_already(self, kit: Kit) -> None:
        kit.send("a")
        fence = kit.worker().take().fence
        _crash("release.applied", lambda: kit.store.queue.release("w1", [fence]))
        assert kit.state("a") == states.QUEUED
        assert kit.store.queue.release("w1", [fence]) == (Verdict.ALREADY,)

    def test_after_beat_applied_the_lease_is_extended(self, kit: Kit) -> None:
        worker = kit.worker()
        kit.clock.advance(10)
        _crash("beat.applied", worker.beat)
        kit.clock.advance(10)
        (view,) = kit.store.inspection.workers()
        assert view.alive

    def test_after_reap_applied_a_repeat_changes_nothing_more(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker().take()
        _crash("reap.applied", lambda: kit.reap(["w1"]))
        kit.reap(["w1"])
        assert (kit.state("a"), kit.get("a").losses) == (states.QUEUED, 1)

    def test_after_close_applied_nothing_is_held(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker().take()
        _crash("close.applied", lambda: kit.store.queue.close_owner("w1"))
        assert (kit.state("a"), kit.store.inspection.workers()) == (states.QUEUED, [])
        assert kit.store.queue.close_owner("w1") == 0

    def test_after_a_join_is_opened_and_sealed_the_calls_can_be_repeated(self, kit: Kit) -> None:
        body = message("body")
        _crash("enqueue.applied", lambda: kit.store.queue.open_join("J", body))
        kit.store.queue.open_join("J", body)
        _crash("enqueue.applied", lambda: kit.store.queue.seal("J", 0))
        kit.store.queue.seal("J", 0)
        assert kit.state("body") == states.QUEUED


__all__ = ["CrashpointSuite"]
