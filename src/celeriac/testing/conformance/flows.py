"""The parts of a workflow are found by its id. Each name states the rule."""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any

from celeriac import states
from celeriac.message import Alike, Edges
from celeriac.outcome import Outcome
from celeriac.testing.conformance.kit import Kit, Suite, message

WAITS = Edges(waits=True)


class FlowSuite(Suite):
    """``Inspection.flow``: the parts of one workflow."""

    def ids(self, kit: Kit, flow: str = "F", **page: Any) -> list[str]:
        return [each.id for each in kit.store.inspection.flow(flow, **page)]

    def test_its_parts_come_in_the_order_they_were_stored(self, kit: Kit) -> None:
        kit.send("a", "b", flow="F")
        kit.send("x", flow="G")
        kit.send("y")
        kit.enqueue(
            message("c", flow="F", edges=Edges(success=("d",))),
            message("d", flow="F", edges=WAITS),
        )
        assert self.ids(kit) == ["a", "b", "c", "d"]
        assert self.ids(kit, "G") == ["x"]
        assert self.ids(kit, "none") == []

    def test_a_single_part_is_found(self, kit: Kit) -> None:
        kit.send("opens-the-names")
        kit.send("a", flow="F")
        assert self.ids(kit) == ["a"]

    def test_parts_that_are_alike_are_found(self, kit: Kit) -> None:
        calls = [(f"a{number}", f"{number:016}") for number in range(5)]
        first = message("first", task="job", flow="F").header
        kit.store.queue.enqueue(Alike(first, calls, [b"[[],{}]"] * 5))
        kit.store.queue.enqueue(Alike(first, calls, [b"[[],{}]"] * 5))
        assert self.ids(kit) == [f"a{number}" for number in range(5)]

    def test_they_come_in_pages(self, kit: Kit) -> None:
        kit.send(*(f"m{number}" for number in range(7)), flow="F")
        assert self.ids(kit, limit=3) == ["m0", "m1", "m2"]
        assert self.ids(kit, limit=3, after="m2") == ["m3", "m4", "m5"]
        assert self.ids(kit, limit=3, after="m5") == ["m6"]
        assert self.ids(kit, limit=3, after="m6") == []

    def test_a_part_keeps_its_place_whatever_becomes_of_it(self, kit: Kit) -> None:
        kit.send("a", "b", "c", "d", flow="F")
        worker = kit.worker()
        kit.done(worker, "a")
        worker.again(worker.take())
        worker.fail(worker.take())
        kit.store.queue.revoke(["d"])
        records = kit.store.inspection.flow("F")
        assert [each.id for each in records] == ["a", "b", "c", "d"]
        assert [each.state for each in records] == [
            states.SUCCEEDED,
            states.QUEUED,
            states.FAILED,
            states.CANCELLED,
        ]
        kit.store.inspection.retry(["c"])
        assert self.ids(kit) == ["a", "b", "c", "d"]

    def test_messages_come_with_them_and_results_do_not(self, kit: Kit) -> None:
        kit.send("a", flow="F")
        worker = kit.worker()
        kit.done(worker, "a", b"result")
        (record,) = kit.store.inspection.flow("F")
        assert record.wire == message("a", flow="F").encode()
        assert record.body is None
        assert (record.state, record.attempt) == (states.SUCCEEDED, 1)

    def test_parts_made_by_a_commit_are_found(self, kit: Kit) -> None:
        kit.send("a", flow="F")
        worker = kit.worker()
        part = message("p", flow="F").encode()
        worker.commit(worker.take(), Outcome(states.SUCCEEDED, parts=(part,)))
        assert self.ids(kit) == ["a", "p"]

    def test_a_record_that_is_replaced_may_become_part_of_one(self, kit: Kit) -> None:
        kit.send("a", "b")
        worker = kit.worker()
        first = worker.take()
        kit.enqueue(message("p", flow="F"))
        worker.commit(first, Outcome(states.QUEUED, message=message("a", flow="F").encode()))
        assert self.ids(kit) == ["a", "p"]
        worker.commit(worker.take(), Outcome(states.QUEUED, message=message("b").encode()))
        assert self.ids(kit) == ["a", "p"]

    def test_a_record_that_is_rewritten_stays_part_of_it(self, kit: Kit) -> None:
        kit.send("a", flow="F")
        worker = kit.worker()
        worker.commit(worker.take(), Outcome(states.QUEUED, message=message("a").encode()))
        assert self.ids(kit) == ["a"]

    def test_a_new_run_of_an_id_is_part_of_its_own(self, kit: Kit) -> None:
        kit.send("a", "b", flow="F")
        worker = kit.worker()
        kit.done(worker, "a")
        kit.send("a", flow="G", nonce="again")
        assert self.ids(kit) == ["b"]
        assert self.ids(kit, "G") == ["a"]

    def test_what_is_removed_is_part_of_it_no_more(self, kit: Kit) -> None:
        kit.configure(result_expires=5.0)
        kit.send("a", "b", "c", flow="F")
        worker = kit.worker()
        kit.done(worker, "a")
        kit.store.inspection.discard(["b"])
        assert self.ids(kit) == ["a", "c"]
        kit.tick(30, alive=[worker])
        assert self.ids(kit) == ["c"]
        kit.done(worker, "c")
        kit.tick(30, alive=[worker])
        assert self.ids(kit) == []

    def test_a_wide_one_is_read_in_few_pages(self, kit: Kit) -> None:
        for start in range(0, 3000, 1000):
            kit.send(*(f"m{number}" for number in range(start, start + 1000)), flow="F")
        found: list[str] = []
        while page := self.ids(kit, after=found[-1] if found else None, limit=1100):
            found += page
        assert found == [f"m{number}" for number in range(3000)]


__all__ = ["FlowSuite"]
