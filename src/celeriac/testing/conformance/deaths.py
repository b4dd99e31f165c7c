"""Protocol sections 4 and 5: lost owners, revoke, clocks. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import pytest

from celeriac import states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import RevokeEffect, TaskFacts, Verdict
from celeriac.testing.conformance.kit import Kit, Suite, Worker, message


class DeathSuite(Suite):
    """What becomes of what a lost owner held."""

    def test_an_owner_that_beats_keeps_its_lease_for_ever(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.tick(120, alive=[worker])
        assert kit.state("a") == states.LEASED
        assert worker.succeed(delivery) is Verdict.OK

    def test_an_owner_that_is_silent_for_a_lease_is_lost(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        kit.tick(14)
        assert kit.state("a") == states.LEASED
        passes = kit.tick(4)
        assert ("w1",) in [each.owners for each in passes]
        record = kit.get("a")
        assert (record.state, record.owner) == (states.QUEUED, None)
        assert (record.losses, record.crashes, record.retries, record.attempt) == (1, 0, 0, 1)
        assert kit.store.inspection.workers() == []

    def test_a_lost_owner_is_told_by_beat_and_exchange(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.take()
        kit.reap(["w1"])
        beat = kit.store.queue.beat("w1")
        assert beat.lost
        assert worker.exchange((), 1).lost

    def test_an_owner_known_to_be_dead_is_reaped_whatever_the_time(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        kit.worker("w2")
        reaped = kit.reap(["w1", "never-known"])
        assert (reaped.owners, reaped.requeued) == (("w1",), 1)
        assert [each.owner for each in kit.store.inspection.workers()] == ["w2"]
        assert kit.reap(["w1"]).requeued == 0

    def test_a_lost_owner_is_told_by_the_name_of_its_worker(self, kit: Kit) -> None:
        kit.worker("w1", hostname="first@host", pid=11)
        kit.worker("w2", hostname="second@host", pid=22)
        kit.worker("w3")
        assert kit.reap(["w1", "w2"]).workers == (
            "worker first@host (pid 11)",
            "worker second@host (pid 22)",
        )
        assert kit.reap(["w3"]).workers == ("worker w3 (pid 0)",)
        assert kit.reap().workers == ()

    def test_a_beat_reaps_others_once_per_interval(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        worker = kit.worker("w2")
        reaped = []
        for _ in range(20):
            kit.clock.advance(1)
            reaped.append(kit.store.queue.beat("w2").reaped)
        assert kit.state("a") == states.QUEUED
        passes = [each for each in reaped if each is not None]
        assert 9 <= len(passes) <= 11
        assert worker.take().id == "a"

    def test_the_first_loss_keeps_the_place_in_the_queue(self, kit: Kit) -> None:
        kit.send("a", "b")
        kit.worker("w1").take()
        kit.reap(["w1"])
        assert kit.worker("w2").take().id == "a"

    def test_from_the_second_loss_on_it_waits_with_jitter(self, kit: Kit) -> None:
        kit.send("a")
        for name in ("w1", "w2"):
            kit.worker(name).take()
            kit.reap([name])
        record = kit.get("a")
        assert (record.state, record.losses) == (states.SCHEDULED, 2)
        # 0.5 to 1.5 times the delay; the tests' random number is 0.5.
        assert record.due == pytest.approx(kit.now() + kit.options.loss_delay)

    def test_from_the_second_loss_on_the_lease_is_the_start(self, kit: Kit) -> None:
        kit.send("a")
        for name in ("w1", "w2"):
            kit.worker(name).take()
            kit.reap([name])
        kit.clock.advance(kit.options.loss_delay)
        kit.worker("w3").take()
        assert kit.state("a") == states.RUNNING

    def test_ten_losses_make_it_dead_with_its_reason(self, kit: Kit) -> None:
        kit.configure(max_losses=3)
        kit.send("a")
        for turn in range(3):
            kit.clock.advance(kit.options.loss_delay)
            kit.worker(f"w{turn}").take()
            reaped = kit.reap([f"w{turn}"])
        assert reaped.dead == 1
        record = kit.get("a")
        assert (record.state, record.losses, record.crashes) == (states.DEAD, 3, 0)
        assert record.reason.startswith("DeadTaskError:")
        assert record.wire is not None

    def test_at_most_once_fails_when_its_owner_is_lost(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1", {"job": TaskFacts(late=False)}, hostname="box", pid=77).take()
        assert kit.reap(["w1"]).failed == 1
        assert kit.state("a") == states.FAILED
        assert kit.get("a").reason == (
            "WorkerLostError: worker box (pid 77) stopped beating while it held this task"
        )

    def test_requeue_lost_false_fails_at_the_first_loss(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1", {"job": TaskFacts(requeue_lost=False)}).take()
        kit.reap(["w1"])
        assert kit.state("a") == states.FAILED
        assert kit.get("a").reason.startswith("WorkerLostError:")

    def test_the_stamp_is_that_of_the_lease(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1", {"job": TaskFacts(late=False)})
        worker = kit.worker("w2")
        worker.take()
        kit.reap(["w2"])
        assert kit.state("a") == states.QUEUED

    def test_what_expired_meanwhile_is_not_requeued(self, kit: Kit) -> None:
        kit.send("a", expires=kit.now() + 5)
        kit.worker("w1").take()
        kit.clock.advance(6)
        kit.reap(["w1"])
        assert kit.state("a") == states.EXPIRED

    def test_an_owner_can_read_its_leases(self, kit: Kit) -> None:
        kit.send("a", "b", "c", "d")
        worker = kit.worker("w1")
        a, b, c = worker.lease(3)
        (d,) = kit.worker("w2").lease(1)
        worker.succeed(a)
        kit.store.queue.beat("w1", started=[b.fence])
        assert set(kit.store.queue.leases("w1")) == {b.fence, c.fence}
        assert kit.store.queue.leases("w2") == [d.fence]
        kit.reap(["w1"])
        assert kit.store.queue.leases("w1") == kit.store.queue.leases("never") == []

    def test_a_lost_record_follows_its_edges(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("next",), failure=("errback",))),
            message("next", edges=Edges(waits=True)),
            message("errback", edges=Edges(waits=True)),
        )
        kit.worker("w1", {"job": TaskFacts(late=False)}).take()
        kit.reap(["w1"])
        assert kit.states("a", "next", "errback") == [states.FAILED, states.FAILED, states.QUEUED]


class ClockSuite(Suite):
    """Leases live by time that passes, not by what the wall clock says."""

    @pytest.mark.parametrize("jump", [3600.0, -3600.0])
    def test_a_step_of_the_wall_clock_loses_no_lease(self, kit: Kit, jump: float) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.take()
        kit.tick(4, alive=[worker])
        kit.clock.jump_wall(jump)
        passes = kit.tick(4, alive=[worker])
        assert [each.owners for each in passes if each.owners] == []
        assert kit.state("a") == states.LEASED

    def test_a_reaper_that_slept_gives_everybody_a_lease_first(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.take()
        kit.reap()
        kit.clock.advance(60)
        assert kit.reap().owners == ()
        assert kit.state("a") == states.LEASED
        kit.tick(14)
        assert kit.state("a") == states.LEASED
        kit.tick(4)
        assert kit.state("a") == states.QUEUED

    def test_a_reaper_that_slept_still_reaps_the_dead_it_was_told_of(self, kit: Kit) -> None:
        kit.worker("w1")
        kit.worker("w2")
        kit.reap()
        kit.clock.advance(60)
        assert kit.reap(["w1"]).owners == ("w1",)

    def test_a_reaper_that_slept_skips_retention_in_that_pass(self, kit: Kit) -> None:
        kit.configure(result_expires=10.0)
        kit.send("a")
        kit.done(kit.worker(), "a")
        kit.reap()
        kit.clock.advance(60)
        assert kit.reap().swept == 0
        assert kit.find("a") is not None
        kit.clock.advance(1)
        assert kit.reap().swept == 1

    def test_a_wall_clock_set_forward_skips_retention_in_that_pass(self, kit: Kit) -> None:
        kit.configure(result_expires=3600.0)
        kit.send("a")
        kit.done(kit.worker(), "a")
        kit.reap()
        kit.clock.jump_wall(1800)
        assert kit.reap().swept == 0
        assert kit.find("a") is not None


class RevokeSuite(Suite):
    """A revoke is durable, and checked wherever a record could run again."""

    @pytest.mark.parametrize("kind", ["queued", "scheduled", "waiting"])
    def test_what_has_not_begun_ends_now(self, kit: Kit, kind: str) -> None:
        eta = kit.now() + 9 if kind == "scheduled" else None
        kit.send("a", eta=eta, edges=Edges(waits=True) if kind == "waiting" else None)
        assert kit.state("a") == kind
        assert kit.store.queue.revoke(["a"]) == {"a": RevokeEffect.REVOKED}
        assert kit.state("a") == states.CANCELLED
        assert kit.get("a").reason == "TaskRevokedError: revoked"
        kit.clock.advance(20)
        assert kit.worker().lease() == []

    def test_revoke_can_be_repeated(self, kit: Kit) -> None:
        kit.send("a")
        kit.store.queue.revoke(["a"])
        assert kit.store.queue.revoke(["a"]) == {"a": RevokeEffect.REVOKED}

    def test_what_has_ended_stays_as_it_is(self, kit: Kit) -> None:
        kit.send("a")
        kit.done(kit.worker(), "a")
        assert kit.store.queue.revoke(["a"]) == {"a": RevokeEffect.ENDED}
        assert kit.state("a") == states.SUCCEEDED

    def test_an_unknown_id_leaves_a_tombstone_that_the_enqueue_meets(self, kit: Kit) -> None:
        assert kit.store.queue.revoke(["a"]) == {"a": RevokeEffect.UNKNOWN}
        assert kit.find("a") is None
        kit.send("a", "b")
        assert kit.states("a", "b") == [states.CANCELLED, states.QUEUED]
        assert [each.id for each in kit.worker().lease(5)] == ["b"]

    def test_the_tombstone_lapses(self, kit: Kit) -> None:
        kit.configure(revoke_expires=20.0)
        kit.store.queue.revoke(["a"])
        kit.tick(22)
        kit.send("a")
        assert kit.state("a") == states.QUEUED

    def test_what_is_held_is_told_to_its_owner_at_its_beat(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        a, _ = worker.lease(2)
        assert kit.store.queue.revoke(["a"], "SIGTERM") == {"a": RevokeEffect.PENDING}
        assert kit.state("a") == states.LEASED
        (order,) = kit.store.queue.beat("w1").revoked
        assert (order.fence, order.terminate) == (a.fence, "SIGTERM")
        record = kit.get("a")
        assert (record.revoked, record.terminate) == (True, "SIGTERM")

    def test_without_terminate_the_outcome_of_a_running_task_stands(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.revoke(["a"])
        assert kit.store.queue.beat("w1").revoked[0].terminate is None
        assert worker.succeed(delivery) is Verdict.OK
        assert kit.state("a") == states.SUCCEEDED

    def test_a_pending_revoke_ends_a_retry(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.revoke(["a"])
        assert worker.again(delivery, delay=5) is Verdict.OK
        assert kit.state("a") == states.CANCELLED

    def test_a_pending_revoke_ends_a_replace_and_stores_no_parts(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.revoke(["a"])
        worker.commit(delivery, Outcome(states.WAITING, parts=(message("part").encode(),)))
        assert kit.state("a") == states.CANCELLED
        assert kit.find("part") is None

    def test_a_pending_revoke_ends_what_is_handed_back(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        a, _ = worker.lease(2)
        kit.store.queue.revoke(["a", "b"])
        kit.store.queue.release("w1", [a.fence])
        kit.store.queue.close_owner("w1")
        assert kit.states("a", "b") == [states.CANCELLED] * 2

    def test_a_pending_revoke_ends_what_is_reaped(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        kit.store.queue.revoke(["a"])
        assert kit.reap(["w1"]).requeued == 0
        assert kit.state("a") == states.CANCELLED
        assert kit.get("a").reason == "TaskRevokedError: revoked"

    def test_a_revoke_follows_the_edges(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("b",))),
            message("b", edges=Edges(waits=True, success=("c",))),
            message("c", edges=Edges(waits=True)),
        )
        kit.store.queue.revoke(["a"])
        assert kit.states("a", "b", "c") == [states.CANCELLED] * 3
        assert kit.get("b").reason == "UpstreamFailed: upstream a ended revoked"
        assert (kit.get("b").cause, kit.get("c").cause) == ("a", "a")

    def test_purge_ends_what_is_queued_or_scheduled_as_revoked(self, kit: Kit) -> None:
        kit.send("q")
        kit.send("s", eta=kit.now() + 9)
        kit.send("w", edges=Edges(waits=True))
        kit.send("o", queue="other")
        kit.enqueue(message("held", priority=9))
        worker = kit.worker()
        assert worker.take().id == "held"
        assert kit.store.queue.purge(["celery"]) == 2
        assert kit.states("q", "s") == [states.CANCELLED] * 2
        assert "purged" in kit.get("q").reason
        assert kit.states("w", "o", "held") == [states.WAITING, states.QUEUED, states.LEASED]
        assert kit.store.queue.purge(["celery"]) == 0

    def test_a_worker_unknown_to_the_store_is_told_lost_at_its_beat(self, kit: Kit) -> None:
        Worker(kit.store, "nobody").beat()
        assert kit.store.queue.beat("nobody").lost


__all__ = ["ClockSuite", "DeathSuite", "RevokeSuite"]
