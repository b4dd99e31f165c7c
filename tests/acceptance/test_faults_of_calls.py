"""Row 45 of the fault matrix, where a call changes what there is: it is interrupted at any step, or
it is awaited and cancelled.

`test_faults_of_links.py` has those that send and read.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw
import pytest
from interrupts import interrupted_at
from servers import LOOPBACK, server
from wires import Proxy
from workers import LENIENCE, eventually, site_on

from celeriac import Celeriac, chord, states
from celeriac.bodies import seal
from celeriac.ids import new_owner_id
from celeriac.message import Edges, Header, Message, compose
from celeriac.outcome import Outcome, ResultBody
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options, Store

KINDS = ["sqlite", "redis"]
MANIFEST = Manifest(tasks={"job": TaskFacts()}, hostname="host", pid=1)
#: Seconds that a cancelled await may take; what it waited for would take five.
AT_ONCE = 1.0 * LENIENCE


def job(id: str, queue: str, edges: Edges | None = None) -> Message:
    return compose(Header(id, "job", f"n{id}", queue, edges=edges), b"[[],{}]")


# -- interrupted -----------------------------------------------------------------------------------


def queued(store: Store, ids: list[str], queue: str) -> None:
    store.queue.enqueue([job(id, queue) for id in ids])


def leased(store: Store, ids: list[str], queue: str) -> str:
    queued(store, ids, queue)
    owner = new_owner_id()
    store.queue.register(owner, MANIFEST)
    want = Want(free=len(ids))
    got = store.queue.exchange(owner, 0, 1, [], [], [queue], want).deliveries
    assert [each.id for each in got] == ids
    return owner


def ended(outcome: Outcome) -> Callable[[Store, list[str], str], None]:
    def prepare(store: Store, ids: list[str], queue: str) -> None:
        owner = leased(store, ids, queue)
        commits = [Commit(each, outcome) for each in store.queue.leases(owner)]
        store.queue.exchange(owner, 0, 2, commits, [], [queue], Want())

    return prepare


def opened(store: Store, ids: list[str], queue: str) -> None:
    body, *behind = ids
    edges = Edges(waits=True, gathers=f"J{queue}", success=tuple(behind))
    after = [job(id, queue, Edges(waits=True, takes=body)) for id in behind]
    store.queue.open_join(f"J{queue}", job(body, queue, edges), after)


@dataclass(frozen=True)
class Change:
    """A *call* that changes three records, after *prepare*. *each*: a step for each of them."""

    prepare: Callable[[Store, list[str], str], object]
    call: Callable[[Store, list[str], str], object]
    each: bool = False


CHANGES = {
    "open_join": Change(lambda *_: None, opened),
    "revoke": Change(queued, lambda store, ids, _: store.queue.revoke(ids)),
    "revoke what runs": Change(leased, lambda store, ids, _: store.queue.revoke(ids, "SIGTERM")),
    "purge": Change(queued, lambda store, _, queue: store.queue.purge([queue])),
    "retry": Change(
        ended(Outcome(states.FAILED, reason="why")),
        lambda store, ids, _: store.inspection.retry(ids),
        each=True,
    ),
    "discard": Change(queued, lambda store, ids, _: store.inspection.discard(ids)),
    "forget": Change(
        ended(Outcome(states.SUCCEEDED, b"1")), lambda store, ids, _: store.results.forget(ids)
    ),
}
#: What is called least takes its turn in `make test-faults`.
STEPPED = [
    each if each.startswith("re") else pytest.param(each, marks=pytest.mark.faults)
    for each in CHANGES
]


def picture(store: Store, ids: list[str]) -> list[object]:
    """What is there of each of *ids*, which are the ids of what is found."""
    found = store.inspection.get(ids)
    assert all(each is None or each.id == id for id, each in zip(ids, found, strict=True))
    return [
        each and (each.state, each.generation, each.body, each.revoked, each.terminate)
        for each in found
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", STEPPED)
def test_changes_that_are_interrupted_at_any_step_are_made_or_not(
    kind: str, what: str, tmp_path, shared
) -> None:
    """No transaction stays open, no answer is that of another call, and it can be made again."""
    change = CHANGES[what]
    with site_on(kind, tmp_path, shared) as place:
        store = place.store
        other = connect(place.broker, Options(namespace=place.options.namespace, timeout=5.0))
        seen: set[str] = set()
        events, cut = -1, True
        while cut:
            events += 1
            ids, queue = [f"{events}.{part}" for part in range(3)], f"q{events}"
            change.prepare(other, ids, queue)
            before = picture(other, ids)
            if not events:
                # What is read from files is read by now, and this is what the call does.
                change.call(store, ids, queue)
                after = picture(other, ids)
                assert after != before
                continue
            cut = interrupted_at(events, partial(change.call, store, ids, queue))
            # Somebody else can write at once: no transaction was left open.
            other.queue.enqueue([job(f"{events}.other", "another")])
            now = picture(store, ids)
            whole = now in (before, after)
            assert whole or (change.each and all(map(made_or_not, now, before, after))), events
            assert picture(other, ids) == now, events
            seen.add("after" if now == after else "before")
            change.call(store, ids, queue)
            assert picture(other, ids) == after, events
        assert events > 50
        assert seen == {"before", "after"}


def made_or_not(now: object, before: object, after: object) -> bool:
    return now in (before, after)


# -- cancelled -------------------------------------------------------------------------------------


@dataclass
class Seat:
    """A client in this process: its *app* and its task, and the same store reached directly."""

    app: Celeriac
    task: Any
    near: Store
    #: While this lasts the store answers the app nothing.
    still: Callable[[], contextlib.AbstractContextManager[Any]]

    def records(self) -> dict[str, Any]:
        listed = [each.id for each in self.near.inspection.list(limit=10_000)]
        return {each.id: each for each in self.near.inspection.get(listed) if each}

    def finish(self, value: bytes) -> None:
        """Do what a worker does with all that is queued."""
        queue, owner = self.near.queue, new_owner_id()
        queue.register(owner, MANIFEST)
        got = queue.exchange(owner, 0, 1, [], [], ["celery"], Want(free=1000)).deliveries
        commits = [
            Commit(
                each.fence,
                Outcome(states.SUCCEEDED, seal(ResultBody("json", value), each.id, None)),
            )
            for each in got
        ]
        queue.exchange(owner, 0, 2, commits, [], ["celery"], Want())
        queue.close_owner(owner)


@pytest.fixture(params=KINDS)
def seat(request, tmp_path) -> Iterator[Seat]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = near = f"sqlite:///{tmp_path}/a.db"
            still = stopped_file(f"{tmp_path}/a.db")
        else:
            redis = stack.enter_context(server("redis"))
            proxy = stack.enter_context(Proxy(redis.port))
            url, near = f"redis://{LOOPBACK}:{proxy.port}/0", redis.url
            still = stopped_link(proxy)
        app = stack.enter_context(Celeriac("client", broker=url, set_as_current=False))
        yield Seat(app, app.task(name="job")(lambda *args: args), connect(near), still)


def stopped_file(file: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    @contextmanager
    def still() -> Iterator[None]:
        with contextlib.closing(apsw.Connection(file)) as other:
            other.set_busy_timeout(10_000)
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    return still


def stopped_link(proxy: Proxy) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    @contextmanager
    def still() -> Iterator[None]:
        proxy.stall()
        try:
            yield
        finally:
            proxy.flow()

    return still


async def cancelled(call: asyncio.Task) -> None:
    """Cancel what is under way; that takes no time."""
    done, _ = await asyncio.wait({call}, timeout=0.3)
    assert not done, "it is under way"
    began = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - began < AT_ONCE


def test_a_send_that_is_cancelled_is_whole_or_not_there(seat: Seat) -> None:
    """What was given to the store goes on; the thread and its connection serve the next one."""
    task = seat.task

    async def main() -> list[str]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        kept = [(await task.adelay(0)).id]
        with seat.still():
            await cancelled(asyncio.create_task(task.aapply_async((1,), task_id="cut")))
        kept.append((await task.adelay(2)).id)
        flow = chord([task.s(3), task.s(4)], task.s(), app=seat.app)
        with seat.still():
            await cancelled(asyncio.create_task(flow.aapply_async()))
        kept.append((await asyncio.wait_for(task.adelay(5), 30)).id)
        return kept

    kept = asyncio.run(main())
    found = seat.records()
    parts = [each for each in found.values() if each.id not in {*kept, "cut"}]
    assert len(parts) in (0, 3), "all of the chord or none of it"
    assert set(kept) <= found.keys()
    assert [each.state for each in found.values()].count(states.WAITING) == len(parts) // 3
    # And all that is there can be run to its end, a body after its members.
    seat.finish(b"7")
    seat.finish(b"8")
    assert {each.state for each in seat.records().values()} == {states.SUCCEEDED}


def test_a_send_that_is_cancelled_at_any_moment_is_whole_or_not_there(seat: Seat) -> None:
    task, count = seat.task, 60

    async def main() -> list[Any]:
        sends = []
        for number in range(count):
            sends.append(asyncio.create_task(task.aapply_async((number,), task_id=f"c{number}")))
            for _ in range(number % 6):
                await asyncio.sleep(0)
            sends[-1].cancel() if number % 3 else None
            if number % 20 == 19:
                await asyncio.wait(sends)
        return await asyncio.gather(*sends, return_exceptions=True)

    ends = asyncio.run(main())  # which waits for the threads
    told = {each.id for each in ends if not isinstance(each, BaseException)}
    assert {type(each) for each in ends if isinstance(each, BaseException)} == {
        asyncio.CancelledError
    }
    found = seat.records()
    assert told <= found.keys() <= {f"c{number}" for number in range(count)}
    assert {each.state for each in found.values()} == {states.QUEUED}
    for number in range(count):
        record = found.get(f"c{number}")
        if record is not None:
            assert seat.app.AsyncResult(record.id).args == [number]


def test_a_wait_that_is_cancelled_leaves_the_others_and_its_own_thread_ends(seat: Seat) -> None:
    task = seat.task

    async def main() -> None:
        first, second = await task.adelay(1), await task.adelay(2)
        # The first to wait listens for all.
        waits = [asyncio.create_task(first.aget(timeout=600)) for _ in range(3)]
        waits.append(asyncio.create_task(second.aget(timeout=600)))
        await cancelled(waits[0])
        await cancelled(waits[2])
        await asyncio.to_thread(seat.finish, b"7")
        assert await asyncio.gather(waits[1], waits[3]) == [7, 7]
        # Whoever was cancelled may ask again, and others may send and wait.
        assert await first.aget(timeout=600) == 7
        third = await task.adelay(3)
        with seat.still():
            await cancelled(asyncio.create_task(third.aget(timeout=600)))
        waiting = asyncio.create_task(third.aget(timeout=600))
        await asyncio.to_thread(seat.finish, b"8")
        assert await waiting == 8
        # One that waits for what does not end.
        never = await task.adelay(4)
        await cancelled(asyncio.create_task(never.aget(timeout=600)))

    asyncio.run(main())
    eventually(
        lambda: not [each for each in threading.enumerate() if each.name == "await"],
        "the threads of waits have ended",
    )


@pytest.mark.parametrize("call", ["arevoke", "aforget"])
def test_a_revoke_or_forget_that_is_cancelled_is_made_or_not(seat: Seat, call: str) -> None:
    async def main() -> Any:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        sent = await seat.task.adelay(1)
        if call == "aforget":
            await asyncio.to_thread(seat.finish, b"7")
        with seat.still():
            await cancelled(asyncio.create_task(getattr(sent, call)()))
        await asyncio.wait_for(seat.task.adelay(2), 30)  # behind it, on its connection
        return sent

    sent = asyncio.run(main())
    record = seat.records()[sent.id]
    if call == "arevoke":
        assert record.state in (states.QUEUED, states.CANCELLED)
    else:
        assert record.state == states.SUCCEEDED
        assert record.body is None or record.body == seal(ResultBody("json", b"7"), sent.id, None)
