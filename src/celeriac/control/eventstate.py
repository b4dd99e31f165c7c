"""``app.events.State()``: what events add up to: tasks and workers as last heard of.

Layer 4. In memory only, fed by whoever receives (``recv = Receiver(handlers={"*": state.event})``).
What the store knows is truer and outlives this; see :mod:`celeriac.control.inspect`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from celeriac import states
from celeriac.clock import SYSTEM

__all__ = ["State", "Task", "Worker"]

#: A worker that has not been heard of for this many heartbeats is taken for dead.
_MISSED: Final = 2
_STATE_OF: Final = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "rejected": states.REJECTED,
    "revoked": states.REVOKED,
}
_FIELDS: Final = (
    *("name", "args", "kwargs", "retries", "eta", "expires", "result", "exception", "traceback"),
    *("runtime", "queue", "exchange", "routing_key", "root_id", "parent_id", "clock", "hostname"),
    "client",
)
_INFO: Final = ("args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception",
                "exchange", "routing_key", "root_id", "parent_id")  # fmt: skip


class Worker:
    """A worker, as its events tell."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.pid: int | None = None
        self.freq = 2.0
        self.active: int | None = None
        self.processed: int | None = None
        self.loadavg: tuple[float, ...] | None = None
        self.sw_ident: str | None = None
        self.sw_ver: str | None = None
        self.sw_sys: str | None = None
        self.clock = 0
        self.timestamp: float | None = None
        self._online = False

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Take in ``worker-KIND``."""
        for name in ("pid", "freq", "active", "processed", "sw_ident", "sw_ver", "sw_sys", "clock"):
            if fields.get(name) is not None:
                setattr(self, name, fields[name])
        if fields.get("loadavg") is not None:
            self.loadavg = tuple(fields["loadavg"])
        self.timestamp = fields.get("timestamp")
        self._online = kind != "offline"

    @property
    def heartbeat_expires(self) -> float:
        """When it will be taken for dead, seconds since the epoch."""
        return (self.timestamp or 0.0) + self.freq * _MISSED

    @property
    def alive(self) -> bool:
        """Has it been heard of lately?"""
        return self._online and SYSTEM.wall() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        """``ONLINE`` or ``OFFLINE``."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        """Name and pid."""
        return f"{self.hostname}.{self.pid}"

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string})>"


class Task:
    """A task, as its events tell. What has not been told is None."""

    name: str | None

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.state: str = states.PENDING
        self.worker: Worker | None = None
        self.timestamp: float | None = None
        for name in (*_FIELDS, *_STATE_OF):
            setattr(self, name, None)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Take in ``task-KIND``. Events may come out of order: a state that is less final than
        the present one, and older, does not replace it."""
        at = fields.get("timestamp")
        for name in _FIELDS:
            if fields.get(name) is not None:
                setattr(self, name, fields[name])
        if kind in _STATE_OF:
            setattr(self, kind, at)
        state = _STATE_OF.get(kind, kind.upper())
        newer = self.timestamp is None or at is None or at >= self.timestamp
        if newer or states.precedence(state) < states.precedence(self.state):
            self.state = state
            self.timestamp = at if newer else self.timestamp

    @property
    def id(self) -> str:
        """The task id."""
        return self.uuid

    @property
    def ready(self) -> bool:
        """Has it ended?"""
        return self.state in states.READY_STATES

    def info(self, fields: Any = None, extra: Any = ()) -> dict[str, Any]:
        """What is known, by name; without what is not."""
        wanted = [*(_INFO if fields is None else fields), *extra]
        return {name: value for name in wanted if (value := getattr(self, name, None)) is not None}

    def as_dict(self) -> dict[str, Any]:
        """Everything that was told."""
        found = {name: getattr(self, name) for name in (*_FIELDS, *_STATE_OF)}
        worker = self.worker.hostname if self.worker is not None else None
        return {"uuid": self.uuid, "state": self.state, "worker": worker, **found}

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state}>"


class State:
    """Folds events into tasks and workers; keeps the newest of each.

    Args:
        callback: called with ``(state, event)`` after each event.
        max_tasks_in_memory: tasks kept; those heard of longest ago go first.
        max_workers_in_memory: the same for workers.
    """

    def __init__(
        self,
        callback: Callable[[State, dict[str, Any]], object] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10_000,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.workers: OrderedDict[str, Worker] = OrderedDict()
        self.tasks: OrderedDict[str, Task] = OrderedDict()
        self.event_count = 0
        self.task_count = 0
        self._lock = threading.RLock()

    def event(self, event: dict[str, Any]) -> None:
        """Take in one event; a handler for a :class:`~celeriac.control.events.Receiver`."""
        group, _, kind = str(event.get("type", "")).partition("-")
        with self._lock:
            self.event_count += 1
            worker = None
            if event.get("hostname") and (group == "worker" or kind != "sent"):
                worker = self._worker(event["hostname"])
                if group == "worker":
                    worker.event(kind, event)
            if group == "task" and event.get("uuid"):
                self._task(event["uuid"], kind, event, worker)
        if self.event_callback is not None:
            self.event_callback(self, event)

    def _worker(self, hostname: str) -> Worker:
        worker = self.workers.setdefault(hostname, Worker(hostname))
        self.workers.move_to_end(hostname)
        while len(self.workers) > self.max_workers_in_memory:
            self.workers.popitem(last=False)
        return worker

    def _task(self, uuid: str, kind: str, event: dict[str, Any], worker: Worker | None) -> None:
        task = self.tasks.setdefault(uuid, Task(uuid))
        self.tasks.move_to_end(uuid)
        while len(self.tasks) > self.max_tasks_in_memory:
            self.tasks.popitem(last=False)
        if kind == "received":
            self.task_count += 1
        task.worker = worker or task.worker
        task.event(kind, event)

    # -- reading -------------------------------------------------------------------------------

    def alive_workers(self) -> list[Worker]:
        """Workers heard of lately."""
        with self._lock:
            return [each for each in self.workers.values() if each.alive]

    def task_types(self) -> list[str]:
        """Names of tasks that were seen."""
        with self._lock:
            return sorted({each.name for each in self.tasks.values() if each.name})

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[Any]:
        """``(uuid, task)``, the newest first."""
        with self._lock:
            found = sorted(
                self.tasks.items(), key=lambda each: each[1].timestamp or 0.0, reverse=reverse
            )
        return iter(found[:limit])

    tasks_by_timestamp = tasks_by_time

    def tasks_by_type(self, name: str, limit: int | None = None) -> Iterator[Any]:
        """``(uuid, task)`` of the tasks *name*."""
        return iter([each for each in self.tasks_by_time() if each[1].name == name][:limit])

    def tasks_by_worker(self, hostname: str, limit: int | None = None) -> Iterator[Any]:
        """``(uuid, task)`` of the tasks that *hostname* had."""
        found = [
            each
            for each in self.tasks_by_time()
            if each[1].worker is not None and each[1].worker.hostname == hostname
        ]
        return iter(found[:limit])

    def clear(self, ready: bool = True) -> None:
        """Forget all; with *ready* False keep tasks that have not ended."""
        with self._lock:
            self.workers.clear()
            kept = [] if ready else [(u, t) for u, t in self.tasks.items() if not t.ready]
            self.tasks = OrderedDict(kept)
            self.event_count = self.task_count = 0

    clear_tasks = clear

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"
