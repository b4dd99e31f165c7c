"""The nursery when it has no slot left: a reason to wait, not to fail."""

import selectors
import time

import pytest

from celeriac.worker.dispatch import Dispatch
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.pools.nursery import EXECUTOR, Nursery, NurseryFull
from celeriac.worker.pools.prefork import Prefork
from celeriac.worker.slots import Slots
from celeriac.worker.spec import WorkerSpec


def test_with_all_slots_taken_it_says_so_and_the_pool_waits() -> None:
    slots = Slots.create(1)
    nursery = Nursery(WorkerSpec(app="none", hostname="here"), slots)
    nursery._free.clear()
    with pytest.raises(NurseryFull, match="all 1 slots are taken"):
        nursery.make(EXECUTOR, "title")
    incarnation = Incarnation(lease=15.0, margin=3.0)
    incarnation.begin(incarnation.owner, time.monotonic())
    selector = selectors.DefaultSelector()
    dispatch = Dispatch(incarnation, {}, None, lambda: None)
    pool = Prefork(nursery, dispatch, selector, 1, lambda _death, _ran: None)
    asked: list[str] = []
    make = nursery.make
    nursery.make = lambda *args: asked.append(args[0]) or make(*args)  # type: ignore[method-assign]
    nursery.sock = object()  # type: ignore[assignment]
    pool.fill()
    assert asked == [EXECUTOR]
    assert not pool.executors
    selector.close()
    slots.close()
