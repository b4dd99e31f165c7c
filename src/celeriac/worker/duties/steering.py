"""Steering: what each command does to a worker, and what each question is answered.

Layer 5. The ear's thread hands a command over, the main thread carries it out between two turns
(only there may processes and limits be touched), the ear sends the answer. A command never ends a
worker: what goes wrong is the answer.

What a worker offers for this is :class:`Steered`; the pools differ in what they can do.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from celeriac.conf import Settings, describe
from celeriac.conf.rates import written
from celeriac.conf.words import near, shown
from celeriac.control.remote import judge_limits
from celeriac.control.report import of_process
from celeriac.control.wire import LIFETIME, NOT_HERE, QUEUE_RULE, Command
from celeriac.exceptions import CeleryError, NotInThisVersion
from celeriac.ids import valid_id
from celeriac.records import Manifest
from celeriac.worker.duties.events import Events

logger = logging.getLogger("celeriac.worker.control")

#: How long the ear waits before it looks whether the worker has stopped meanwhile.
_LOOK_SECONDS: Final = 0.5


class Seen(msgspec.Struct, frozen=True):
    """A task in a worker's hands, as its questions are answered. *since* is seconds since the
    epoch; None: it has not begun. *pid* is that of the process that runs it."""

    id: str
    task: str
    queue: str
    late: bool
    since: float | None = None
    pid: int | None = None


class Steered(Protocol):
    """What a worker lets be seen and done; called in the main thread."""

    @property
    def manifest(self) -> Manifest:
        """What it has said of itself."""

    def hands(self) -> list[Seen]:
        """What it holds."""

    def totals(self) -> Mapping[str, int]:
        """How many of each task it has taken since it started."""

    def load(self) -> tuple[int, int]:
        """How many tasks run now and how many were taken so far. From any thread."""

    def pool(self) -> dict[str, Any]:
        """Facts of its pool."""

    def stop(self) -> None:
        """Begin a graceful stop."""

    def resize(self, by: int) -> int:
        """Run *by* more tasks at once; returns how many it runs then."""

    def renew(self) -> None:
        """Replace the executors, each once it is idle."""

    def read(self, queues: tuple[str, ...]) -> None:
        """Take tasks from *queues* from now on."""

    def limit(self, task: str, soft: float | None, hard: float | None) -> None:
        """Set the time limits of a task."""

    def rate(self, task: str, limit: str | float | None) -> None:
        """Set the rate limit of a task."""

    def autoscale(self, most: int, least: int) -> tuple[int, int]:
        """Set the bounds between which the pool scales itself."""

    def hurry(self) -> None:
        """Look for revokes now."""

    def declare(self, manifest: Manifest) -> None:
        """Tell the store what the worker says of itself from now on. In the ear's thread."""


class _Order:
    """A command on its way from the ear to the main thread, and the answer on its way back."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.done = threading.Event()
        self.answer: Any = None
        #: To be done by the ear before it answers: what may wait for the store.
        self.afterwards: Callable[[], None] | None = None


class Steering:
    """Carries commands out. *wake* makes the main thread look up."""

    def __init__(
        self,
        worker: Steered,
        settings: Settings,
        url: str,
        events: Events,
        wake: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._settings = settings
        self._url = url
        self._events = events
        self._wake = wake
        self._began = time.monotonic()
        self._orders: deque[_Order] = deque()
        self._closed = False
        self._afterwards: Callable[[], None] | None = None
        self._known: dict[str, Callable[..., Any]] = {
            "ping": lambda: _ok("pong"),
            "active": lambda: [_shown(each) for each in worker.hands() if each.since is not None],
            "reserved": lambda: [_shown(each) for each in worker.hands() if each.since is None],
            "query_task": self._query_task,
            "stats": self._stats,
            "conf": self._conf,
            "report": self._report,
            "shutdown": self._shutdown,
            "revoke": self._revoke,
            "pool_grow": lambda n=1: self._resize(_whole("n", n), "pool will grow"),
            "pool_shrink": lambda n=1: self._resize(-_whole("n", n), "pool will shrink"),
            "pool_restart": self._pool_restart,
            "autoscale": self._autoscale,
            "add_consumer": self._add_consumer,
            "cancel_consumer": self._cancel_consumer,
            "time_limit": self._time_limit,
            "rate_limit": self._rate_limit,
            "enable_events": self._enable_events,
            "disable_events": self._disable_events,
            "heartbeat": self._heartbeat,
            "listening": self._listening,
        }

    # --- handing over -------------------------------------------------------------------------
    def obey(self, command: Command) -> Any:
        """In the ear's thread: have *command* carried out and return the answer."""
        order = _Order(command)
        self._orders.append(order)
        self._wake()
        until = time.monotonic() + LIFETIME
        while not order.done.wait(_LOOK_SECONDS):
            if self._closed or time.monotonic() > until:
                return {"error": "the worker is stopping or stuck; nothing was done"}
        return _after(order)

    def carry_out(self, command: Command) -> Any:
        """Have *command* carried out in this thread, where no other one does it."""
        order = _Order(command)
        self._orders.append(order)
        self.turn()
        return _after(order)

    def turn(self) -> None:
        """In the main thread: carry out what has been handed over."""
        while self._orders:
            order = self._orders.popleft()
            order.answer = self.answer(order.command)
            order.afterwards, self._afterwards = self._afterwards, None
            order.done.set()

    def close(self) -> None:
        """The main thread carries out no more."""
        self._closed = True

    def answer(self, command: Command) -> Any:
        """Carry *command* out here and now."""
        name = command.method
        if name in NOT_HERE:
            return {"error": str(NotInThisVersion(f"The command {name}", NOT_HERE[name]))}
        if name not in self._known:
            return {"error": f"there is no command {name!r}{near(name, list(self._known))}"}
        known = self._known[name]
        try:
            signature(known).bind(**command.arguments)
        except TypeError as error:
            takes = ", ".join(signature(known).parameters) or "no arguments"
            return {"error": f"{name}: {error}; it takes {takes}"}
        try:
            return known(**command.arguments)
        except (CeleryError, ValueError, TypeError) as error:
            return {"error": f"{name}: {error}"}
        except Exception as error:
            logger.exception("The command %s failed", name)
            return {"error": f"{name}: {type(error).__name__}: {error}"}

    # --- questions ----------------------------------------------------------------------------
    def _query_task(self, ids: Sequence[str]) -> dict[str, Any]:
        wanted = set(ids)
        return {
            each.id: ["reserved" if each.since is None else "active", _shown(each)]
            for each in self._worker.hands()
            if each.id in wanted
        }

    def _stats(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        held = self._worker.hands()
        return {
            "total": dict(self._worker.totals()),
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._began),
            "pool": {**self._worker.pool(), "timeouts": self._timeouts()},
            "broker": _broker(self._url),
            "prefetch_count": len(held),
            "rusage": {
                name.removeprefix("ru_"): getattr(usage, name)
                for name in dir(usage)
                if name.startswith("ru_")
            },
        }

    def _timeouts(self) -> list[float]:
        """The soft and the hard limit of tasks that name none; 0 for no limit."""
        known = self._settings
        return [known.task_soft_time_limit or 0, known.task_time_limit or 0]

    def _conf(self, with_defaults: bool = False) -> dict[str, Any]:
        return _settings(self._settings, with_defaults)

    def _report(self) -> dict[str, str]:
        return _ok(of_process(self._settings, self._url, self._worker.manifest.app))

    # --- commands -----------------------------------------------------------------------------
    def _shutdown(self) -> dict[str, str]:
        logger.warning("shutdown: told by remote control")
        self._worker.stop()
        return _ok("shutting down")

    def _revoke(self, task_id: str | Sequence[str], **_how: Any) -> dict[str, str]:
        """The store has it already; here it only becomes quick."""
        self._worker.hurry()
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        return _ok(f"tasks {', '.join(ids)} flagged as revoked")

    def _resize(self, by: int, text: str) -> dict[str, str]:
        if by == 0:
            raise ValueError("n is 0; it must be 1 or more")
        size = self._worker.resize(by)
        self._declare(concurrency=size)
        logger.warning("%s: %d task(s) at once from now on", text, size)
        return _ok(text)

    def _pool_restart(
        self, modules: Sequence[str] = (), reload: bool = False, reloader: object = None
    ) -> dict[str, str]:
        if modules or reload or reloader:
            raise NotInThisVersion(
                "pool_restart(modules=, reload=)", "Start the worker with --reload, or anew."
            )
        self._worker.renew()
        logger.warning("pool_restart: executors are replaced once they are idle")
        return _ok("reload started")

    def _autoscale(self, max: int | None = None, min: int | None = None) -> dict[str, str]:
        high, low = self._worker.pool().get("autoscale") or (1, 1)
        most, least = self._worker.autoscale(
            _whole("max", max if max is not None else high),
            _whole("min", min if min is not None else low),
        )
        return _ok(f"autoscale now max={most} min={least}")

    def _add_consumer(self, queue: str) -> dict[str, str]:
        if not valid_id(queue):
            raise ValueError(f"{queue!r} is no name of a queue: it takes {QUEUE_RULE}")
        queues = self._worker.manifest.queues
        if queue not in queues:
            self._read((*queues, queue))
            logger.warning("add_consumer: takes tasks from %s, too", queue)
        return _ok(f"add consumer {queue}")

    def _cancel_consumer(self, queue: str) -> dict[str, str]:
        queues = self._worker.manifest.queues
        if queue not in queues:
            reads = ", ".join(queues) or "no queue"
            return _ok(f"was not consuming from {queue}; it reads {reads}{near(queue, queues)}")
        self._read(tuple(each for each in queues if each != queue))
        logger.warning("cancel_consumer: takes no tasks from %s any more", queue)
        return _ok(f"no longer consuming from {queue}")

    def _read(self, queues: tuple[str, ...]) -> None:
        self._worker.read(queues)
        self._declare(queues=queues)

    def _declare(self, **changes: Any) -> None:
        manifest = msgspec.structs.replace(self._worker.manifest, **changes)
        self._afterwards = lambda: self._worker.declare(manifest)

    def _declare_task(self, name: str, **changes: Any) -> None:
        tasks = dict(self._worker.manifest.tasks)
        tasks[name] = msgspec.structs.replace(tasks[name], **changes)
        self._declare(tasks=tasks)

    def _time_limit(
        self, task_name: str, soft: float | None = None, hard: float | None = None
    ) -> dict[str, str]:
        self._check_task(task_name)
        judge_limits(soft, hard)
        self._worker.limit(task_name, soft, hard)
        logger.warning("time_limit: %s: soft %s s, hard %s s", task_name, soft, hard)
        self._declare_task(task_name, soft_time_limit=soft, time_limit=hard)
        return _ok("time limits set successfully")

    def _rate_limit(self, task_name: str, rate_limit: str | float | None) -> dict[str, str]:
        self._check_task(task_name)
        self._worker.rate(task_name, rate_limit)
        logger.warning("rate_limit: %s: %s", task_name, rate_limit)
        text = written(rate_limit)
        self._declare_task(task_name, rate_limit=text)
        return _ok(f"{'new rate limit set' if text else 'rate limits disabled'} successfully")

    def _check_task(self, name: str) -> None:
        if name not in self._worker.manifest.tasks:
            known = self._worker.manifest.tasks
            hint = near(name, list(known)) or "; `celeriac inspect registered` lists its tasks"
            raise ValueError(f"unknown task {name!r}{hint}")

    # --- events -------------------------------------------------------------------------------
    def _enable_events(self) -> dict[str, str]:
        return _ok(f"task events {'' if self._events.enable() else 'already '}enabled")

    def _disable_events(self) -> dict[str, str]:
        return _ok(f"task events {'' if self._events.disable() else 'already '}disabled")

    def _heartbeat(self) -> None:
        self._events.heartbeat()

    def _listening(self, seconds: float) -> None:
        self._events.listened(float(seconds))


def _after(order: _Order) -> Any:
    """Do what may wait for the store; the answer."""
    if order.afterwards is not None:
        try:
            order.afterwards()
        except CeleryError as error:
            return {"error": f"{order.answer}, but the store was not told: {error}"}
    return order.answer


def _whole(name: str, value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]  # judged here
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; it must be a whole number") from None


def _ok(text: str) -> dict[str, str]:
    return {"ok": text}


def _shown(seen: Seen) -> dict[str, Any]:
    """As it goes to who asked; arguments are read from the store there."""
    return {
        "id": seen.id,
        "name": seen.task,
        "queue": seen.queue,
        "time_start": seen.since,
        "acknowledged": not seen.late,
        "worker_pid": seen.pid,
    }


def _settings(settings: Settings, with_defaults: bool) -> dict[str, Any]:
    """Settings as plain data; secrets, and passwords in URLs, are hidden."""
    default, found = Settings(), {}
    for name, value in settings.as_dict().items():
        if not with_defaults and settings[name] == default[name]:
            continue
        setting = describe(name)
        if value is not None and (setting.secret or setting.kind == "url"):
            value = shown(setting, value).strip("'")  # noqa: PLW2901
        found[name] = value
    return found


def _broker(url: str) -> dict[str, Any]:
    """Where the store is, without the password that the URL may hold."""
    parts = urlsplit(url)
    return {
        "transport": parts.scheme,
        "hostname": parts.hostname,
        "port": parts.port,
        "userid": parts.username,
        "virtual_host": parts.path.replace("//", "/", 1),
    }


__all__ = ["Seen", "Steered", "Steering"]
