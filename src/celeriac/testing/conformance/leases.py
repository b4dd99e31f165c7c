"""Protocol section 3: owners, exchanges, fences, hand-backs. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import pytest

from celeriac import states
from celeriac.exceptions import StoreError
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import Commit, Fence, Manifest, Stamp, TaskFacts, Verdict
from celeriac.testing.conformance.kit import Kit, Suite, Worker, message

AT_MOST_ONCE = {"job": TaskFacts(late=False)}


class ExchangeSuite(Suite):
    """One step, and it can be repeated."""

    def test_an_unregistered_owner_leases_nothing_and_is_told_lost(self, kit: Kit) -> None:
        kit.send("a")
        answer = Worker(kit.store, "nobody").exchange((), 5)
        assert (answer.lost, answer.deliveries) == (True, ())
        assert kit.state("a") == states.QUEUED

    def test_a_lease_shows_on_the_record(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w").take()
        record = kit.get("a")
        assert (record.state, record.owner, record.attempt) == (states.LEASED, "w", 1)
        assert (record.nonce, record.leased_at) == ("w.0.1", kit.now())
        assert record.stamp == Stamp.NONE

    def test_nothing_is_leased_twice(self, kit: Kit) -> None:
        kit.send("a")
        assert len(kit.worker("w1").lease(5)) == 1
        assert kit.worker("w2").lease(5) == []

    def test_the_same_seq_again_returns_the_same_deliveries(self, kit: Kit) -> None:
        kit.send("a", "b", "c")
        worker = kit.worker()
        first = worker.exchange((), 2)
        again = worker.exchange((), 2, seq=worker.seq)
        assert again.deliveries == first.deliveries
        assert again.more == first.more
        assert kit.state("c") == states.QUEUED

    def test_the_same_seq_again_reads_already_where_it_was_ok(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        one, two = worker.lease(2)
        stale = Fence("b", two.attempt, "w1.0.99")
        commits = [
            Commit(one.fence, Outcome(states.SUCCEEDED, b"1")),
            Commit(stale, Outcome(states.SUCCEEDED, b"2")),
        ]
        assert worker.exchange(commits).verdicts == (Verdict.OK, Verdict.FENCED)
        again = worker.exchange(commits, seq=worker.seq)
        assert again.verdicts == (Verdict.ALREADY, Verdict.FENCED)
        assert kit.get("a").body == b"1"

    def test_a_repeated_retry_is_not_charged_twice(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        commits = [Commit(worker.take().fence, Outcome(states.QUEUED, charge="retry"))]
        worker.exchange(commits, free=1)
        again = worker.exchange(commits, free=1, seq=worker.seq)
        assert again.verdicts == (Verdict.ALREADY,)
        assert [each.id for each in again.deliveries] == ["a"]
        assert (kit.get("a").retries, kit.get("a").attempt) == (1, 2)

    def test_a_repeat_leaves_out_what_is_no_longer_leased_under_its_nonce(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        a, b = worker.exchange((), 2).deliveries
        kit.store.queue.release("w1", [a.fence])
        assert worker.exchange((), 2, seq=worker.seq).deliveries == (b,)

    def test_a_lower_seq_is_refused_and_nothing_of_it_applied(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        worker.exchange()
        with pytest.raises(StoreError):
            worker.exchange([Commit(delivery.fence, Outcome(states.SUCCEEDED))], seq=1)
        assert kit.state("a") == states.LEASED

    def test_each_lane_has_its_own_seq(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        first = worker.exchange((), 1, lane=0, seq=7)
        second = worker.exchange((), 1, lane=1, seq=1)
        assert first.deliveries[0].nonce == "w1.0.7"
        assert second.deliveries[0].nonce == "w1.1.1"
        assert worker.exchange((), 1, lane=0, seq=7).deliveries == first.deliveries

    def test_commits_come_before_leases_in_one_step(self, kit: Kit) -> None:
        kit.send("a", edges=Edges(success=("b",)))
        kit.enqueue(message("b", edges=Edges(waits=True)))
        worker = kit.worker()
        delivery = worker.take()
        answer = worker.exchange([Commit(delivery.fence, Outcome(states.SUCCEEDED))], free=1)
        assert [each.id for each in answer.deliveries] == ["b"]

    def test_starts_are_noted_once(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.clock.advance(1)
        worker.start(delivery)
        first = kit.get("a")
        kit.clock.advance(1)
        worker.start(delivery)
        assert (first.state, first.started_at) == (states.RUNNING, kit.now() - 1)
        assert kit.get("a").started_at == first.started_at

    def test_a_beat_notes_starts_too(self, kit: Kit) -> None:
        kit.send("a")
        delivery = kit.worker().take()
        kit.store.queue.beat("w1", started=[delivery.fence])
        assert kit.state("a") == states.RUNNING

    def test_a_start_with_a_stale_fence_is_not_noted(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        old = worker.take()
        kit.store.queue.release("w1", [old.fence])
        worker.take()
        worker.start(old)
        assert kit.state("a") == states.LEASED

    def test_for_at_most_once_the_lease_is_the_start(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker(tasks=AT_MOST_ONCE).take()
        record = kit.get("a")
        assert (record.state, record.started_at) == (states.RUNNING, kit.now())
        assert record.stamp & Stamp.AT_MOST_ONCE

    def test_a_result_over_the_limit_fails_alone(self, kit: Kit) -> None:
        kit.configure(result_max=100)
        kit.send("a", "b")
        worker = kit.worker()
        a, b = worker.lease(2)
        answer = worker.exchange(
            [
                Commit(a.fence, Outcome(states.SUCCEEDED, b"x" * 101)),
                Commit(b.fence, Outcome(states.SUCCEEDED, b"x" * 100)),
            ]
        )
        assert answer.verdicts == (Verdict.OK, Verdict.OK)
        assert kit.states("a", "b") == [states.FAILED, states.SUCCEEDED]
        assert kit.get("a").reason.startswith("ResultTooLarge:")
        assert kit.get("a").body is None

    def test_an_outcome_with_a_broken_message_fails_alone(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        a, b = worker.lease(2)
        worker.exchange(
            [
                Commit(a.fence, Outcome(states.QUEUED, charge="retry", message=b"broken")),
                Commit(b.fence, Outcome(states.SUCCEEDED)),
            ]
        )
        assert kit.states("a", "b") == [states.FAILED, states.SUCCEEDED]
        assert kit.get("a").reason.startswith("DecodeError:")


class FenceSuite(Suite):
    """(id, attempt, nonce) on every write a worker makes."""

    def test_a_commit_writes_state_result_and_ends_the_lease(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.clock.advance(1)
        assert worker.succeed(delivery, b"42") is Verdict.OK
        record = kit.get("a")
        assert (record.state, record.body, record.owner) == (states.SUCCEEDED, b"42", None)
        assert record.ended_at == kit.now()

    @pytest.mark.parametrize("state", sorted(states.TERMINAL - {states.EXPIRED}))
    def test_a_commit_may_end_a_record_in_any_terminal_state(self, kit: Kit, state: str) -> None:
        kit.send("a")
        worker = kit.worker()
        verdict = worker.commit(worker.take(), Outcome(state, reason="because"))
        assert verdict is Verdict.OK
        assert (kit.state("a"), kit.get("a").reason) == (state, "because")

    def test_a_resent_commit_reads_already(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        worker.succeed(delivery, b"1")
        assert worker.succeed(delivery, b"2") is Verdict.ALREADY
        assert kit.get("a").body == b"1"

    def test_a_resent_retry_reads_already_even_while_leased_again(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        first = worker.take()
        worker.again(first)
        second = worker.take()
        assert worker.again(first) is Verdict.ALREADY
        assert worker.succeed(second) is Verdict.OK
        assert kit.get("a").retries == 1

    def test_a_commit_for_an_absent_record_is_fenced(self, kit: Kit) -> None:
        worker = kit.worker()
        commit = Commit(Fence("gone", 1, "w1.0.1"), Outcome(states.SUCCEEDED))
        assert worker.exchange([commit]).verdicts == (Verdict.FENCED,)
        assert kit.find("gone") is None

    def test_another_attempt_or_nonce_is_fenced(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        fence = worker.take().fence
        for wrong in (Fence("a", 2, fence.nonce), Fence("a", 1, "w1.0.9"), Fence("a", 0, "")):
            commit = Commit(wrong, Outcome(states.SUCCEEDED))
            assert worker.exchange([commit]).verdicts == (Verdict.FENCED,)
        assert kit.state("a") == states.LEASED

    def test_who_was_reaped_is_fenced_and_the_new_holder_decides(self, kit: Kit) -> None:
        kit.send("a")
        slow = kit.worker("slow")
        lost = slow.take()
        kit.reap(["slow"])
        worker = kit.worker("w2")
        current = worker.take()
        assert slow.succeed(lost, b"late") is Verdict.FENCED
        assert worker.succeed(current, b"good") is Verdict.OK
        assert slow.succeed(lost, b"late") is Verdict.FENCED
        assert kit.get("a").body == b"good"

    def test_a_commit_that_is_late_but_not_yet_reaped_counts(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.clock.advance(60)
        assert worker.succeed(delivery) is Verdict.OK

    def test_commits_are_judged_by_fence_even_if_the_owner_is_unknown(self, kit: Kit) -> None:
        kit.send("a")
        delivery = kit.worker("w1").take()
        answer = Worker(kit.store, "other").exchange(
            [Commit(delivery.fence, Outcome(states.SUCCEEDED))]
        )
        assert (answer.verdicts, answer.lost) == ((Verdict.OK,), True)

    def test_update_keeps_state_and_meta_for_the_present_run(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        assert kit.store.queue.update(delivery.fence, "PROGRESS", b"50") is Verdict.OK
        assert kit.store.queue.update(delivery.fence, "PROGRESS", b"60") is Verdict.OK
        (result,) = kit.store.results.get_many(["a"])
        assert result is not None
        assert (result.custom_state, result.meta) == ("PROGRESS", b"60")
        worker.again(delivery)
        worker.take()
        assert (kit.get("a").custom_state, kit.get("a").meta) == (None, None)

    def test_what_was_shown_last_stays_with_a_record_that_ended(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        for id, state in (("a", states.FAILED), ("b", states.DEAD)):
            delivery = worker.take()
            kit.store.queue.update(delivery.fence, "STARTED", b"so far")
            worker.exchange([Commit(delivery.fence, Outcome(state, reason="X: gone"))])
            (result,) = kit.store.results.get_many([id])
            assert result is not None
            assert (result.state, result.meta, kit.get(id).meta) == (state, b"so far", b"so far")
        kit.store.inspection.retry(["a", "b"])
        assert (kit.get("a").meta, kit.get("b").meta) == (None, None)

    def test_update_is_fenced(self, kit: Kit) -> None:
        kit.send("a")
        delivery = kit.worker().take()
        kit.reap(["w1"])
        assert kit.store.queue.update(delivery.fence, "PROGRESS", b"") is Verdict.FENCED
        assert kit.store.queue.update(Fence("no", 1, ""), "X", None) is Verdict.FENCED


class RepeatSuite(Suite):
    """Retries, crashes and what they are charged to."""

    def test_a_retry_waits_for_its_delay_and_grows_retries(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        assert worker.again(worker.take(), delay=5, reason="ValueError: x") is Verdict.OK
        record = kit.get("a")
        assert (record.state, record.retries, record.crashes) == (states.SCHEDULED, 1, 0)
        assert (record.due, record.reason, record.owner) == (kit.now() + 5, "ValueError: x", None)
        assert worker.lease() == []
        kit.clock.advance(5)
        delivery = worker.take()
        assert (delivery.retries, delivery.attempt) == (1, 2)

    def test_a_retry_may_name_an_eta(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        eta = kit.now() + 9
        worker.commit(worker.take(), Outcome(states.SCHEDULED, eta=eta, charge="retry"))
        assert kit.get("a").due == eta

    def test_a_crash_grows_crashes_only(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.again(worker.take(), charge="crash")
        assert (kit.get("a").retries, kit.get("a").crashes) == (0, 1)

    def test_the_crash_that_ends_it_counts(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.again(worker.take(), charge="crash")
        worker.commit(worker.take(), Outcome(states.DEAD, reason="x", charge="crash"))
        assert (kit.get("a").state, kit.get("a").crashes) == (states.DEAD, 2)

    def test_what_is_repeated_takes_a_new_sequence(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        worker.again(worker.take())
        assert [each.id for each in worker.lease(2)] == ["b", "a"]

    def test_a_retry_may_bring_a_new_message(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        new = message("a", nonce="new", queue="slow", payload=b"[[2],{}]")
        worker.again(worker.take(), message=new.encode())
        assert worker.lease() == []
        assert worker.take(queues=["slow"]).wire == new.encode()
        assert kit.store.inspection.counts().states == {"slow": {states.LEASED: 1}}

    def test_the_first_send_is_known_as_a_resend_after_that(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.again(worker.take(), message=message("a", nonce="new").encode())
        kit.send("a")
        assert len(worker.lease(5)) == 1

    def test_replace_waits_and_its_parts_come_in_the_same_commit(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        part = message("part", edges=Edges(success=("a",)))
        last = message("a", edges=Edges(waits=True, takes="part"))
        verdict = worker.commit(
            worker.take(),
            Outcome(states.WAITING, message=last.encode(), parts=(part.encode(),)),
        )
        assert verdict is Verdict.OK
        assert kit.states("a", "part") == [states.WAITING, states.QUEUED]
        kit.done(worker, "part", b"of the part")
        delivery = worker.take()
        assert (delivery.id, delivery.inputs) == ("a", b"of the part")

    def test_a_fenced_commit_stores_no_parts(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.reap(["w1"])
        part = message("part").encode()
        assert worker.commit(delivery, Outcome(states.WAITING, parts=(part,))) is Verdict.FENCED
        assert kit.find("part") is None


class ReleaseSuite(Suite):
    """Handing back."""

    def test_what_was_not_started_gives_its_attempt_back_and_keeps_its_place(
        self, kit: Kit
    ) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        delivery = worker.take()
        assert kit.store.queue.release("w1", [delivery.fence]) == (Verdict.OK,)
        record = kit.get("a")
        assert (record.state, record.attempt, record.owner) == (states.QUEUED, 0, None)
        assert (record.retries, record.crashes, record.losses) == (0, 0, 0)
        again = worker.take()
        assert (again.id, again.attempt) == ("a", 1)
        assert again.nonce != delivery.nonce

    def test_what_was_interrupted_keeps_its_attempt_and_takes_a_new_sequence(
        self, kit: Kit
    ) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        delivery = worker.take()
        worker.start(delivery)
        kit.store.queue.release("w1", [delivery.fence], started=True)
        assert (kit.get("a").attempt, kit.get("a").crashes) == (1, 0)
        assert [each.id for each in worker.lease(2)] == ["b", "a"]

    def test_release_can_be_repeated(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        fence = worker.take().fence
        kit.store.queue.release("w1", [fence])
        assert kit.store.queue.release("w1", [fence]) == (Verdict.ALREADY,)
        worker.take()
        assert kit.store.queue.release("w1", [fence]) == (Verdict.ALREADY,)
        assert kit.state("a") == states.LEASED

    def test_release_with_a_delay_schedules(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        kit.store.queue.release("w1", [worker.take().fence], delay=3.0)
        assert (kit.state("a"), kit.get("a").due) == (states.SCHEDULED, kit.now() + 3)

    def test_an_interrupted_at_most_once_record_fails(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker(tasks=AT_MOST_ONCE)
        begun, untouched = worker.lease(2)
        kit.store.queue.release("w1", [begun.fence], started=True)
        kit.store.queue.release("w1", [untouched.fence])
        assert kit.states("a", "b") == [states.FAILED, states.QUEUED]
        assert kit.get("a").reason.startswith("WorkerLostError:")

    def test_a_stale_release_is_fenced(self, kit: Kit) -> None:
        kit.send("a")
        fence = kit.worker("w1").take().fence
        kit.reap(["w1"])
        kit.worker("w2").take()
        gone = Fence("gone", 1, "n")
        verdicts = kit.store.queue.release("w1", [fence, gone])
        assert verdicts == (Verdict.FENCED, Verdict.FENCED)
        assert kit.state("a") == states.LEASED

    def test_close_hands_back_everything_then_unregisters(self, kit: Kit) -> None:
        kit.send("a", "b", "c")
        worker = kit.worker()
        worker.lease(2)
        assert kit.store.queue.close_owner("w1") == 2
        assert kit.store.inspection.workers() == []
        assert kit.states("a", "b", "c") == [states.QUEUED] * 3
        assert [kit.get(id).losses for id in "abc"] == [0, 0, 0]
        assert worker.exchange((), 1).lost
        assert kit.store.queue.close_owner("w1") == 0

    def test_after_close_the_old_fence_is_fenced(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.close_owner("w1")
        assert worker.succeed(delivery) is Verdict.FENCED

    def test_register_can_be_repeated_and_keeps_what_is_held(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker(concurrency=1)
        delivery = worker.take()
        kit.store.queue.register("w1", Manifest({"job": TaskFacts()}, concurrency=2))
        (view,) = kit.store.inspection.workers()
        assert (view.manifest.concurrency, view.held) == (2, 1)
        assert worker.succeed(delivery) is Verdict.OK


__all__ = ["ExchangeSuite", "FenceSuite", "ReleaseSuite", "RepeatSuite"]
