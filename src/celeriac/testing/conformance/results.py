"""Results, retention, waiting, mirroring. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from celeriac import states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.testing.conformance.kit import QUEUE, Kit, Suite, Worker, message

#: No test waits that long unless the store is broken.
DEADLINE = 20.0


class Waiting:
    """A call that blocks, made in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._call()
        except BaseException as error:  # noqa: BLE001 - told to the test by result()
            self.error = error

    def blocked(self, seconds: float) -> bool:
        """Whether the call has not returned within *seconds*."""
        self._thread.join(seconds)
        return self._thread.is_alive()

    def result(self) -> Any:
        """The call's answer; fails if it does not come."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"still blocked after {DEADLINE} s"
        if self.error is not None:
            raise self.error
        return self.answer


class ResultsSuite(Suite):
    """Reading what came of a task."""

    def test_results_are_read_in_order_and_none_where_there_is_no_record(self, kit: Kit) -> None:
        kit.send("a", "b")
        kit.done(kit.worker(), "a", b"1")
        a, none, b = kit.store.results.get_many(["a", "never", "b"])
        assert a is not None
        assert b is not None
        assert none is None
        assert (a.id, a.state, a.body, a.ended_at) == ("a", states.SUCCEEDED, b"1", kit.now())
        assert (b.state, b.body, b.ended_at) == (states.QUEUED, None, None)
        assert kit.store.results.get_many([]) == []

    def test_a_result_tells_retries_and_reason(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.again(worker.take())
        worker.fail(worker.take(), "ValueError: gone")
        (result,) = kit.store.results.get_many(["a"])
        assert result is not None
        assert (result.retries, result.reason) == (1, "ValueError: gone")

    def test_wait_returns_what_has_ended_already(self, kit: Kit) -> None:
        kit.send("a", "b")
        kit.done(kit.worker(), "a", b"1")
        found = kit.store.results.wait(["a", "b"], DEADLINE)
        assert list(found) == ["a"]
        assert found["a"] is not None
        assert found["a"].body == b"1"

    def test_wait_returns_none_for_an_id_without_a_record(self, kit: Kit) -> None:
        assert kit.store.results.wait(["never"], DEADLINE) == {"never": None}

    def test_wait_returns_nothing_after_the_timeout(self, kit: Kit) -> None:
        kit.send("a")
        assert kit.store.results.wait(["a"], 0.01) == {}

    def test_wait_is_woken_by_the_commit(self, kit: Kit) -> None:
        kit.send("a", "b")
        waiting = Waiting(lambda: kit.store.results.wait(["a", "b"], DEADLINE))
        kit.done(kit.worker(), "a", b"1")
        assert list(waiting.result()) == ["a"]

    def test_wait_is_woken_by_every_way_to_end(self, kit: Kit) -> None:
        kit.send("revoked")
        kit.send("expired", expires=kit.now() + 1)
        kit.send("lost", queue="other")
        kit.enqueue(message("up", queue="up", edges=Edges(success=("down",))))
        kit.enqueue(message("down", edges=Edges(waits=True)))
        worker = kit.worker()
        worker.take(queues=["other"])
        up = worker.take(queues=["up"])
        waits = {
            id: Waiting(partial(kit.store.results.wait, [id], DEADLINE))
            for id in ("revoked", "expired", "lost", "down")
        }
        kit.store.queue.revoke(["revoked", "lost"])
        worker.fail(up)
        kit.clock.advance(1)
        kit.reap(["w1"])
        ended = {id: waiting.result()[id].state for id, waiting in waits.items()}
        assert ended == {
            "revoked": states.CANCELLED,
            "expired": states.EXPIRED,
            "lost": states.CANCELLED,
            "down": states.FAILED,
        }

    def test_many_waiters_in_many_threads_all_get_theirs(self, kit: Kit) -> None:
        ids = [f"m{number}" for number in range(20)]
        kit.send(*ids)
        waits = {id: Waiting(partial(kit.store.results.wait, [id], DEADLINE)) for id in ids}
        worker = kit.worker()
        for delivery in worker.lease(20):
            worker.succeed(delivery, delivery.id.encode())
        assert {id: waiting.result()[id].body for id, waiting in waits.items()} == {
            id: id.encode() for id in ids
        }

    def test_a_result_with_keep_false_shrinks_to_a_tombstone(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        kit.store.queue.update(delivery.fence, "PROGRESS", b"half")
        worker.succeed(delivery, b"dropped", keep=False)
        record = kit.get("a")
        assert (record.state, record.body, record.wire) == (states.SUCCEEDED, None, None)
        assert record.meta is None
        kit.send("a")
        assert kit.state("a") == states.SUCCEEDED

    def test_a_failure_is_kept_whole_even_with_keep_false(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.commit(worker.take(), Outcome(states.FAILED, b"why", keep=False, reason="E: x"))
        record = kit.get("a")
        assert (record.body, record.reason) == (b"why", "E: x")
        assert kit.store.inspection.retry(["a"]) == ["a"]

    def test_forget_drops_the_result_of_what_has_ended(self, kit: Kit) -> None:
        kit.send("a", "b")
        kit.done(kit.worker(), "a")
        kit.store.results.forget(["a", "b", "never"])
        assert kit.get("a").body is None
        assert kit.get("a").state == states.SUCCEEDED
        assert kit.get("b").wire is not None
        assert [each and each.forgotten for each in kit.store.results.get_many(["a", "b"])] == [
            True,
            False,
        ]

    def test_an_ignored_result_is_not_a_forgotten_one(self, kit: Kit) -> None:
        kit.send("a")
        worker = kit.worker()
        worker.succeed(worker.take(), keep=False)
        (found,) = kit.store.results.get_many(["a"])
        assert found is not None
        assert (found.body, found.forgotten) == (None, False)

    def test_the_record_names_the_worker_that_held_it_last(self, kit: Kit) -> None:
        kit.send("a", "b")
        assert kit.get("a").worker is None
        worker = kit.worker()
        kit.done(worker, "a")
        view = kit.store.inspection.workers()[0]
        assert kit.get("a").worker == (view.manifest.hostname or view.owner)
        assert kit.get("a").owner is None
        assert kit.get("b").worker is None


class RetentionSuite(Suite):
    """What is kept how long."""

    def ended(self, kit: Kit, id: str, outcome: Outcome) -> None:
        kit.send(id)
        worker = kit.worker(f"worker-of-{id}")
        worker.commit(worker.take(), outcome)

    def test_a_result_is_kept_for_result_expires(self, kit: Kit) -> None:
        kit.configure(result_expires=20.0)
        self.ended(kit, "a", Outcome(states.SUCCEEDED, b"1"))
        assert kit.get("a").drop_at == kit.now() + 20
        kit.tick(18)
        assert kit.find("a") is not None
        passes = kit.tick(4)
        assert kit.find("a") is None
        assert sum(each.swept for each in passes) == 1

    def test_none_keeps_results_for_ever(self, kit: Kit) -> None:
        kit.configure(result_expires=None)
        self.ended(kit, "a", Outcome(states.SUCCEEDED, b"1"))
        assert kit.get("a").drop_at is None

    def test_a_tombstone_is_kept_for_tombstone_expires(self, kit: Kit) -> None:
        kit.configure(tombstone_expires=20.0)
        self.ended(kit, "a", Outcome(states.SUCCEEDED, b"1", keep=False))
        kit.tick(18)
        assert kit.find("a") is not None
        kit.tick(4)
        assert kit.find("a") is None

    def test_failed_and_dead_are_kept_for_dead_expires(self, kit: Kit) -> None:
        kit.configure(result_expires=1.0, tombstone_expires=1.0, dead_expires=20.0)
        self.ended(kit, "a", Outcome(states.FAILED, b"1"))
        self.ended(kit, "b", Outcome(states.DEAD, keep=False))
        kit.tick(18)
        assert kit.find("a") is not None
        assert kit.find("b") is not None
        kit.tick(4)
        assert kit.find("a") is None
        assert kit.find("b") is None

    def test_of_failed_and_dead_the_oldest_go_above_the_limit(self, kit: Kit) -> None:
        kit.configure(dead_limit=2)
        for id in ("f1", "f2", "f3"):
            self.ended(kit, id, Outcome(states.FAILED))
            kit.clock.advance(1)
        for id in ("d1", "d2"):
            self.ended(kit, id, Outcome(states.DEAD))
        assert kit.reap().swept == 1
        assert kit.find("f1") is None
        assert [kit.state(id) for id in ("f2", "f3", "d1", "d2")] == [
            states.FAILED,
            states.FAILED,
            states.DEAD,
            states.DEAD,
        ]

    def test_a_unique_id_is_remembered_for_seven_days(self, kit: Kit) -> None:
        kit.configure(result_expires=10.0, tombstone_expires=10.0)
        kit.send("cron-1", nonce="cron-1")
        worker = kit.worker()
        worker.succeed(worker.take(), keep=False)
        kit.clock.advance(7 * 86_400.0 - 60)
        kit.tick(30)  # the first pass after so long removes nothing
        kit.send("cron-1", nonce="cron-1")
        assert kit.state("cron-1") == states.SUCCEEDED
        kit.tick(60)
        assert kit.find("cron-1") is None
        kit.send("cron-1", nonce="cron-1")
        assert kit.state("cron-1") == states.QUEUED

    def test_what_has_not_ended_is_never_removed(self, kit: Kit) -> None:
        kit.configure(result_expires=1.0, tombstone_expires=1.0, dead_expires=1.0)
        kit.send("a")
        kit.send("s", eta=kit.now() + 10_000)
        kit.send("w", edges=Edges(waits=True))
        kit.tick(30)
        assert kit.states("a", "s", "w") == [states.QUEUED, states.SCHEDULED, states.WAITING]

    def test_what_was_reopened_is_not_removed(self, kit: Kit) -> None:
        kit.configure(dead_expires=10.0)
        self.ended(kit, "a", Outcome(states.FAILED))
        kit.store.inspection.retry(["a"])
        kit.tick(20)
        assert kit.state("a") == states.QUEUED

    def test_a_fence_of_a_removed_record_is_fenced(self, kit: Kit) -> None:
        kit.configure(result_expires=4.0)
        kit.send("a")
        worker = kit.worker()
        delivery = worker.take()
        worker.succeed(delivery)
        kit.tick(6, alive=[worker])
        assert str(worker.succeed(delivery)) == "fenced"


class WaitSuite(Suite):
    """A doorbell: nothing that could be leased waits for the timeout."""

    def leased(self, kit: Kit, worker: Worker, queues: tuple[str, ...] = (QUEUE,)) -> Waiting:
        """Wait and look, as a worker does, until something is leased."""

        def loop() -> list[str]:
            while True:
                found = worker.lease(5, queues=queues)
                if found:
                    return [each.id for each in found]
                if not kit.store.queue.wait(queues, DEADLINE):
                    return []

        return Waiting(loop)

    def test_wait_tells_of_work_that_is_there(self, kit: Kit) -> None:
        kit.send("a")
        assert kit.store.queue.wait([QUEUE], DEADLINE)

    def test_wait_times_out(self, kit: Kit) -> None:
        while kit.store.queue.wait([QUEUE], 0.05):
            pass  # rings left over from opening the store

    def test_an_enqueue_rings(self, kit: Kit) -> None:
        waiting = self.leased(kit, kit.worker())
        kit.send("a")
        assert waiting.result() == ["a"]

    def test_a_release_rings(self, kit: Kit) -> None:
        other = kit.worker("w1")
        kit.send("a")
        delivery = other.take()
        waiting = self.leased(kit, kit.worker("w2"))
        kit.store.queue.release("w1", [delivery.fence])
        assert waiting.result() == ["a"]

    def test_a_retry_rings(self, kit: Kit) -> None:
        other = kit.worker("w1")
        kit.send("a")
        delivery = other.take()
        waiting = self.leased(kit, kit.worker("w2"))
        other.again(delivery)
        assert waiting.result() == ["a"]

    def test_a_successor_rings(self, kit: Kit) -> None:
        other = kit.worker("w1")
        kit.enqueue(message("a", edges=Edges(success=("b",))))
        kit.enqueue(message("b", edges=Edges(waits=True)))
        delivery = other.take()
        waiting = self.leased(kit, kit.worker("w2"))
        other.succeed(delivery)
        assert waiting.result() == ["b"]

    def test_a_reaped_record_rings(self, kit: Kit) -> None:
        kit.send("a")
        kit.worker("w1").take()
        waiting = self.leased(kit, kit.worker("w2"))
        kit.reap(["w1"])
        assert waiting.result() == ["a"]

    def test_parking_rings_a_worker_that_knows_the_name(self, kit: Kit) -> None:
        knows = kit.worker("w2", ["strange"])
        ignorant = kit.worker("w1", ["job"])
        kit.send("x", task="strange")
        ignorant.lease()
        assert kit.get("x").parked
        assert self.leased(kit, knows).result() == ["x"]

    def test_registering_a_name_rings(self, kit: Kit) -> None:
        kit.send("x", task="strange")
        kit.worker("w1", ["job"]).lease()
        waiting = self.leased(kit, kit.worker("w2", ["strange"]))
        assert waiting.result() == ["x"]

    def test_an_operators_retry_rings(self, kit: Kit) -> None:
        kit.send("a")
        other = kit.worker("w1")
        other.fail(other.take())
        waiting = self.leased(kit, kit.worker("w2"))
        kit.store.inspection.retry(["a"])
        assert waiting.result() == ["a"]

    def test_what_is_due_already_is_told(self, kit: Kit) -> None:
        kit.send("a", eta=kit.now() + 5)
        kit.clock.advance(6)
        assert kit.store.queue.wait([QUEUE], DEADLINE)
        assert kit.worker().take().id == "a"

    def test_wake_ends_every_wait_of_this_process(self, kit: Kit) -> None:
        def until_woken() -> bool:
            while not stop.is_set():
                kit.store.queue.wait([QUEUE], DEADLINE)
            return True

        stop = threading.Event()
        _ = kit.store  # opened here: of threads that open it at once each would have its own
        waits = [Waiting(until_woken) for _ in range(3)]
        stop.set()
        # A thread may have looked at `stop` and not begun to wait yet: it needs another one.
        while any(each.blocked(0.05) for each in waits):
            kit.store.queue.wake()
        assert [each.result() for each in waits] == [True] * 3


__all__ = ["ResultsSuite", "RetentionSuite", "WaitSuite", "Waiting"]
