"""Two stores: what the one of tasks keeps for a relay, and what the one of results is brought.
Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import StoredResult
from celeriac.testing.conformance.kit import Kit, Suite, message
from celeriac.testing.conformance.results import DEADLINE, Waiting


class MirrorSuite(Suite):
    """Outbox and mirrored results."""

    def test_results_of_another_store_can_be_kept(self, kit: Kit) -> None:
        mirrored = StoredResult("far", states.SUCCEEDED, body=b"1", ended_at=kit.now())
        kit.store.results.put_many([mirrored])
        kit.store.results.put_many([mirrored])
        assert kit.store.results.get_many(["far"]) == [mirrored]

    def test_waiting_for_a_mirrored_result_ends_when_it_comes(self, kit: Kit) -> None:
        kit.store.results.put_many([StoredResult("far", states.RUNNING)])
        waiting = Waiting(lambda: kit.store.results.wait(["far"], DEADLINE))
        mirrored = StoredResult("far", states.SUCCEEDED, body=b"1", ended_at=kit.now())
        kit.store.results.put_many([mirrored])
        assert waiting.result() == {"far": mirrored}

    def test_the_outbox_holds_ended_results_until_they_are_mirrored(self, kit: Kit) -> None:
        kit.configure(mirror=True)
        kit.send("a", "b", "c")
        worker = kit.worker()
        kit.done(worker, "a", b"1")
        kit.done(worker, "b", b"2")
        rows = kit.store.queue.outbox(10)
        assert [each.id for each in rows] == ["a", "b"]
        assert [each.result and each.result.body for each in rows] == [b"1", b"2"]
        assert [each.id for each in kit.store.queue.outbox(1)] == ["a"]
        assert kit.store.queue.outgoing(["c", "b", "a", "none"]) == {"a", "b"}
        assert kit.store.inspection.counts().outbox == 2
        kit.store.queue.mirrored([rows[0].number])
        kit.store.queue.mirrored([rows[0].number])
        assert [each.id for each in kit.store.queue.outbox(10)] == ["b"]
        assert kit.store.queue.outgoing(["a", "b"]) == {"b"}
        assert kit.store.inspection.counts().outbox == 1

    def test_every_end_goes_to_the_outbox_but_that_of_an_ignored_result(self, kit: Kit) -> None:
        kit.configure(mirror=True)
        kit.send("failed", "dead", "ignored", "ignored_failed", "revoked")
        worker = kit.worker()
        for outcome in (
            Outcome(states.FAILED, reason="ValueError"),
            Outcome(states.DEAD, reason="DeadTaskError", charge="crash"),
            Outcome(states.SUCCEEDED, keep=False),
            Outcome(states.FAILED, reason="ValueError", keep=False),
        ):
            worker.commit(worker.take(), outcome)
        kit.store.queue.revoke(["revoked"])
        kit.send("purged", queue="other")
        kit.store.queue.purge(["other"])
        kit.store.queue.revoke(["early"])
        kit.send("early")
        kit.send("expired", expires=kit.now() + 1)
        kit.tick(4)
        told = {each.id: each.result and each.result.state for each in kit.store.queue.outbox(20)}
        assert told == {
            "failed": states.FAILED,
            "dead": states.DEAD,
            "ignored_failed": states.FAILED,
            "revoked": states.CANCELLED,
            "purged": states.CANCELLED,
            "early": states.CANCELLED,
            "expired": states.EXPIRED,
        }

    def test_what_changes_while_it_is_brought_is_told_again(self, kit: Kit) -> None:
        kit.configure(mirror=True)
        kit.send("a")
        worker = kit.worker()
        worker.fail(worker.take())
        (first,) = kit.store.queue.outbox(10)
        assert kit.store.inspection.retry(["a"]) == ["a"]
        kit.store.queue.mirrored([first.number])
        (second,) = kit.store.queue.outbox(10)
        assert second.number > first.number
        assert second.result is not None
        assert second.result.state == states.QUEUED
        kit.done(worker, "a", b"1")
        kit.store.queue.mirrored([second.number])
        (third,) = kit.store.queue.outbox(10)
        assert third.number > second.number
        assert third.result is not None
        assert third.result.body == b"1"
        kit.store.results.forget(["a"])
        kit.store.queue.mirrored([third.number])
        (fourth,) = kit.store.queue.outbox(10)
        assert fourth.result is not None
        assert fourth.result.forgotten

    def test_a_new_run_of_an_id_is_told(self, kit: Kit) -> None:
        kit.configure(mirror=True)
        kit.send("a")
        worker = kit.worker()
        kit.done(worker, "a", b"1")
        kit.store.queue.mirrored([each.number for each in kit.store.queue.outbox(10)])
        kit.store.queue.enqueue([message("a", nonce="again")])
        (row,) = kit.store.queue.outbox(10)
        assert row.result is not None
        assert row.result.state == states.QUEUED
        kit.done(worker, "a", b"2")
        (row,) = kit.store.queue.outbox(10)
        assert row.result is not None
        assert row.result.body == b"2"

    def test_what_is_removed_leaves_the_outbox(self, kit: Kit) -> None:
        kit.configure(mirror=True, result_expires=100.0)
        kit.send("a", "b", "c")
        worker = kit.worker()
        kit.done(worker, "a")
        kit.done(worker, "b")
        assert kit.store.inspection.discard(["a"]) == ["a"]
        assert [each.id for each in kit.store.queue.outbox(10)] == ["b"]
        kit.tick(104)
        assert kit.store.inspection.get(["b"]) == [None]
        assert kit.store.queue.outbox(10) == []
        assert kit.store.inspection.counts().outbox == 0

    def test_a_mirrored_result_that_comes_late_is_left_out(self, kit: Kit) -> None:
        now = kit.now()
        early = StoredResult("far", states.FAILED, reason="ValueError", ended_at=now)
        later = StoredResult("far", states.SUCCEEDED, body=b"1", ended_at=now + 1)
        kit.store.results.put_many([early])
        kit.store.results.put_many([later])
        kit.store.results.put_many([early])
        assert kit.store.results.get_many(["far"]) == [later]
        kit.store.results.forget(["far"])
        kit.store.results.put_many([early])
        assert kit.store.results.get_many(["far"]) == [early]

    def test_a_mirrored_result_is_kept_for_result_expires(self, kit: Kit) -> None:
        kit.configure(result_expires=100.0)
        kept = [StoredResult(f"far-{n}", states.SUCCEEDED, ended_at=kit.now()) for n in range(1200)]
        kit.store.results.put_many(kept)
        kit.tick(98)
        assert kit.store.results.get_many(["far-0", "far-1199"]) == [kept[0], kept[-1]]
        kit.tick(4)
        ids = [each.id for each in kept]
        assert kit.store.results.get_many(ids) == [None] * len(ids)

    def test_a_patient_wait_goes_on_where_nothing_is_known(self, kit: Kit) -> None:
        assert kit.store.results.wait(["far"], 0.0) == {"far": None}
        assert kit.store.results.wait(["far"], 0.0, patient=True) == {}
        waiting = Waiting(lambda: kit.store.results.wait(["far", "no"], DEADLINE, patient=True))
        mirrored = StoredResult("far", states.SUCCEEDED, body=b"1", ended_at=kit.now())
        kit.store.results.put_many([mirrored])
        assert waiting.result() == {"far": mirrored}

    def test_without_mirroring_the_outbox_stays_empty(self, kit: Kit) -> None:
        kit.send("a")
        kit.done(kit.worker(), "a")
        assert kit.store.queue.outbox(10) == []


__all__ = ["MirrorSuite"]
