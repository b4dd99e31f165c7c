"""Protocol section 1: edges, joins, references. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import pytest

from celeriac import states
from celeriac.exceptions import HeaderIncomplete
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import INLINE_RESULT_MAX
from celeriac.testing.conformance.kit import Kit, Suite, message

WAITS = Edges(waits=True)


def chain(kit: Kit) -> None:
    """A → b → c, and an errback of a."""
    kit.enqueue(
        message("a", edges=Edges(success=("b",), failure=("e",))),
        message("b", edges=Edges(waits=True, success=("c",), takes="a")),
        message("c", edges=Edges(waits=True, takes="b")),
        message("e", edges=WAITS),
    )


class EdgeSuite(Suite):
    """``finish`` follows the edges, whoever ends the record."""

    def test_a_success_releases_its_successor_in_the_same_step(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        kit.done(worker, "a", b"of a")
        assert kit.states("a", "b", "c") == [states.SUCCEEDED, states.QUEUED, states.WAITING]
        delivery = worker.take()
        assert (delivery.id, delivery.inputs) == ("b", b"of a")

    def test_a_success_ends_its_errbacks_as_ignored(self, kit: Kit) -> None:
        chain(kit)
        kit.done(kit.worker(), "a")
        assert kit.state("e") == states.SKIPPED

    def test_a_failure_releases_errbacks_and_ends_what_follows(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.states("a", "b", "c") == [states.FAILED] * 3
        assert kit.state("e") == states.QUEUED
        assert kit.get("b").reason == "UpstreamFailed: upstream a ended failed"
        assert kit.get("c").reason == "UpstreamFailed: upstream b ended failed"
        assert [kit.get(id).cause for id in "abc"] == ["", "a", "a"]

    @pytest.mark.parametrize(
        ("state", "becomes"),
        [
            (states.FAILED, states.FAILED),
            (states.DEAD, states.FAILED),
            (states.REFUSED, states.FAILED),
            (states.SKIPPED, states.FAILED),
            (states.CANCELLED, states.CANCELLED),
        ],
    )
    def test_what_waited_ends_as_its_upstream_did(self, kit: Kit, state: str, becomes: str) -> None:
        chain(kit)
        worker = kit.worker()
        worker.commit(worker.take(), Outcome(state))
        assert kit.states("b", "c", "e") == [becomes, becomes, states.QUEUED]

    def test_an_expired_record_follows_its_edges(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", expires=kit.now() + 3, edges=Edges(success=("b",))),
            message("b", edges=WAITS),
        )
        kit.tick(4)
        assert kit.states("a", "b") == [states.EXPIRED, states.FAILED]

    def test_a_purged_record_follows_its_edges(self, kit: Kit) -> None:
        chain(kit)
        kit.store.queue.purge(["celery"])
        assert kit.states("a", "b", "e") == [states.CANCELLED, states.CANCELLED, states.QUEUED]

    def test_a_release_respects_eta_and_expiry(self, kit: Kit) -> None:
        kit.enqueue(
            message("a", edges=Edges(success=("later", "late"))),
            message("later", eta=kit.now() + 60, edges=WAITS),
            message("late", expires=kit.now() + 5, edges=Edges(waits=True, success=("z",))),
            message("z", edges=WAITS),
        )
        worker = kit.worker()
        delivery = worker.take()
        kit.clock.advance(6)
        worker.succeed(delivery)
        assert kit.states("later", "late", "z") == [
            states.SCHEDULED,
            states.EXPIRED,
            states.FAILED,
        ]
        assert kit.get("z").cause == "late"

    def test_a_retry_follows_no_edges(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        worker.again(worker.take())
        assert kit.states("b", "e") == [states.WAITING] * 2

    def test_what_waits_can_be_revoked_and_is_not_released_any_more(self, kit: Kit) -> None:
        chain(kit)
        kit.store.queue.revoke(["b"])
        assert kit.states("a", "b", "c") == [states.QUEUED, states.CANCELLED, states.CANCELLED]
        worker = kit.worker()
        kit.done(worker, "a")
        assert kit.state("b") == states.CANCELLED
        assert worker.lease(5) == []

    def test_a_wide_step_is_finished_by_the_reaper(self, kit: Kit) -> None:
        wide = tuple(f"s{number}" for number in range(1200))
        kit.enqueue(
            message("a", edges=Edges(success=wide)), *(message(id, edges=WAITS) for id in wide)
        )
        worker = kit.worker()
        kit.done(worker, "a")
        for _ in range(5):
            kit.reap()
        assert kit.store.inspection.counts().states["celery"] == {
            states.SUCCEEDED: 1,
            states.QUEUED: 1200,
        }

    def test_a_wide_failure_is_finished_by_the_reaper(self, kit: Kit) -> None:
        wide = tuple(f"s{number}" for number in range(1200))
        kit.enqueue(
            message("a", edges=Edges(success=wide)), *(message(id, edges=WAITS) for id in wide)
        )
        worker = kit.worker()
        worker.fail(worker.take())
        for _ in range(5):
            kit.reap()
        assert kit.store.inspection.counts().states["celery"] == {states.FAILED: 1201}


class ReferenceSuite(Suite):
    """A result somebody still needs is kept."""

    def test_a_result_that_a_successor_takes_outlives_keep_false(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        worker.succeed(worker.take(), b"needed", keep=False)
        delivery = worker.take()
        assert delivery.inputs == b"needed"
        worker.succeed(delivery, b"b", keep=True)
        assert kit.get("a").body is None
        assert kit.state("a") == states.SUCCEEDED

    def test_it_outlives_forget(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        kit.done(worker, "a", b"needed")
        kit.store.results.forget(["a"])
        assert worker.take().inputs == b"needed"

    def test_it_outlives_result_expires(self, kit: Kit) -> None:
        kit.configure(result_expires=10.0)
        chain(kit)
        worker = kit.worker()
        kit.done(worker, "a", b"needed")
        kit.tick(30, alive=[worker])
        assert worker.take().inputs == b"needed"

    def test_it_goes_once_nobody_needs_it(self, kit: Kit) -> None:
        kit.configure(result_expires=10.0)
        chain(kit)
        worker = kit.worker()
        for id in "abc":
            kit.done(worker, id)
        kit.tick(60, alive=[worker])
        assert [kit.find(id) for id in "abc"] == [None] * 3

    def test_a_large_result_does_not_travel_with_the_delivery(self, kit: Kit) -> None:
        chain(kit)
        worker = kit.worker()
        kit.done(worker, "a", b"x" * (INLINE_RESULT_MAX + 1))
        assert worker.take().inputs is None
        (result,) = kit.store.results.get_many(["a"])
        assert result is not None
        assert len(result.body or b"") == INLINE_RESULT_MAX + 1

    def test_a_result_that_a_join_gathers_is_kept_until_its_body_has_ended(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        worker.succeed(worker.take(), b"0", keep=False)
        worker.succeed(worker.take(), b"1", keep=False)
        results = kit.store.results.join_results("J")
        assert [each.body for each in results if each] == [b"0", b"1"]
        kit.done(worker, "body")
        assert kit.get("m0").body is None


def members(kit: Kit, size: int, seal: bool = True) -> None:
    """A join J with members m0, m1, …, an errback e of its body, and z behind the body."""
    body = message("body", edges=Edges(waits=True, gathers="J", failure=("e",), success=("z",)))
    kit.store.queue.open_join("J", body, [message("e", queue="errors", edges=WAITS)])
    kit.enqueue(message("z", edges=Edges(waits=True, takes="body")))
    for index in range(size):
        kit.enqueue(
            message(f"m{index}", edges=Edges(join=("J", index), within=("J", index))),
            join="J",
        )
    if seal:
        kit.store.queue.seal("J", size)


class JoinSuite(Suite):
    """Sets of member indexes; the commit that completes the set releases the body."""

    def test_the_last_member_releases_the_body_in_its_commit(self, kit: Kit) -> None:
        members(kit, 3)
        worker = kit.worker()
        kit.done(worker, "m0")
        kit.done(worker, "m1")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "m2")
        assert kit.state("body") == states.QUEUED
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.size, view.members, view.decided) == (3, (0, 1, 2), "done")
        assert (view.body, view.cause) == ("body", "")

    def test_members_start_as_they_arrive(self, kit: Kit) -> None:
        members(kit, 1, seal=False)
        kit.done(kit.worker(), "m0")
        assert kit.state("body") == states.WAITING
        kit.store.queue.seal("J", 1)
        assert kit.state("body") == states.QUEUED

    def test_a_resent_member_commit_counts_once(self, kit: Kit) -> None:
        members(kit, 2)
        worker = kit.worker()
        delivery = worker.take()
        worker.succeed(delivery)
        worker.succeed(delivery)
        assert kit.state("body") == states.WAITING
        view = kit.store.inspection.join("J")
        assert view is not None
        assert view.members == (0,)

    def test_a_member_that_is_fenced_does_not_count(self, kit: Kit) -> None:
        members(kit, 1)
        old = kit.worker("w1")
        delivery = old.take()
        kit.reap(["w1"])
        old.succeed(delivery)
        assert kit.state("body") == states.WAITING

    def test_a_failed_member_decides_the_join_at_once(self, kit: Kit) -> None:
        members(kit, 3)
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.states("body", "z", "e") == [states.FAILED, states.FAILED, states.QUEUED]
        assert kit.get("body").reason == "ChordError: member 0 (m0) ended failed"
        assert kit.get("body").cause == kit.get("z").cause == "m0"
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.decided, view.cause) == ("failed", "m0")

    def test_the_other_members_run_on_and_decide_nothing(self, kit: Kit) -> None:
        members(kit, 3)
        worker = kit.worker()
        worker.fail(worker.take())
        kit.done(worker, "m1")
        worker.fail(worker.take())
        assert kit.get("body").reason == "ChordError: member 0 (m0) ended failed"
        assert worker.lease(5) == []
        assert worker.take(queues=["errors"]).id == "e"

    def test_any_part_of_a_branch_decides_its_join(self, kit: Kit) -> None:
        body = message("body", edges=Edges(waits=True, gathers="J"))
        kit.store.queue.open_join("J", body)
        kit.enqueue(
            message("first", edges=Edges(success=("last",), within=("J", 0))),
            message("last", edges=Edges(waits=True, join=("J", 0), within=("J", 0))),
            join="J",
        )
        kit.store.queue.seal("J", 1)
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.states("last", "body") == [states.FAILED, states.FAILED]
        assert kit.get("body").reason == "ChordError: member 0 (first) ended failed"

    def test_a_failed_inner_join_fails_the_outer_one(self, kit: Kit) -> None:
        outer = message("outer", edges=Edges(waits=True, gathers="O"))
        inner = message(
            "inner", edges=Edges(waits=True, gathers="I", join=("O", 0), within=("O", 0))
        )
        kit.store.queue.open_join("O", outer)
        kit.store.queue.open_join("I", inner)
        kit.enqueue(message("m", edges=Edges(join=("I", 0), within=("I", 0))), join="I")
        kit.store.queue.seal("I", 1)
        kit.store.queue.seal("O", 1)
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.states("inner", "outer") == [states.FAILED, states.FAILED]
        assert kit.get("outer").cause == "m"

    def test_a_revoked_member_decides_the_join(self, kit: Kit) -> None:
        members(kit, 2)
        kit.store.queue.revoke(["m1"])
        assert kit.states("body", "e") == [states.FAILED, states.QUEUED]
        assert kit.get("body").reason == "ChordError: member 1 (m1) ended revoked"

    def test_a_revoked_body_is_not_released_and_members_run_on(self, kit: Kit) -> None:
        members(kit, 1)
        kit.store.queue.revoke(["body"])
        kit.done(kit.worker(), "m0")
        assert kit.state("body") == states.CANCELLED

    def test_a_join_of_nothing_is_done_at_once(self, kit: Kit) -> None:
        members(kit, 0)
        assert kit.state("body") == states.QUEUED

    def test_opening_sending_and_sealing_can_be_repeated(self, kit: Kit) -> None:
        members(kit, 2)
        members(kit, 2)
        worker = kit.worker()
        kit.done(worker, "m0")
        kit.done(worker, "m1")
        assert kit.state("body") == states.QUEUED
        kit.store.queue.seal("J", 2)
        assert len(worker.lease(5)) == 1

    def test_a_join_that_is_never_sealed_is_given_up(self, kit: Kit) -> None:
        members(kit, 2, seal=False)
        passes = kit.tick(64)
        assert sum(each.joins for each in passes) == 1
        assert kit.states("body", "z", "e") == [states.FAILED, states.FAILED, states.QUEUED]
        reason = kit.get("body").reason
        assert reason.startswith("HeaderIncomplete:")
        assert "2 members" in reason

    def test_each_chunk_gives_an_open_join_more_time(self, kit: Kit) -> None:
        members(kit, 1, seal=False)
        kit.tick(40)
        kit.enqueue(message("m1", edges=Edges(join=("J", 1))), join="J")
        kit.tick(40)
        kit.store.queue.seal("J", 2)
        assert kit.state("body") == states.WAITING

    def test_the_producer_of_a_join_given_up_is_told(self, kit: Kit) -> None:
        members(kit, 1, seal=False)
        kit.tick(64)
        with pytest.raises(HeaderIncomplete):
            kit.enqueue(message("m1", edges=Edges(join=("J", 1))), join="J")
        assert kit.find("m1") is None
        with pytest.raises(HeaderIncomplete):
            kit.store.queue.seal("J", 2)

    def test_a_sealed_join_waits_as_long_as_its_members_need(self, kit: Kit) -> None:
        members(kit, 1)
        worker = kit.worker()
        delivery = worker.take()
        kit.tick(200, alive=[worker])
        worker.succeed(delivery)
        assert kit.state("body") == states.QUEUED

    def test_member_results_come_in_the_order_of_their_index(self, kit: Kit) -> None:
        members(kit, 3)
        worker = kit.worker()
        held = worker.lease(3)
        for delivery in reversed(held):
            worker.succeed(delivery, delivery.id.encode())
        results = kit.store.results.join_results("J")
        assert [each.body if each else None for each in results] == [b"m0", b"m1", b"m2"]
        body = worker.take()
        assert (body.id, body.inputs) == ("body", None)


__all__ = ["EdgeSuite", "JoinSuite", "ReferenceSuite", "chain", "members"]
