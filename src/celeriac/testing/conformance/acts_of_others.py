"""Cases of ``lost_answers``: results, places, schedules, inspection, bus. Layer 6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celeriac import states
from celeriac.message import Edges
from celeriac.records import (
    StoredResult,
)
from celeriac.stores.base import Entry, Store
from celeriac.testing.conformance.acts import Act, case, generation_is
from celeriac.testing.conformance.kit import Kit, message
from celeriac.testing.conformance.plans import plan
from celeriac.testing.conformance.results import DEADLINE
from celeriac.testing.conformance.workflows import chain
from celeriac.testing.faults import Kind

# -- Results -----------------------------------------------------------------------------------


def _ended(kit: Kit) -> StoredResult:
    kit.send("a")
    kit.done(kit.worker(), "a")
    (found,) = kit.store.results.get_many(["a"])
    assert found is not None
    return found


@case("results.get_many")
def _one_that_ended(kit: Kit, store: Store) -> Act:
    found = _ended(kit)
    return Act(lambda: store.results.get_many(["a", "b"]), [found, None], changes=False)


@case("results.wait")
def _for_one_that_ended(kit: Kit, store: Store) -> Act:
    found = _ended(kit)
    return Act(lambda: store.results.wait(["a"], DEADLINE), {"a": found}, changes=False)


@case("results.forget")
def _one_result(kit: Kit, store: Store) -> Act:
    _ended(kit)
    return Act(lambda: store.results.forget(["a"]))


@case("results.put_many")
def _of_another_store(kit: Kit, store: Store) -> Act:
    told = StoredResult("far", states.SUCCEEDED, body=b"1", ended_at=kit.now())
    return Act(lambda: store.results.put_many([told]))


@case("results.join_results")
def _of_a_join(kit: Kit, store: Store) -> Act:
    parts, joins = plan(2)
    kit.store.queue.enqueue(parts, joins=joins)
    kit.done(kit.worker(), "J-0")
    make = lambda: [each and each.id for each in store.results.join_results("J")]  # noqa: E731
    return Act(make, ["J-0", None], changes=False)


# -- Coordinator -------------------------------------------------------------------------------


@case("coordinator.acquire")
def _the_only_place(kit: Kit, store: Store) -> Act:
    def proof(kind: Kind) -> None:
        assert not kit.store.coordinator.acquire("k", "other", 1, 10)
        kit.store.coordinator.release("k", "holder")
        assert kit.store.coordinator.acquire("k", "other", 1, 10)

    make = lambda: store.coordinator.acquire("k", "holder", 1, 10)  # noqa: E731 - as above
    return Act(make, True, proof=proof, changes=False)


@case("coordinator.release")
def _a_place(kit: Kit, store: Store) -> Act:
    kit.store.coordinator.acquire("k", "holder", 2, 10)
    kit.store.coordinator.acquire("k", "second", 2, 10)

    def proof(kind: Kind) -> None:
        assert kit.store.coordinator.acquire("k", "third", 2, 10)
        assert not kit.store.coordinator.acquire("k", "fourth", 2, 10)

    make = lambda: store.coordinator.release("k", "holder")  # noqa: E731 - as above
    return Act(make, proof=proof, changes=False)


@case("coordinator.take")
def _from_a_bucket(kit: Kit, store: Store) -> Act:
    def proof(kind: Kind) -> None:
        # The one call that a repeat makes twice: so the rate is kept to, never exceeded.
        left = [kit.store.coordinator.take("k", 1, 1.0, 3) for _ in range(3)]
        assert left.count(0.0) == (1 if kind == "after" else 2)

    make = lambda: store.coordinator.take("k", 1, 1.0, 3)  # noqa: E731 - as above
    return Act(make, 0.0, proof=proof, changes=False)


# -- Schedules ---------------------------------------------------------------------------------


@case("schedules.load")
def _the_entries(kit: Kit, store: Store) -> Act:
    kit.store.schedules.save(Entry("e", b"1"))
    return Act(store.schedules.load, [Entry("e", b"1")], changes=False)


@case("schedules.save")
def _in_place_of_another(kit: Kit, store: Store) -> Act:
    kit.store.schedules.save(Entry("e", b"1", last_tick=5.0))
    return Act(lambda: store.schedules.save(Entry("e", b"2", enabled=False)))


@case("schedules.remove")
def _an_entry(kit: Kit, store: Store) -> Act:
    kit.store.schedules.save(Entry("e", b"1", last_tick=5.0))
    return Act(lambda: store.schedules.remove("e"), True, False)


@case("schedules.claim")
def _a_tick(kit: Kit, store: Store) -> Act:
    kit.store.schedules.save(Entry("e", b"1"))

    def proof(kind: Kind) -> None:
        # False says that it is claimed, by whomever: what it fires is there, once.
        assert kit.store.schedules.load() == [Entry("e", b"1", 10.0)]
        assert [each.id for each in kit.store.inspection.list()] == ["t10"]
        assert kit.store.schedules.claim("e", 20.0, [message("t20")])

    make = lambda: store.schedules.claim("e", 10.0, [message("t10", nonce="t10")])  # noqa: E731
    return Act(make, True, False, proof=proof)


# -- Inspection --------------------------------------------------------------------------------


#: Of the first part of a chain (``workflows.chain``).
_EDGES: Final = Edges(success=("b",), failure=("e",))


def _failed(kit: Kit) -> None:
    chain(kit)
    worker = kit.worker()
    worker.fail(worker.take())
    worker.succeed(worker.take())  # the errback


@case("inspection.retry")
def _what_failed(kit: Kit, store: Store) -> Act:
    _failed(kit)
    # What runs again has not ended: a repeat reopens nothing.
    make = lambda: sorted(store.inspection.retry(["a"]))  # noqa: E731 - as above
    return Act(make, ["a", "b", "c", "e"], [], proof=lambda kind: generation_is(kit, "a", 1))


@case("inspection.retry")
def _with_other_arguments(kit: Kit, store: Store) -> Act:
    _failed(kit)
    mended = message("a", nonce="mended", payload=b"[[1],{}]", edges=_EDGES)
    make = lambda: sorted(store.inspection.retry(["a"], {"a": mended}))  # noqa: E731 - as above
    return Act(make, ["a", "b", "c", "e"], [])


@case("inspection.retry")
def _several(kit: Kit, store: Store) -> Act:
    kit.send("a", "b")
    worker = kit.worker()
    worker.fail(worker.take())
    worker.fail(worker.take())
    return Act(lambda: store.inspection.retry(["b", "a", "none"]), ["b", "a"], [])


@case("inspection.discard")
def _one_that_ended_and_one_that_waits(kit: Kit, store: Store) -> Act:
    kit.send("a", "b", "held")
    worker = kit.worker()
    kit.done(worker, "a")
    kit.store.queue.release("w1", [worker.take().fence], delay=5)
    worker.take()
    return Act(lambda: store.inspection.discard(["a", "b", "held"]), ["a", "b"], [])


_READS: Final[dict[str, Callable[[Any], Any]]] = {
    "counts": lambda inspection: inspection.counts(),
    "list": lambda inspection: inspection.list(),
    "get": lambda inspection: inspection.get(["a", "none"]),
    "join": lambda inspection: inspection.join("J"),
    "flow": lambda inspection: inspection.flow("F"),
    "workers": lambda inspection: inspection.workers(),
    "facts": lambda inspection: sorted(inspection.facts()),  # what they say may change meanwhile
    "traps": lambda inspection: inspection.traps(),
}


def _read(name: str) -> None:
    read = _READS[name]

    def _reads(kit: Kit, store: Store) -> Act:
        parts, joins = plan(1)
        kit.store.queue.enqueue([*parts, message("a", flow="F")], joins=joins)
        kit.worker()
        return Act(lambda: read(store.inspection), read(kit.store.inspection), changes=False)

    case(f"inspection.{name}")(_reads)


for _name in _READS:
    _read(_name)


# -- Bus ---------------------------------------------------------------------------------------


@case("bus.publish")
def _to_a_listener(kit: Kit, store: Store) -> Act:
    ears = kit.store.bus.listen("c")

    def proof(kind: Kind) -> None:
        # A hint: it may come twice, so commands carry a ticket.
        kit.store.bus.publish("c", b"last")
        heard = [ears.get(DEADLINE) for _ in range(3 if kind == "after" else 2)]
        ears.close()
        assert heard == [*([b"1"] * (len(heard) - 1)), b"last"]

    return Act(lambda: store.bus.publish("c", b"1"), proof=proof, changes=False)


@case("bus.listen")
def _on_a_channel(kit: Kit, store: Store) -> Act:
    def make() -> bytes | None:
        ears = store.bus.listen("c")
        kit.store.bus.publish("c", b"1")
        try:
            return ears.get(DEADLINE)
        finally:
            ears.close()

    return Act(make, b"1", changes=False)


@case("subscription.get")
def _what_was_said(kit: Kit, store: Store) -> Act:
    ears = store.bus.listen("c")
    kit.store.bus.publish("c", b"1")
    kit.store.bus.publish("c", b"2")
    # At most once: what was heard and lost on the way is gone, and the next one comes.
    return Act(
        lambda: ears.get(DEADLINE), b"1", b"2", proof=lambda kind: ears.close(), changes=False
    )
