"""The crash points of a store: what was applied is there, and the call can be repeated.

The process is not killed here (tests of whole workers do that); the point raises instead.
"""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from celeriac import crashpoints, states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import Commit, RevokeEffect, Verdict
from celeriac.testing.conformance.dynamic import adding, group_for
from celeriac.testing.conformance.kit import Kit, Suite, message
from celeriac.testing.conformance.plans import body, plan


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

    def test_after_revoke_applied_it_is_revoked_and_a_repeat_says_so(self, kit: Kit) -> None:
        kit.send("a")
        _crash("revoke.applied", lambda: kit.store.queue.revoke(["a"]))
        assert kit.state("a") == states.CANCELLED
        assert kit.store.queue.revoke(["a"]) == {"a": RevokeEffect.REVOKED}

    def test_after_purge_applied_the_batch_has_ended_and_a_repeat_ends_the_rest(
        self, kit: Kit
    ) -> None:
        kit.send("a")
        _crash("purge.applied", lambda: kit.store.queue.purge(["celery"]))
        kit.store.queue.purge(["celery"])
        assert kit.state("a") == states.CANCELLED
        assert kit.store.queue.purge(["celery"]) == 0

    def test_after_retry_applied_it_is_reopened_once(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.exchange([Commit(worker.take().fence, Outcome(states.FAILED))])
        _crash("retry.applied", lambda: kit.store.inspection.retry(["a"]))
        assert (kit.state("a"), kit.get("a").generation) == (states.QUEUED, 1)
        assert kit.store.inspection.retry(["a"]) == []
        kit.done(worker, "a")

    def test_after_discard_applied_it_is_gone_and_what_it_was_for_has_ended(self, kit: Kit) -> None:
        parts, joins = plan(1)
        kit.store.queue.enqueue(parts, None, joins)
        _crash("discard.applied", lambda: kit.store.inspection.discard(["J-0"]))
        assert kit.find("J-0") is None
        assert kit.state("body") == states.FAILED
        assert kit.store.inspection.discard(["J-0"]) == []

    def test_after_a_join_is_opened_and_sealed_the_calls_can_be_repeated(self, kit: Kit) -> None:
        opened = message("body")
        _crash("enqueue.applied", lambda: kit.store.queue.open_join("J", opened))
        kit.store.queue.open_join("J", opened)
        _crash("enqueue.applied", lambda: kit.store.queue.seal("J", 0))
        kit.store.queue.seal("J", 0)
        assert kit.state("body") == states.QUEUED

    def test_after_a_plan_is_stored_all_of_it_is_there_and_can_be_sent_again(
        self, kit: Kit
    ) -> None:
        parts, joins = plan(2)
        _crash("enqueue.applied", lambda: kit.store.queue.enqueue(parts, None, joins))
        assert kit.states("body", "J-0", "J-1") == [states.WAITING, states.QUEUED, states.QUEUED]
        worker = kit.worker()
        kit.done(worker, "J-0")
        kit.store.queue.enqueue(parts, None, joins)
        kit.done(worker, "J-1")
        kit.done(worker, "body")
        assert worker.lease(5) == []

    def test_before_a_replacement_nothing_is_stored_and_after_it_all(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        commit = Commit(worker.take().fence, group_for("a", 2))
        _crash("exchange.before", lambda: worker.exchange([commit]))
        assert kit.find("R-0") is None
        assert kit.store.inspection.join("R") is None
        _crash("exchange.applied", lambda: worker.exchange([commit], seq=worker.seq))
        assert kit.states("a", "R-0", "R-1") == [states.WAITING, states.QUEUED, states.QUEUED]
        assert worker.exchange([commit], seq=worker.seq).verdicts == (Verdict.ALREADY,)
        for id in ("R-0", "R-1", "a"):
            kit.done(worker, id)

    def test_after_a_member_is_added_a_repeat_adds_none(self, kit: Kit) -> None:
        parts, joins = plan(1)
        kit.store.queue.enqueue(parts, None, joins)
        worker = kit.worker()
        commit = Commit(worker.take().fence, adding(0))
        _crash("exchange.applied", lambda: worker.exchange([commit]))
        worker.exchange([commit], seq=worker.seq)
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.size, view.members) == (2, (0,))

    def test_between_the_steps_that_end_what_was_never_sent_the_next_pass_goes_on(
        self, kit: Kit
    ) -> None:
        kit.store.queue.open_join("J", body())
        waiting = [
            message(f"m{index}", edges=Edges(waits=True, join=("J", index)))
            for index in range(1200)
        ]
        kit.enqueue(*waiting, join="J")
        kit.tick(58)
        kit.clock.advance(4)
        _crash("reap.applied", kit.reap)
        kit.reap()
        assert kit.store.inspection.counts().states["celery"] == {states.FAILED: 1201}


__all__ = ["CrashpointSuite"]
