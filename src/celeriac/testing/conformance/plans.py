"""Protocol section 1: a whole workflow stored in one step. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any

import pytest

from celeriac import states
from celeriac.exceptions import DuplicateTask, HeaderIncomplete, StoreError
from celeriac.message import Edges, Message, NewJoin
from celeriac.testing.conformance.kit import Kit, Suite, message

WAITS = Edges(waits=True)


def body(gathers: str = "J", id: str = "body", nonce: str | None = None, **edges: Any) -> Message:
    """A message that waits for the join *gathers*."""
    return message(id, nonce=nonce, edges=Edges(waits=True, gathers=gathers, **edges))


def member(index: int, join: str = "J", nonce: str | None = None) -> Message:
    """Member *index* of a join, a branch of one part."""
    at = (join, index)
    return message(f"{join}-{index}", nonce=nonce, edges=Edges(join=at, within=at))


def plan(size: int, nonce: str | None = None) -> tuple[list[Message], list[NewJoin]]:
    """A join J with its body and *size* members."""
    parts = [body(nonce=nonce), *(member(index, nonce=nonce) for index in range(size))]
    return parts, [NewJoin("J", "body", size)]


class PlanSuite(Suite):
    """``enqueue`` with joins."""

    def test_a_join_is_stored_with_its_members_in_one_step(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(2)))
        assert kit.states("body", "J-0", "J-1") == [states.WAITING, states.QUEUED, states.QUEUED]
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.body, view.size, view.members, view.decided) == ("body", 2, (), "")

    def test_its_members_release_the_body(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(2)))
        worker = kit.worker()
        kit.done(worker, "J-0")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "J-1")
        kit.done(worker, "body")

    def test_it_is_not_given_up_however_long_its_members_take(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(1)))
        kit.tick(70)
        kit.done(kit.worker(), "J-0")
        assert kit.state("body") == states.QUEUED

    def test_a_resend_changes_nothing(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(2)))
        worker = kit.worker()
        kit.done(worker, "J-0")
        kit.store.queue.enqueue(*_call(plan(2)))
        view = kit.store.inspection.join("J")
        assert view is not None
        assert view.members == (0,)
        kit.done(worker, "J-1")
        kit.store.queue.enqueue(*_call(plan(2)))
        assert kit.state("body") == states.QUEUED
        kit.done(worker, "body")
        kit.store.queue.enqueue(*_call(plan(2)))
        assert worker.lease(5) == []

    def test_another_call_under_the_same_ids_begins_anew(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(1)))
        worker = kit.worker()
        kit.done(worker, "J-0")
        kit.done(worker, "body")
        kit.store.queue.enqueue(*_call(plan(2, nonce="again")))
        assert kit.states("body", "J-0", "J-1") == [states.WAITING, states.QUEUED, states.QUEUED]
        kit.done(worker, "J-0")
        assert kit.state("body") == states.WAITING
        kit.done(worker, "J-1")
        assert kit.state("body") == states.QUEUED

    def test_a_refused_call_stores_no_join(self, kit: Kit) -> None:
        kit.send("J-1", nonce="another")
        with pytest.raises(DuplicateTask):
            kit.store.queue.enqueue(*_call(plan(2)))
        assert kit.store.inspection.join("J") is None
        assert kit.find("body") is None

    def test_a_join_whose_body_is_not_stored_with_it_is_refused(self, kit: Kit) -> None:
        with pytest.raises(StoreError, match="body"):
            kit.store.queue.enqueue([member(0)], joins=[NewJoin("J", "body", 1)])
        assert kit.find("J-0") is None

    @pytest.mark.parametrize("edges", [None, WAITS, Edges(gathers="J"), Edges(True, gathers="K")])
    def test_a_body_that_does_not_wait_for_its_join_is_refused(
        self, kit: Kit, edges: Edges | None
    ) -> None:
        with pytest.raises(StoreError, match="body"):
            kit.store.queue.enqueue(
                [message("body", edges=edges), member(0)], joins=[NewJoin("J", "body", 1)]
            )
        assert kit.find("J-0") is None

    def test_a_join_of_nothing_is_done_at_once(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(0)))
        assert kit.state("body") == states.QUEUED
        view = kit.store.inspection.join("J")
        assert view is not None
        assert (view.size, view.decided) == (0, "done")

    def test_a_failed_member_decides_it(self, kit: Kit) -> None:
        kit.store.queue.enqueue(*_call(plan(2)))
        worker = kit.worker()
        worker.fail(worker.take())
        assert kit.get("body").reason == "ChordError: member 0 (J-0) ended failed"

    def test_joins_within_joins_are_stored_together(self, kit: Kit) -> None:
        inner = body("I", "inner", join=("J", 1), within=("J", 1))
        kit.store.queue.enqueue(
            [member(0, "I"), member(1, "I"), member(0), inner, body()],
            joins=[NewJoin("I", "inner", 2), NewJoin("J", "body", 2)],
        )
        worker = kit.worker()
        for id in ("I-0", "I-1", "J-0", "inner", "body"):
            kit.done(worker, id)

    def test_many_joins_are_stored_together(self, kit: Kit) -> None:
        joins = [f"J{number}" for number in range(600)]
        kit.store.queue.enqueue(
            [
                each
                for join in joins
                for each in (member(0, join), body(join, f"body-{join}", success=("all",)))
            ],
            joins=[NewJoin(join, f"body-{join}", 1) for join in joins],
        )
        worker = kit.worker()
        while held := worker.lease(200):
            for delivery in held:
                worker.succeed(delivery)
        assert kit.store.inspection.counts().states["celery"] == {states.SUCCEEDED: 1200}

    def test_a_chunk_of_an_open_join_may_hold_joins(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        inner = body("I", "inner", join=("J", 0), within=("J", 0))
        kit.store.queue.enqueue([inner, member(0, "I")], "J", [NewJoin("I", "inner", 1)])
        kit.store.queue.seal("J", 1)
        worker = kit.worker()
        for id in ("I-0", "inner", "body"):
            kit.done(worker, id)

    def test_what_follows_an_open_join_may_hold_joins(self, kit: Kit) -> None:
        behind = _behind()
        for _ in range(2):  # a resend
            kit.store.queue.open_join("J", body(success=("K-0", "K-1")), *behind)
        kit.enqueue(member(0), join="J")
        kit.store.queue.seal("J", 1)
        worker = kit.worker()
        for id in ("J-0", "body", "K-0", "K-1"):
            kit.done(worker, id)
        view = kit.store.inspection.join("K")
        assert view is not None
        assert (view.size, view.decided) == (2, "done")
        kit.done(worker, "last")

    def test_they_end_with_it_if_it_is_given_up(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body(success=("K-0", "K-1")), *_behind())
        kit.tick(70)
        kit.store.queue.reap()
        assert kit.states("body", "K-0", "K-1", "last") == [states.FAILED] * 4

    def test_a_join_behind_an_open_one_brings_its_body(self, kit: Kit) -> None:
        messages, joins = _behind()
        with pytest.raises(StoreError, match="must be stored with it"):
            kit.store.queue.open_join("J", body(success=("K-0", "K-1")), messages[:-1], joins)
        assert kit.store.inspection.join("J") is None

    def test_nothing_of_a_chunk_is_stored_if_the_open_join_was_given_up(self, kit: Kit) -> None:
        kit.store.queue.open_join("J", body())
        kit.tick(64)
        inner = body("I", "inner", join=("J", 0), within=("J", 0))
        with pytest.raises(HeaderIncomplete):
            kit.store.queue.enqueue([inner, member(0, "I")], "J", [NewJoin("I", "inner", 1)])
        assert kit.find("inner") is None
        assert kit.store.inspection.join("I") is None


class RevokedBeforeSuite(Suite):
    """What is revoked before it is stored takes along what follows it in the same call."""

    def test_the_rest_of_a_chain_ends_with_its_first_part(self, kit: Kit) -> None:
        kit.store.queue.revoke(["a"])
        kit.enqueue(
            message("a", edges=Edges(success=("b",), failure=("e",))),
            message("b", edges=Edges(waits=True, success=("c",), takes="a")),
            message("c", edges=WAITS),
            message("e", edges=WAITS),
        )
        assert kit.states("a", "b", "c", "e") == [*[states.CANCELLED] * 3, states.QUEUED]

    @pytest.mark.parametrize("first", ["body", "members"])
    def test_a_member_decides_its_join(self, kit: Kit, first: str) -> None:
        kit.store.queue.revoke(["J-1"])
        parts, joins = plan(2)
        kit.store.queue.enqueue(parts if first == "body" else parts[::-1], joins=joins)
        assert kit.states("body", "J-0", "J-1") == [
            states.FAILED,
            states.QUEUED,
            states.CANCELLED,
        ]
        assert kit.get("body").reason == "ChordError: member 1 (J-1) ended revoked"

    def test_a_body_is_not_released(self, kit: Kit) -> None:
        kit.store.queue.revoke(["body"])
        kit.store.queue.enqueue(*_call(plan(1)))
        worker = kit.worker()
        kit.done(worker, "J-0")
        assert kit.state("body") == states.CANCELLED
        assert worker.lease(5) == []

    def test_the_body_of_an_opened_join_takes_its_errbacks_along(self, kit: Kit) -> None:
        kit.store.queue.revoke(["body"])
        kit.store.queue.open_join("J", body(failure=("e",)), [message("e", edges=WAITS)])
        assert kit.states("body", "e") == [states.CANCELLED, states.QUEUED]


def _behind() -> tuple[list[Message], list[NewJoin]]:
    """A join K that follows the body of J: two members and a body."""
    members = [
        message(f"K-{index}", edges=Edges(waits=True, join=("K", index), within=("K", index)))
        for index in range(2)
    ]
    last = message("last", edges=Edges(waits=True, gathers="K"))
    return [*members, last], [NewJoin("K", "last", 2)]


def _call(made: tuple[list[Message], list[NewJoin]]) -> tuple[list[Message], None, list[NewJoin]]:
    return made[0], None, made[1]


__all__ = ["PlanSuite", "RevokedBeforeSuite", "body", "member", "plan"]
