"""Protocol section 1: what a commit adds to a workflow, and what is never sent.

Each name states the rule.
"""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any

import pytest

from celeriac import states
from celeriac.message import ADDED, Edges, Message, NewJoin
from celeriac.outcome import Outcome
from celeriac.records import Verdict
from celeriac.testing.conformance.kit import Kit, Suite, message
from celeriac.testing.conformance.plans import body, member, plan

WAITS = Edges(waits=True)


def group_for(id: str, size: int, **edges: Any) -> Outcome:
    """An outcome that replaces record *id* by a group R whose results it gathers."""
    return Outcome(
        states.WAITING,
        message=body("R", id, **edges).encode(),
        parts=tuple(member(index, "R").encode() for index in range(size)),
        joins=(NewJoin("R", id, size),),
    )


class ReplaceSuite(Suite):
    """``Outcome.joins``: a record is replaced by what has a join."""

    def test_a_group_takes_the_place_of_a_record(self, kit: Kit) -> None:
        kit.enqueue(message("a", edges=Edges(success=("b",))), message("b", edges=WAITS))
        worker = kit.worker()
        worker.commit(worker.take(), group_for("a", 2, success=("b",)))
        assert kit.states("a", "b", "R-0") == [states.WAITING, states.WAITING, states.QUEUED]
        for id in ("R-0", "R-1", "a", "b"):
            kit.done(worker, id)

    def test_a_resent_commit_changes_nothing(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        worker.commit(delivery, group_for("a", 1))
        kit.done(worker, "R-0")
        assert worker.commit(delivery, group_for("a", 1)) is Verdict.ALREADY
        assert kit.state("a") == states.QUEUED

    def test_a_fenced_commit_makes_no_join(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker("w1")
        delivery = worker.take()
        kit.reap(["w1"])
        assert worker.commit(delivery, group_for("a", 1)) is Verdict.FENCED
        assert kit.store.inspection.join("R") is None

    def test_an_empty_group_is_done_at_once(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.commit(worker.take(), group_for("a", 0))
        kit.done(worker, "a")

    def test_a_member_that_fails_fails_the_record(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.commit(worker.take(), group_for("a", 2))
        worker.fail(worker.take())
        assert kit.get("a").reason == "ChordError: member 0 (R-0) ended failed"

    def test_a_body_that_is_replaced_lets_go_of_its_first_join(self, kit: Kit) -> None:
        parts, joins = plan(1)
        kit.store.queue.enqueue(parts, joins=joins)
        worker = kit.worker()
        kit.done(worker, "J-0")
        worker.commit(worker.take(), group_for("body", 1))
        assert kit.store.inspection.join("J") is None
        kit.done(worker, "R-0")
        kit.done(worker, "body")

    def test_a_member_that_is_replaced_counts_when_it_has_ended(self, kit: Kit) -> None:
        parts, joins = plan(1)
        kit.store.queue.enqueue(parts, joins=joins)
        worker = kit.worker()
        at = ("J", 0)
        worker.commit(worker.take(), group_for("J-0", 1, join=at, within=at))
        kit.done(worker, "R-0")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "J-0")
        assert kit.state("body") == states.QUEUED

    def test_a_join_whose_body_does_not_come_with_it_fails_the_record(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        outcome = Outcome(
            states.WAITING, parts=(member(0, "R").encode(),), joins=(NewJoin("R", "b", 1),)
        )
        worker.commit(worker.take(), outcome)
        assert kit.state("a") == states.FAILED
        assert kit.get("a").reason.startswith("StoreError: the body b of join R")
        assert kit.find("R-0") is None

    def test_a_duplicate_among_the_parts_makes_no_join(self, kit: Kit) -> None:
        kit.send("a")
        kit.send("R-1", nonce="another", queue="other")
        worker = kit.worker()
        worker.commit(worker.take(), group_for("a", 2))
        assert kit.get("a").reason.startswith("DuplicateTask:")
        assert kit.store.inspection.join("R") is None

    def test_joins_may_come_with_a_success(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        outcome = Outcome(
            states.SUCCEEDED,
            parts=(body("R", "b").encode(), member(0, "R").encode()),
            joins=(NewJoin("R", "b", 1),),
        )
        worker.commit(worker.take(), outcome)
        kit.done(worker, "R-0")
        kit.done(worker, "b")

    @pytest.mark.parametrize("revoked", ["R-0", "R-1"])
    def test_a_member_revoked_before_it_came_fails_the_record(self, kit: Kit, revoked: str) -> None:
        kit.send("a")
        kit.store.queue.revoke([revoked])
        worker = kit.worker()
        worker.commit(worker.take(), group_for("a", 2))
        assert kit.state("a") == states.FAILED

    def test_a_part_revoked_before_it_came_ends_the_record(self, kit: Kit) -> None:
        kit.send("a")
        kit.store.queue.revoke(["part"])
        worker = kit.worker()
        outcome = Outcome(
            states.WAITING,
            message=message("a", edges=Edges(waits=True, takes="part")).encode(),
            parts=(message("part", edges=Edges(success=("a",))).encode(),),
        )
        worker.commit(worker.take(), outcome)
        assert kit.states("part", "a") == [states.CANCELLED, states.CANCELLED]

    def test_a_result_that_the_new_message_takes_is_kept(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        outcome = Outcome(
            states.WAITING,
            message=message("a", edges=Edges(waits=True, takes="part")).encode(),
            parts=(message("part", edges=Edges(success=("a",))).encode(),),
        )
        worker.commit(worker.take(), outcome)
        worker.succeed(worker.take(), b"of the part", keep=False)
        assert worker.take().inputs == b"of the part"


def added(number: int, join: str = "J") -> Message:
    """A member that a commit adds to *join*."""
    at = (join, ADDED + number)
    return message(f"added-{number}", edges=Edges(join=at, within=at))


def adding(*numbers: int) -> Outcome:
    """A success that adds members to join J."""
    return Outcome(states.SUCCEEDED, b"r", parts=tuple(added(each).encode() for each in numbers))


class GrowSuite(Suite):
    """A commit that stores a member with an index of ``ADDED`` or more makes the join larger."""

    def start(self, kit: Kit, size: int, **edges: Any) -> None:
        parts, joins = plan(size)
        parts[0] = body(**edges)
        kit.store.queue.enqueue(parts, joins=joins)

    def size(self, kit: Kit) -> int | None:
        view = kit.store.inspection.join("J")
        assert view is not None
        return view.size

    def test_the_last_member_adds_one_and_the_body_waits_for_it(self, kit: Kit) -> None:
        self.start(kit, 1)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        assert self.size(kit) == 2
        assert kit.state("body") == states.WAITING
        kit.done(worker, "added-0")
        assert kit.state("body") == states.QUEUED

    def test_results_of_added_members_come_last(self, kit: Kit) -> None:
        self.start(kit, 2)
        worker = kit.worker()
        worker.commit(worker.take(), adding(7, 3))
        worker.commit(worker.take(), adding(5))
        for id in ("added-7", "added-3", "added-5"):
            kit.done(worker, id, id.encode())
        results = kit.store.results.join_results("J")
        assert [each.body if each else None for each in results] == [
            b"r", b"r", b"added-3", b"added-5", b"added-7",
        ]  # fmt: skip
        view = kit.store.inspection.join("J")
        assert view is not None
        assert view.members == (0, 1, ADDED + 3, ADDED + 5, ADDED + 7)

    def test_a_resent_commit_grows_it_once(self, kit: Kit) -> None:
        self.start(kit, 1)
        worker = kit.worker()
        delivery = worker.take()
        worker.commit(delivery, adding(0))
        assert worker.commit(delivery, adding(0)) is Verdict.ALREADY
        assert self.size(kit) == 2

    def test_a_fenced_commit_does_not_grow_it(self, kit: Kit) -> None:
        self.start(kit, 1)
        worker = kit.worker("w1")
        delivery = worker.take()
        kit.reap(["w1"])
        worker.commit(delivery, adding(0))
        assert self.size(kit) == 1

    def test_a_part_that_is_there_already_does_not_grow_it_again(self, kit: Kit) -> None:
        self.start(kit, 2)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        worker.commit(worker.take(), adding(0))
        assert self.size(kit) == 3

    def test_two_parts_with_one_index_are_one_member(self, kit: Kit) -> None:
        self.start(kit, 2)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        at = ("J", ADDED)
        again = message("again", edges=Edges(join=at, within=at)).encode()
        worker.commit(worker.take(), Outcome(states.SUCCEEDED, b"r", parts=(again,)))
        assert self.size(kit) == 3
        kit.done(worker, "added-0")
        assert kit.state("body") == states.QUEUED
        for delivery in worker.lease(2):
            worker.succeed(delivery)
        results = kit.store.results.join_results("J")
        assert [each.id if each else None for each in results] == ["J-0", "J-1", "added-0"]

    def test_one_that_is_reopened_is_not_added_again(self, kit: Kit) -> None:
        self.start(kit, 2)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        kit.done(worker, "J-1")
        worker.fail(worker.take())
        kit.store.inspection.retry(["added-0"])
        kit.send("other", queue="other")
        at = ("J", ADDED)
        again = message("again", queue="other", edges=Edges(join=at)).encode()
        delivery = worker.take(queues=["other"])
        worker.commit(delivery, Outcome(states.SUCCEEDED, parts=(again,)))
        assert self.size(kit) == 3
        kit.done(worker, "added-0")
        assert kit.state("body") == states.QUEUED

    def test_a_join_that_is_not_sealed_keeps_what_it_has_grown_by(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        kit.enqueue(member(0), join="J")
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        assert self.size(kit) is None
        kit.store.queue.seal("J", 1)
        assert self.size(kit) == 2
        assert kit.state("body") == states.WAITING
        kit.done(worker, "added-0")
        assert kit.state("body") == states.QUEUED

    def test_one_that_failed_grows_too_so_that_it_can_be_reopened(self, kit: Kit) -> None:
        self.start(kit, 3)
        worker = kit.worker()
        worker.fail(worker.take())
        worker.commit(worker.take(), adding(0))
        assert self.size(kit) == 4
        kit.store.inspection.retry(["J-0"])
        kit.done(worker, "J-2")
        kit.done(worker, "added-0")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "J-0")
        assert kit.state("body") == states.QUEUED

    def test_one_that_is_done_or_absent_is_left_alone(self, kit: Kit) -> None:
        self.start(kit, 0)
        kit.send("late", queue="other")
        worker = kit.worker()
        worker.commit(worker.take(queues=["other"]), adding(0))
        assert self.size(kit) == 0
        outcome = Outcome(states.SUCCEEDED, parts=(added(1, "K").encode(),))
        kit.send("later", queue="other")
        assert worker.commit(worker.take(queues=["other"]), outcome) is Verdict.OK
        assert kit.state("added-1") == states.QUEUED

    def test_an_index_below_does_not_grow_it(self, kit: Kit) -> None:
        self.start(kit, 2)
        worker = kit.worker()
        delivery = worker.take()
        kit.done(worker, "J-1")
        at = ("J", ADDED - 1)
        part = message("part", edges=Edges(join=at, within=at)).encode()
        worker.commit(delivery, Outcome(states.SUCCEEDED, parts=(part,)))
        assert self.size(kit) == 2

    def test_an_added_member_that_fails_decides_it(self, kit: Kit) -> None:
        self.start(kit, 1)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        worker.fail(worker.take())
        assert kit.get("body").reason == "ChordError: member added later (added-0) ended failed"

    def test_one_revoked_before_it_came_decides_it(self, kit: Kit) -> None:
        self.start(kit, 1)
        kit.store.queue.revoke(["added-0"])
        worker = kit.worker()
        worker.commit(worker.take(), adding(0))
        assert kit.state("body") == states.FAILED

    def test_results_of_added_members_go_with_the_body(self, kit: Kit) -> None:
        self.start(kit, 1)
        worker = kit.worker()
        worker.commit(worker.take(), adding(0, 1))
        worker.succeed(worker.take(), b"0", keep=False)
        worker.succeed(worker.take(), b"1", keep=False)
        assert [each.body if each else None for each in kit.store.results.join_results("J")] == [
            b"r",
            b"0",
            b"1",
        ]
        kit.done(worker, "body")
        assert [kit.get(f"added-{number}").body for number in (0, 1)] == [None, None]


class NeverSentSuite(Suite):
    """A join that is given up takes along what waits for what was never sent."""

    def send(self, kit: Kit, *, size: int = 2) -> None:
        """Members that wait for ``a``, each with a part behind it, and one that does not wait."""
        kit.store.queue.open_join("J", body(failure=("e",)), [message("e", edges=WAITS)])
        for index in range(size):
            at = ("J", index)
            kit.enqueue(
                message(f"m{index}", edges=Edges(waits=True, success=(f"n{index}",), within=at)),
                message(f"n{index}", edges=Edges(waits=True, join=at, within=at)),
                join="J",
            )

    def test_what_waits_ends_and_what_follows_it(self, kit: Kit) -> None:
        self.send(kit)
        kit.tick(64)
        assert kit.states("m0", "n0", "m1", "n1", "body") == [states.FAILED] * 5
        assert kit.get("m0").reason == (
            "HeaderIncomplete: join J was given up before all of it was sent"
        )
        assert kit.get("n0").cause == "body"

    def test_a_branch_that_began_runs_on(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        at = ("J", 0)
        kit.enqueue(
            message("m", edges=Edges(success=("n",), within=at)),
            message("n", edges=Edges(waits=True, join=at, within=at)),
            join="J",
        )
        kit.tick(64)
        assert kit.states("body", "n") == [states.FAILED, states.WAITING]
        worker = kit.worker()
        kit.done(worker, "m")
        kit.done(worker, "n")

    def test_an_inner_join_that_was_sent_whole_runs_on(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        inner = body("I", "inner", join=("J", 0), within=("J", 0))
        kit.store.queue.enqueue([inner, member(0, "I")], "J", [NewJoin("I", "inner", 1)])
        kit.tick(64)
        worker = kit.worker()
        kit.done(worker, "I-0")
        kit.done(worker, "inner")

    def test_what_was_released_meanwhile_runs_on(self, kit: Kit) -> None:
        self.send(kit)
        kit.enqueue(message("a", edges=Edges(success=("m0", "m1"))))
        worker = kit.worker()
        kit.done(worker, "a")
        kit.tick(64, alive=[worker])
        assert kit.states("m0", "n0", "body") == [states.QUEUED, states.WAITING, states.FAILED]

    def test_a_join_that_is_sealed_leaves_them_waiting(self, kit: Kit) -> None:
        self.send(kit)
        kit.store.queue.seal("J", 2)
        kit.tick(64)
        assert kit.states("m0", "body") == [states.WAITING] * 2

    def test_a_resent_chunk_changes_nothing(self, kit: Kit) -> None:
        self.send(kit)
        self.send(kit)
        kit.tick(64)
        assert kit.states("m0", "m1") == [states.FAILED] * 2

    def test_many_of_them_are_ended_in_bounded_steps(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        for start in range(0, 2400, 800):
            kit.enqueue(
                *(
                    message(f"m{index}", edges=Edges(waits=True, join=("J", index)))
                    for index in range(start, start + 800)
                ),
                join="J",
            )
        kit.tick(64)
        for _ in range(3):
            kit.reap()
        assert kit.store.inspection.counts().states["celery"] == {states.FAILED: 2401}

    def test_they_are_not_reopened(self, kit: Kit) -> None:
        self.send(kit)
        kit.tick(64)
        assert kit.store.inspection.retry(["m0", "n0", "body"]) == []


__all__ = [
    "GrowSuite",
    "NeverSentSuite",
    "ReplaceSuite",
    "added",
    "adding",
    "group_for",
]
