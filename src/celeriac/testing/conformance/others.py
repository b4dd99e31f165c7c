"""Coordinator, schedules, inspection, bus. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import threading

import pytest

from celeriac import states
from celeriac.exceptions import DuplicateTask
from celeriac.message import Edges
from celeriac.records import TaskFacts
from celeriac.stores.base import Entry
from celeriac.testing.conformance.kit import Kit, Suite, message
from celeriac.testing.conformance.results import DEADLINE, Waiting


class CoordinatorSuite(Suite):
    """Places under a key, and token buckets."""

    def test_a_key_has_as_many_places_as_its_limit(self, kit: Kit) -> None:
        take = kit.store.coordinator.acquire
        assert take("k", "h1", 2, 10)
        assert take("k", "h2", 2, 10)
        assert not take("k", "h3", 2, 10)
        assert take("other", "h3", 2, 10)

    def test_the_same_holder_again_extends_its_place(self, kit: Kit) -> None:
        take = kit.store.coordinator.acquire
        assert take("k", "h1", 1, 10)
        kit.clock.advance(8)
        assert take("k", "h1", 1, 10)
        kit.clock.advance(8)
        assert not take("k", "h2", 1, 10)

    def test_a_place_lapses(self, kit: Kit) -> None:
        take = kit.store.coordinator.acquire
        assert take("k", "h1", 1, 10)
        kit.clock.advance(10.5)
        assert take("k", "h2", 1, 10)

    def test_a_place_given_back_is_free(self, kit: Kit) -> None:
        coordinator = kit.store.coordinator
        assert coordinator.acquire("k", "h1", 1, 10)
        coordinator.release("k", "somebody-else")
        assert not coordinator.acquire("k", "h2", 1, 10)
        coordinator.release("k", "h1")
        coordinator.release("k", "h1")
        assert coordinator.acquire("k", "h2", 1, 10)

    def test_a_bucket_gives_its_burst_then_its_rate(self, kit: Kit) -> None:
        take = kit.store.coordinator.take
        assert [take("k", 1, 2.0, 3) for _ in range(3)] == [0.0, 0.0, 0.0]
        assert take("k", 1, 2.0, 3) == pytest.approx(0.5)
        kit.clock.advance(0.5)
        assert take("k", 1, 2.0, 3) == 0.0

    def test_a_refused_take_takes_nothing(self, kit: Kit) -> None:
        take = kit.store.coordinator.take
        take("k", 3, 1.0, 3)
        assert take("k", 2, 1.0, 3) == pytest.approx(2.0)
        assert take("k", 2, 1.0, 3) == pytest.approx(2.0)
        kit.clock.advance(2)
        assert take("k", 2, 1.0, 3) == 0.0

    def test_a_bucket_never_holds_more_than_its_burst(self, kit: Kit) -> None:
        take = kit.store.coordinator.take
        take("k", 1, 1.0, 2)
        kit.clock.advance(1000)
        assert take("k", 2, 1.0, 2) == 0.0
        assert take("k", 1, 1.0, 2) > 0


class SchedulesSuite(Suite):
    """The periodic schedule."""

    def test_entries_are_saved_replaced_and_removed_by_name(self, kit: Kit) -> None:
        schedules = kit.store.schedules
        assert schedules.load() == []
        schedules.save(Entry("b", b"1"))
        schedules.save(Entry("a", b"2", last_tick=5.0, enabled=False))
        schedules.save(Entry("b", b"3"))
        assert schedules.load() == [Entry("a", b"2", 5.0, False), Entry("b", b"3")]
        assert schedules.remove("a")
        assert not schedules.remove("a")
        assert schedules.load() == [Entry("b", b"3")]

    def test_saving_keeps_the_last_tick_if_the_entry_has_none(self, kit: Kit) -> None:
        schedules = kit.store.schedules
        schedules.save(Entry("a", b"1", last_tick=7.0))
        schedules.save(Entry("a", b"2"))
        assert schedules.load() == [Entry("a", b"2", 7.0)]

    def test_a_tick_is_claimed_once(self, kit: Kit) -> None:
        schedules = kit.store.schedules
        schedules.save(Entry("a", b"1"))
        assert schedules.claim("a", 10.0, [message("t10", nonce="t10")])
        assert not schedules.claim("a", 10.0, [message("t10", nonce="t10")])
        assert not schedules.claim("a", 9.0, [message("t9", nonce="t9")])
        assert schedules.claim("a", 11.0)
        assert kit.find("t9") is None
        assert kit.state("t10") == states.QUEUED
        assert schedules.load() == [Entry("a", b"1", 11.0)]

    def test_an_entry_that_is_gone_claims_nothing(self, kit: Kit) -> None:
        assert not kit.store.schedules.claim("never", 1.0, [message("t")])
        assert kit.find("t") is None

    def test_a_claim_is_one_step_with_its_messages(self, kit: Kit) -> None:
        kit.store.schedules.save(Entry("a", b"1"))
        kit.send("t")
        with pytest.raises(DuplicateTask):
            kit.store.schedules.claim("a", 10.0, [message("u"), message("t", nonce="other")])
        assert kit.store.schedules.load() == [Entry("a", b"1")]
        assert kit.find("u") is None

    def test_what_was_revoked_before_its_tick_does_not_run(self, kit: Kit) -> None:
        kit.store.schedules.save(Entry("a", b"1"))
        kit.store.queue.revoke(["t"])
        assert kit.store.schedules.claim("a", 1.0, [message("t", nonce="t")])
        assert kit.state("t") == states.CANCELLED

    def test_two_schedulers_fire_once(self, kit: Kit) -> None:
        kit.store.schedules.save(Entry("a", b"1"))
        start = threading.Barrier(4)

        def claim() -> bool:
            start.wait(DEADLINE)
            return kit.store.schedules.claim("a", 1.0, [message("t", nonce="t")])

        assert sorted(each.result() for each in [Waiting(claim) for _ in range(4)]) == [
            False,
            False,
            False,
            True,
        ]


class InspectionSuite(Suite):
    """What command line, dashboard and metrics read."""

    def test_counts_are_per_queue_and_state(self, kit: Kit) -> None:
        kit.send("a", "b", "c")
        kit.send("o", queue="other", eta=kit.now() + 5)
        worker = kit.worker()
        kit.done(worker, "a")
        worker.take()
        inspection = kit.store.inspection
        assert inspection.counts().states == {
            "celery": {states.SUCCEEDED: 1, states.LEASED: 1, states.QUEUED: 1},
            "other": {states.SCHEDULED: 1},
        }
        assert inspection.counts(["other"]).states == {"other": {states.SCHEDULED: 1}}

    def test_list_is_newest_first_and_paged(self, kit: Kit) -> None:
        for id in "abcde":
            kit.send(id)
            kit.clock.advance(1)
        listing = kit.store.inspection.list
        assert [each.id for each in listing(limit=2)] == ["e", "d"]
        assert [each.id for each in listing(limit=2, after="d")] == ["c", "b"]
        assert [each.id for each in listing(limit=9, after="b")] == ["a"]

    def test_list_filters(self, kit: Kit) -> None:
        kit.send("a")
        kit.clock.advance(1)
        kit.send("b", task="other")
        kit.clock.advance(1)
        kit.send("c", queue="slow")
        worker = kit.worker()
        kit.done(worker, "a")
        listing = kit.store.inspection.list
        assert [each.id for each in listing(states=[states.SUCCEEDED])] == ["a"]
        assert [each.id for each in listing(queue="slow")] == ["c"]
        assert [each.id for each in listing(task="other")] == ["b"]
        assert [each.id for each in listing(states=[states.QUEUED], task="job")] == ["c"]

    def test_list_leaves_out_bodies_and_wires(self, kit: Kit) -> None:
        kit.send("a")
        kit.done(kit.worker(), "a")
        (record,) = kit.store.inspection.list()
        assert (record.wire, record.body) == (None, None)
        assert kit.get("a").body == b"result"
        assert kit.get("a").wire is not None

    def test_get_answers_in_order_and_none_where_there_is_none(self, kit: Kit) -> None:
        kit.send("a", "b")
        found = kit.store.inspection.get(["b", "never", "a"])
        assert [each.id if each else None for each in found] == ["b", None, "a"]

    def test_an_unknown_join_is_none(self, kit: Kit) -> None:
        assert kit.store.inspection.join("never") is None

    def test_workers_are_listed_with_manifest_and_life(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker("w1", {"job": TaskFacts(time_limit=3.0)}, hostname="box", pid=7)
        worker.take()
        kit.clock.advance(3)
        worker.beat()
        (view,) = kit.store.inspection.workers()
        assert (view.owner, view.manifest.hostname, view.manifest.pid) == ("w1", "box", 7)
        assert view.manifest.tasks["job"] == TaskFacts(time_limit=3.0)
        assert (view.registered_at, view.beat_at) == (kit.now() - 3, kit.now())
        assert (view.alive, view.held) == (True, 1)
        kit.clock.advance(16)
        (view,) = kit.store.inspection.workers()
        assert not view.alive

    def test_a_record_shows_what_a_person_asks_for(self, kit: Kit) -> None:
        kit.send("a", expires=kit.now() + 100, edges=Edges())
        record = kit.get("a")
        assert (record.expires, record.parked, record.revoked) == (kit.now() + 100, False, False)
        assert (record.owner, record.due, record.drop_at) == (None, None, None)

    def test_facts_are_plain_and_name_the_durability(self, kit: Kit) -> None:
        facts = kit.store.inspection.facts()
        assert facts["durability"]
        assert facts["store"]

    def test_the_capabilities_are_stated(self, kit: Kit) -> None:
        assert kit.store.capabilities.lanes >= 1
        assert kit.store.capabilities.durability


class BusSuite(Suite):
    """At most once: a hint."""

    def test_a_listener_hears_what_is_published_while_it_listens(self, kit: Kit) -> None:
        kit.store.bus.publish("c", b"before")
        one, two = kit.store.bus.listen("c"), kit.store.bus.listen("c")
        other = kit.store.bus.listen("d")
        kit.store.bus.publish("c", b"1")
        kit.store.bus.publish("c", b"2")
        assert [one.get(DEADLINE), one.get(DEADLINE)] == [b"1", b"2"]
        assert two.get(DEADLINE) == b"1"
        assert other.get(0.01) is None
        for each in (one, two, other):
            each.close()

    def test_a_closed_subscription_hears_nothing(self, kit: Kit) -> None:
        listener = kit.store.bus.listen("c")
        listener.close()
        listener.close()
        kit.store.bus.publish("c", b"1")
        assert listener.get(0.01) is None

    def test_close_ends_a_get_that_waits(self, kit: Kit) -> None:
        listener = kit.store.bus.listen("c")
        waiting = Waiting(lambda: listener.get(DEADLINE))
        listener.close()
        assert waiting.result() is None


__all__ = ["BusSuite", "CoordinatorSuite", "InspectionSuite", "SchedulesSuite"]
