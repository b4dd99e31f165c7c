"""Protocol section 2: enqueue; order; eta, expiry; parking. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from celeriac import states
from celeriac.exceptions import DuplicateTask
from celeriac.message import Alike, Edges, Header
from celeriac.records import RevokeEffect, TaskFacts, Verdict
from celeriac.testing.conformance.kit import Kit, Suite, message


class EnqueueSuite(Suite):
    """All or none; resends; duplicates; new runs."""

    def test_a_record_exists_from_enqueue_on(self, kit: Kit) -> None:
        kit.send("a", priority=3)
        record = kit.get("a")
        assert (record.state, record.task, record.queue) == (states.QUEUED, "job", "celery")
        assert (record.priority, record.attempt, record.generation) == (3, 0, 0)
        assert record.enqueued_at == kit.now()
        assert record.wire == message("a", priority=3).encode()

    def test_enqueue_of_nothing_is_nothing(self, kit: Kit) -> None:
        kit.store.queue.enqueue([])
        assert kit.store.inspection.counts().states == {}

    def test_an_eta_ahead_makes_it_scheduled(self, kit: Kit) -> None:
        kit.send("a", eta=kit.now() + 5)
        assert kit.state("a") == states.SCHEDULED
        assert kit.get("a").due == kit.now() + 5

    def test_an_eta_that_has_passed_makes_it_queued(self, kit: Kit) -> None:
        kit.send("a", eta=kit.now() - 5)
        assert kit.state("a") == states.QUEUED

    def test_a_part_that_waits_is_stored_waiting(self, kit: Kit) -> None:
        kit.send("a", edges=Edges(waits=True))
        assert kit.state("a") == states.WAITING
        assert kit.worker().lease() == []

    def test_same_id_and_nonce_is_a_resend_and_changes_nothing(self, kit: Kit) -> None:
        kit.send("a")
        before = kit.get("a")
        kit.clock.advance(1)
        kit.send("a")
        assert kit.get("a") == before
        assert len(kit.worker().lease(5)) == 1

    def test_a_resend_is_nothing_while_it_runs_and_after_it_ended(self, kit: Kit) -> None:
        worker = kit.worker()
        kit.send("a")
        delivery = worker.take()
        kit.send("a")
        assert kit.state("a") == states.LEASED
        worker.succeed(delivery)
        kit.send("a")
        assert kit.state("a") == states.SUCCEEDED

    def test_another_nonce_on_a_living_id_is_refused(self, kit: Kit) -> None:
        kit.send("a")
        with pytest.raises(DuplicateTask, match="a"):
            kit.send("a", nonce="other")

    def test_one_refused_message_refuses_the_whole_call(self, kit: Kit) -> None:
        kit.send("a")
        with pytest.raises(DuplicateTask):
            kit.enqueue(message("b"), message("a", nonce="other"), message("c"))
        assert kit.find("b") is None
        assert kit.find("c") is None
        assert len(kit.worker().lease(9)) == 1

    def test_two_calls_with_one_id_in_one_enqueue_are_refused(self, kit: Kit) -> None:
        with pytest.raises(DuplicateTask):
            kit.enqueue(message("a", nonce="1"), message("a", nonce="2"))
        assert kit.find("a") is None

    def test_a_message_twice_in_one_enqueue_is_stored_once(self, kit: Kit) -> None:
        kit.enqueue(message("a"), message("a"))
        assert len(kit.worker().lease(9)) == 1

    def test_another_nonce_on_an_ended_id_is_a_new_run(self, kit: Kit) -> None:
        worker = kit.worker()
        kit.send("a")
        kit.done(worker, "a")
        kit.send("a", nonce="again")
        record = kit.get("a")
        assert (record.state, record.generation, record.body) == (states.QUEUED, 1, None)
        second = worker.take()
        assert second.attempt == 2
        assert worker.succeed(second, b"second") is Verdict.OK
        assert kit.get("a").body == b"second"


class AlikeSuite(Suite):
    """Calls of one task together, as ``app.enqueue_many`` sends them: stored as any others."""

    def test_messages_alike_are_stored_as_each_would_be(self, kit: Kit) -> None:
        sent = _alike("abc", queue="other", priority=4, origin="me", sent=1.5)
        kit.store.queue.enqueue(sent)
        taken = kit.worker().lease(5, queues=["other"])
        assert [each.id for each in taken] == ["a", "b", "c"]
        assert [each.wire for each in taken] == [each.encode() for each in sent]
        kit.enqueue(message("d", queue="other", priority=4))
        first, last = kit.get("a"), kit.get("d")
        assert (first.queue, first.priority, first.task) == (last.queue, last.priority, last.task)
        assert (first.expires, first.due, first.enqueued_at) == (None, None, kit.now())

    def test_messages_alike_ring(self, kit: Kit) -> None:
        kit.store.queue.enqueue(_alike("a"))
        assert kit.store.queue.wait(["celery"], 0.0)

    def test_messages_alike_with_long_arguments_are_stored(self, kit: Kit) -> None:
        payloads = [b'[["%b"],{}]' % (b"x" * size) for size in (3, 300, 70_000)]
        sent = _alike("abc", payloads)
        kit.store.queue.enqueue(sent)
        assert [kit.get(id).wire for id in "abc"] == [each.encode() for each in sent]

    def test_messages_alike_keep_eta_expiry_and_edges(self, kit: Kit) -> None:
        kit.store.queue.enqueue(_alike("ab", eta=kit.now() + 5))
        kit.store.queue.enqueue(_alike("cd", expires=kit.now() + 5))
        kit.store.queue.enqueue(_alike("ef", edges=Edges(waits=True)))
        assert kit.states(*"abef") == [states.SCHEDULED] * 2 + [states.WAITING] * 2
        assert [kit.get(id).expires for id in "cd"] == [kit.now() + 5] * 2

    def test_messages_alike_sent_again_are_a_resend(self, kit: Kit) -> None:
        sent = _alike("abc")
        kit.store.queue.enqueue(sent[:2])
        worker = kit.worker()
        worker.succeed(worker.take())
        kit.store.queue.enqueue(sent)
        assert kit.states(*"abc") == [states.SUCCEEDED, states.QUEUED, states.QUEUED]
        assert [each.id for each in worker.lease(5)] == ["b", "c"]

    def test_a_living_id_among_messages_alike_refuses_all(self, kit: Kit) -> None:
        kit.send("b", nonce="another")
        with pytest.raises(DuplicateTask, match="b"):
            kit.store.queue.enqueue(_alike("abc"))
        assert [kit.find(id) for id in "ac"] == [None, None]

    def test_an_ended_id_among_messages_alike_is_a_new_run(self, kit: Kit) -> None:
        kit.send("b", nonce="another")
        kit.done(kit.worker(), "b")
        kit.store.queue.enqueue(_alike("abc"))
        assert [kit.get(id).generation for id in "abc"] == [0, 1, 0]
        assert len(kit.worker("w2").lease(5)) == 3

    def test_a_revoked_id_among_messages_alike_does_not_run(self, kit: Kit) -> None:
        kit.store.queue.revoke(["b"])
        kit.store.queue.enqueue(_alike("abc"))
        assert kit.states(*"abc") == [states.QUEUED, states.CANCELLED, states.QUEUED]


def _alike(ids: str, payloads: Sequence[bytes] = (), **header: Any) -> Alike:
    """Calls of the task ``job``, an id each letter."""
    first = Header(id="", task="job", nonce="", **header)
    calls = [(id, f"sent-{id}") for id in ids]
    return Alike(first, calls, payloads or [b"[[%d],{}]" % at for at in range(len(ids))])


class OrderSuite(Suite):
    """Priorities, sequence, round robin, due times, expiry, parking."""

    def test_within_a_queue_the_highest_priority_then_the_oldest_is_first(self, kit: Kit) -> None:
        kit.enqueue(
            message("low", priority=0),
            message("mid", priority=5),
            message("high", priority=9),
            message("mid2", priority=5),
        )
        assert [each.id for each in kit.worker().lease(9)] == ["high", "mid", "mid2", "low"]

    def test_queues_are_served_round_robin_whatever_the_priorities(self, kit: Kit) -> None:
        kit.send("a1", "a2", "a3", queue="a", priority=9)
        kit.send("b1", "b2", "b3", queue="b")
        taken = kit.worker().lease(4, queues=["a", "b"])
        assert sorted(each.id for each in taken) == ["a1", "a2", "b1", "b2"]

    def test_round_robin_goes_on_from_one_exchange_to_the_next(self, kit: Kit) -> None:
        kit.send("a1", "a2", queue="a")
        kit.send("b1", "b2", queue="b")
        worker = kit.worker()
        taken = [worker.take(queues=["a", "b"]).queue for _ in range(4)]
        assert sorted(taken[:2]) == ["a", "b"]
        assert sorted(taken[2:]) == ["a", "b"]

    def test_only_the_queues_asked_for_are_served(self, kit: Kit) -> None:
        kit.send("a", queue="a")
        kit.send("b", queue="b")
        assert [each.id for each in kit.worker().lease(9, queues=["b"])] == ["b"]

    def test_a_delivery_carries_the_message_and_its_counts(self, kit: Kit) -> None:
        kit.send("a")
        delivery = kit.worker("w").take()
        assert delivery.wire == message("a").encode()
        assert (delivery.attempt, delivery.nonce, delivery.queue) == (1, "w.0.1", "celery")
        assert (delivery.retries, delivery.crashes, delivery.losses) == (0, 0, 0)

    def test_what_is_scheduled_is_leased_when_due_and_not_before(self, kit: Kit) -> None:
        kit.send("a", eta=kit.now() + 5)
        worker = kit.worker()
        kit.clock.advance(4.9)
        assert worker.lease() == []
        kit.clock.advance(0.1)
        assert worker.take().id == "a"

    def test_what_falls_due_keeps_its_place_by_sequence(self, kit: Kit) -> None:
        kit.send("early", eta=kit.now() + 5)
        kit.send("late")
        kit.clock.advance(6)
        assert [each.id for each in kit.worker().lease(9)] == ["early", "late"]

    def test_what_has_expired_ends_instead_of_being_leased(self, kit: Kit) -> None:
        kit.send("a", expires=kit.now() + 5)
        kit.send("b")
        kit.clock.advance(5)
        assert [each.id for each in kit.worker().lease(9)] == ["b"]
        assert kit.state("a") == states.EXPIRED
        assert kit.get("a").reason == "TaskRevokedError: expired"

    def test_expiry_is_swept_without_any_worker(self, kit: Kit) -> None:
        kit.send("queued", expires=kit.now() + 5)
        kit.send("elsewhere", expires=kit.now() + 5, queue="nobody")
        kit.send("scheduled", expires=kit.now() + 5, eta=kit.now() + 4.5)
        kit.send("waiting", expires=kit.now() + 5, edges=Edges(waits=True))
        kit.send("later", expires=kit.now() + 50)
        passes = kit.tick(6)
        ids = ("queued", "elsewhere", "scheduled", "waiting")
        assert kit.states(*ids) == [states.EXPIRED] * 4
        assert kit.state("later") == states.QUEUED
        assert sum(each.expired for each in passes) == 4

    def test_expiry_does_not_end_what_runs_but_ends_its_retry(self, kit: Kit) -> None:
        worker = kit.worker()
        kit.send("a", expires=kit.now() + 5)
        delivery = worker.take()
        kit.tick(6, alive=[worker])
        assert kit.state("a") == states.LEASED
        assert worker.again(delivery) is Verdict.OK
        assert kit.state("a") == states.EXPIRED

    def test_more_tells_that_due_work_was_left_behind(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        assert worker.exchange((), 1).more
        assert not worker.exchange((), 1).more


class ParkingSuite(Suite):
    """Names no worker knows."""

    def test_an_unknown_name_is_parked_and_stays_queued(self, kit: Kit) -> None:
        kit.send("x", task="strange")
        kit.send("a")
        assert [each.id for each in kit.worker().lease(9)] == ["a"]
        record = kit.get("x")
        assert (record.state, record.parked) == (states.QUEUED, True)
        assert kit.store.inspection.counts().parked == {"celery": {"strange": 1}}

    def test_a_worker_that_registers_the_name_unparks_it(self, kit: Kit) -> None:
        kit.send("x", task="strange")
        kit.worker("w1").lease()
        knows = kit.worker("w2", ["strange"])
        assert not kit.get("x").parked
        assert kit.store.inspection.counts().parked == {}
        assert knows.take().id == "x"

    def test_what_is_unparked_takes_a_new_sequence(self, kit: Kit) -> None:
        kit.send("x", task="strange")
        kit.send("a")
        kit.worker("w1").take()
        kit.send("b")
        knows = kit.worker("w2", ["job", "strange"])
        assert [each.id for each in knows.lease(2)] == ["b", "x"]

    def test_an_exchange_takes_what_is_parked_if_its_owner_knows_the_name(self, kit: Kit) -> None:
        ignorant = kit.worker("w1", ["job"])
        knows = kit.worker("w2", ["job", "strange"])
        kit.send("x", task="strange")
        kit.send("a")
        assert [each.id for each in ignorant.lease(1)] == ["a"]
        assert kit.get("x").parked
        kit.send("b")
        assert [each.id for each in knows.lease(1)] == ["x"]
        assert not kit.get("x").parked

    def test_nothing_is_scanned_past_the_head_but_nothing_blocks_it(self, kit: Kit) -> None:
        kit.send(*(f"x{i}" for i in range(50)), task="strange")
        kit.send("a")
        assert [each.id for each in kit.worker().lease(1)] == ["a"]
        assert kit.store.inspection.counts().parked == {"celery": {"strange": 50}}

    def test_what_is_parked_can_be_revoked_expired_and_purged(self, kit: Kit) -> None:
        kit.send("r", task="strange")
        kit.send("e", task="strange", expires=kit.now() + 3)
        kit.send("p", task="strange")
        kit.worker().lease()
        assert kit.store.queue.revoke(["r"]) == {"r": RevokeEffect.REVOKED}
        kit.tick(4)
        assert kit.store.queue.purge(["celery"]) == 1
        assert kit.states("r", "e", "p") == [states.CANCELLED, states.EXPIRED, states.CANCELLED]
        assert kit.store.inspection.counts().parked == {}


class WantSuite(Suite):
    """How many an exchange may lease, and which."""

    def test_free_slots_take_anything(self, kit: Kit) -> None:
        kit.send(*"abc")
        assert len(kit.worker().lease(2)) == 2

    def test_a_want_of_nothing_leases_nothing(self, kit: Kit) -> None:
        kit.send("a")
        assert kit.worker().lease(0) == []
        assert kit.state("a") == states.QUEUED

    def test_ahead_of_the_slots_only_brief_names_are_leased(self, kit: Kit) -> None:
        kit.send("a", "b", "c")
        worker = kit.worker()
        assert len(worker.lease(1, ahead=5)) == 1
        assert [each.id for each in worker.lease(0, ahead=1, brief=["job"])] == ["b"]

    def test_free_and_ahead_are_counted_apart(self, kit: Kit) -> None:
        kit.send(*(f"m{i}" for i in range(9)))
        assert len(kit.worker().lease(2, ahead=3, brief=["job"])) == 5

    def test_what_has_crashed_is_leased_only_into_a_free_slot(self, kit: Kit) -> None:
        worker = kit.worker()
        kit.send("a")
        worker.again(worker.take(), charge="crash")
        assert kit.get("a").crashes == 1
        assert worker.lease(0, ahead=5, brief=["job"]) == []
        assert worker.take().crashes == 1

    def test_what_was_lost_is_leased_only_into_a_free_slot(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        kit.reap(["w1"])
        worker = kit.worker("w2")
        assert worker.lease(0, ahead=5, brief=["job"]) == []
        assert worker.take().losses == 1

    def test_at_most_once_is_leased_only_into_a_free_slot(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker(tasks={"job": TaskFacts(late=False)})
        assert worker.lease(0, ahead=5, brief=["job"]) == []
        assert worker.take().id == "a"


__all__ = ["AlikeSuite", "EnqueueSuite", "OrderSuite", "ParkingSuite", "WantSuite"]
