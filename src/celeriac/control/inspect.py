"""Reads of a store's state, gathered for people and programs. Through the seam only.

Layer 4. Nothing here changes anything; everything here may be asked of any store at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from celeriac import states
from celeriac.control.destinations import NOWHERE, Destinations
from celeriac.control.flowreading import flow_of
from celeriac.control.phrases import clip, commands, iso
from celeriac.control.reading import header_of, message_of
from celeriac.control.why import Explanation, Situation, missing
from celeriac.records import BUILT_IN, Counts, JoinView, Record, RevokedStamp, WorkerView
from celeriac.stamps import keys_of
from celeriac.stores.base import Store
from celeriac.upstream import arguments_of

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = [
    "Overview",
    "QueueLine",
    "overview",
    "put_aside",
    "revoked_stamps",
    "situation",
    "with_arguments",
    "without_record",
]

#: How far a queue, or a workflow's surroundings, are looked through for one answer.
SCAN: Final = 1000
#: What ``dead list`` shows: ended without success, and an operator may want it back.
ASIDE: Final = (states.DEAD, states.FAILED)


def situation(
    store: Store, id: str, now: float, app: str = "", known: Destinations = NOWHERE
) -> Situation | None:
    """Everything that explains where the task *id* is; None without a record.

    *now* is the reader's wall clock; the store's own may differ by the clocks' difference. *app*
    is what ``-A`` names, for the commands in the advice, *known* where the application sends tasks.
    """
    record = store.inspection.get([id])[0]
    if record is None:
        return None
    if record.state in states.TERMINAL:
        return Situation(record, now, app=app, revoked=revoked_stamps(store, record))
    workers = tuple(store.inspection.workers())
    counts = store.inspection.counts([record.queue])
    before = _before(store, record, counts) if record.state == states.QUEUED else None
    upstream, join = _upstream(store, record) if record.state == states.WAITING else ((), None)
    return Situation(
        record,
        now,
        workers,
        counts,
        before,
        upstream,
        join,
        app=app,
        # Of the default lease of 15 s: two heartbeats.
        silent=store.options.lease * 0.4,
        known=known,
    )


def revoked_stamps(store: Store, record: Record) -> tuple[RevokedStamp, ...]:
    """The stamps that *record* carries and that calls are revoked by now."""
    header = header_of(record)
    if header is None or not header.stamps:
        return ()
    own = set(keys_of(header.stamps))
    return tuple(each for each in store.queue.revoked_stamps() if each.stamp in own)


def without_record(store: Store, id: str, app: str = "") -> Explanation:
    """What can be said of an id that is no task's; *app* is what ``-A`` names."""
    if flow_of(store, id) is None:
        place = f"{store.url} (namespace {store.options.namespace})"
        return missing(id, place, store.options.result_expires, app)
    shown = clip(id)
    return Explanation(
        shown,
        "group",
        f"{shown} is a group: its members are tasks, itself it is none.",
        advice=(
            commands(f"Where each of them stands: celeriac tree {shown}", app),
            commands(f"What they returned: celeriac result {shown}", app),
        ),
    )


def with_arguments(app: Celeriac, explained: Explanation) -> Explanation:
    """*explained* and, among its facts, with what the task is called, if that is kept."""
    record = explained.record
    shown = "" if record is None else arguments_of(app, record.task, message_of(record))
    if not shown:
        return explained
    task, *others = explained.facts
    return replace(explained, facts=(task, ("arguments", clip(shown, 500)), *others))


def _before(store: Store, record: Record, counts: Counts) -> int | None:
    """How many tasks of the queue come earlier; None if the queue is too long to look through."""
    parked = sum(counts.parked.get(record.queue, {}).values())
    queued = counts.states.get(record.queue, {}).get(states.QUEUED, 0)
    if record.parked or queued - parked > SCAN:
        return None
    others = store.inspection.list([states.QUEUED], queue=record.queue, limit=SCAN)
    mine = _place(record)
    return sum(1 for each in others if not each.parked and _place(each) < mine)


def _place(record: Record) -> tuple[int, float, str]:
    """Sorts as a queue does: by priority, then by age (ids grow with time)."""
    since = record.due if record.due is not None else record.enqueued_at
    return (-record.priority, since, record.id)


def _upstream(store: Store, record: Record) -> tuple[tuple[Record, ...], JoinView | None]:
    """The unfinished tasks whose end releases *record*, and the join it gathers."""
    header = header_of(record)
    edges = header.edges if header is not None else None
    if edges is None:
        return (), None
    if edges.gathers is not None:
        return (), store.inspection.join(edges.gathers)
    if edges.takes is not None:
        found = store.inspection.get([edges.takes])[0]
        return ((found,) if found is not None else ()), None
    others = _others(store, header.flow if header is not None else "")
    return tuple(each for each in others if _releases(each, record.id)), None


def _others(store: Store, flow: str) -> list[Record]:
    """Unfinished tasks with their messages: of the workflow, if there is one, else any."""
    if flow:
        parts = store.inspection.flow(flow, limit=SCAN)
        return [each for each in parts if each.state not in states.TERMINAL]
    unfinished = store.inspection.list(states.STORE_STATES - states.TERMINAL, limit=SCAN)
    whole = store.inspection.get([each.id for each in unfinished])
    return [each for each in whole if each is not None]


def _releases(record: Record, id: str) -> bool:
    header = header_of(record)
    edges = header.edges if header is not None else None
    return edges is not None and id in (*edges.success, *edges.failure, *edges.own)


# -- queues and workers ------------------------------------------------------------------------


@dataclass(frozen=True)
class QueueLine:
    """One queue in numbers. *due* is waiting for a worker now, parked ones not counted."""

    name: str
    due: int
    parked: int
    scheduled: int
    held: int
    waiting: int
    dead: int
    failed: int
    workers: int

    @property
    def unfinished(self) -> int:
        """Tasks of the queue that have not ended."""
        return self.due + self.parked + self.scheduled + self.held + self.waiting


@dataclass(frozen=True)
class Overview:
    """Workers, queues and parked names at one moment."""

    workers: tuple[WorkerView, ...]
    queues: tuple[QueueLine, ...]
    #: (queue, task name, how many are parked)
    parked: tuple[tuple[str, str, int], ...]
    #: How many results are on their way to another store.
    outbox: int = 0

    def as_dict(self) -> dict[str, object]:
        """Plain data with stable keys, times as ISO 8601 in UTC."""
        return {
            "workers": [_plain_worker(each) for each in self.workers],
            "queues": [
                {name: getattr(each, name) for name in each.__dataclass_fields__}
                for each in self.queues
            ],
            "parked": [
                {"queue": queue, "task": task, "count": count} for queue, task, count in self.parked
            ],
            "outbox": self.outbox,
        }


def _plain_worker(view: WorkerView) -> dict[str, object]:
    manifest = view.manifest
    return {
        "owner": view.owner,
        "hostname": manifest.hostname,
        "pid": manifest.pid,
        "alive": view.alive,
        "pool": manifest.pool,
        "concurrency": manifest.concurrency,
        "held": view.held,
        "queues": list(manifest.queues),
        "tasks": len(manifest.tasks.keys() - BUILT_IN),
        "version": manifest.version,
        "registered_at": iso(view.registered_at),
        "beat_at": iso(view.beat_at),
    }


def overview(store: Store) -> Overview:
    """Read workers, queues and parked names. Queues that only an idle worker reads are listed."""
    workers = tuple(store.inspection.workers())
    counts = store.inspection.counts()
    names = set(counts.states) | set(counts.parked)
    names.update(queue for view in workers if view.alive for queue in view.manifest.queues)
    lines = tuple(_line(name, counts, workers) for name in sorted(names))
    parked = tuple(
        (queue, task, count)
        for queue in sorted(counts.parked)
        for task, count in sorted(counts.parked[queue].items())
        if count
    )
    return Overview(workers, lines, parked, counts.outbox)


def _line(name: str, counts: Counts, workers: Sequence[WorkerView]) -> QueueLine:
    of = counts.states.get(name, {})
    parked = sum(counts.parked.get(name, {}).values())
    return QueueLine(
        name=name,
        due=of.get(states.QUEUED, 0) - parked,
        parked=parked,
        scheduled=of.get(states.SCHEDULED, 0),
        held=of.get(states.LEASED, 0) + of.get(states.RUNNING, 0),
        waiting=of.get(states.WAITING, 0),
        dead=of.get(states.DEAD, 0),
        failed=of.get(states.FAILED, 0),
        workers=sum(1 for view in workers if view.alive and name in view.manifest.queues),
    )


# -- put aside ---------------------------------------------------------------------------------


def put_aside(
    store: Store,
    which: Collection[str] = ASIDE,
    queue: str | None = None,
    task: str | None = None,
    limit: int | None = 100,
) -> list[Record]:
    """Dead and failed records, the newest first; all of them if *limit* is None."""
    found: list[Record] = []
    after: str | None = None
    while limit is None or len(found) < limit:
        room = SCAN if limit is None else min(SCAN, limit - len(found))
        page = store.inspection.list(which, queue=queue, task=task, limit=room, after=after)
        found.extend(page)
        if len(page) < room:
            break
        after = page[-1].id
    return found
