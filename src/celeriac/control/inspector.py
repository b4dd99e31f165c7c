"""Questions to workers in Celery's shapes: ``app.control.inspect()``.

Layer 4. What a worker alone knows (what runs now, its process, its settings) it is asked; what the
store knows as well and for longer (scheduled tasks, registered names, queues, revoked ids) is read
there, so that it is true of busy and of stuck workers, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celeriac import states
from celeriac.control.mailbox import Answers, Callback, Mailbox, Scope, check_timeout
from celeriac.exceptions import CeleryError, CeleryWarning
from celeriac.later import missing
from celeriac.message import Message, decode
from celeriac.records import BUILT_IN
from celeriac.serialization import decode as decode_value

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.records import Record, WorkerView

__all__ = ["SCAN", "Inspect", "warn_of_silent"]

#: How many scheduled or revoked tasks are listed at most, the newest.
SCAN: Final = 1000
#: What Celery's inspect has besides, and what to do instead.
_LATER: Final = {
    "clock": "Workers keep no logical clock.",
    "hello": "Workers do not mingle; they meet in the store.",
    **dict.fromkeys(("memdump", "memsample"), "stats() has the peak memory of the supervisor."),
    "objgraph": "What answers runs no code of yours; look into an executor with py-spy.",
}


class Inspect:
    """Asks workers; every answer is ``{worker: what it said}``, or None if there is no worker.

    Args:
        destination: names of workers; a single name gives that worker's answer as it is.
        timeout: seconds a stuck worker is waited for. Those that live answer in milliseconds.
        callback: called with ``{worker: answer}`` as each comes.
        limit: stop after so many answers.
        pattern: names of workers, by *matcher* (``glob`` or ``pcre``).
    """

    def __init__(
        self,
        app: Celeriac,
        destination: str | Iterable[str] | None = None,
        timeout: float = 1.0,
        callback: Callback | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        check_timeout(timeout)
        Scope.of(destination, pattern, matcher)  # what is wrong is told here, not by the question
        self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher
        #: Living workers that did not answer the last question in time, by name.
        self.silent: list[str] = []
        #: Whether a warning says so.
        self.warns = True

    # -- what workers are asked ----------------------------------------------------------------

    def ping(self, destination: str | Iterable[str] | None = None) -> Any:
        """``{"ok": "pong"}`` from each worker whose main loop turns."""
        if destination is not None:
            return self._other(destination).ping()
        return self._ask("ping")

    def active(self, safe: bool | None = None) -> Any:
        """The tasks that run now. *safe* changes nothing, as in Celery."""
        return self._ask("active", then=self._filled)

    def reserved(self, safe: bool | None = None) -> Any:
        """The tasks that workers hold and have not begun."""
        return self._ask("reserved", then=self._filled)

    def query_task(self, *ids: str | Sequence[str]) -> Any:
        """``{id: [state, task]}`` of those tasks that a worker holds."""
        wanted: list[str] = []
        for each in ids:
            wanted += [each] if isinstance(each, str) else list(each)
        return self._ask("query_task", {"ids": wanted}, then=self._filled_states)

    def stats(self) -> Any:
        """Counts, pool, memory and uptime of each worker."""
        return self._ask("stats")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings of each worker; secrets are hidden."""
        return self._ask("conf", {"with_defaults": with_defaults})

    def report(self) -> Any:
        """What ``celeriac report`` prints, of each worker's own process."""
        return self._ask("report")

    # -- what the store knows ------------------------------------------------------------------

    def registered(self, *taskinfoitems: str) -> Any:
        """Names of the tasks each worker knows, without those built in; with the attributes of a
        task that are asked for (else its rate limit), as ``"name [rate_limit=10/s]"``."""
        return self._of_store(
            lambda view: sorted(
                self._described(name, view, taskinfoitems)
                for name in view.manifest.tasks
                if name not in BUILT_IN
            )
        )

    registered_tasks = registered

    def scheduled(self, safe: bool | None = None) -> Any:
        """Tasks with a later time, the newest 1,000. They wait in the store, not in a worker: each
        is listed once, under the first of the workers that read its queue."""
        store = self.app.store
        found = store.inspection.list([states.SCHEDULED], limit=SCAN)
        whole = [each for each in store.inspection.get([each.id for each in found]) if each]
        mine: dict[str, list[dict[str, Any]]] = {}
        living = self._living()
        for record in whole:
            reader = next((v for v in living if record.queue in v.manifest.queues), None)
            if reader is not None:
                hostname = reader.manifest.hostname
                due = None if record.due is None else datetime.fromtimestamp(record.due, UTC)
                mine.setdefault(reader.owner, []).append(
                    {
                        "eta": due.isoformat() if due is not None else None,
                        "priority": record.priority,
                        "request": self._request(record, hostname),
                    }
                )
        return self._of_store(lambda view: mine.get(view.owner, []), living)

    def active_queues(self) -> Any:
        """The queues each worker takes tasks from."""
        return self._of_store(lambda view: [_queue(name) for name in view.manifest.queues])

    def revoked(self) -> Any:
        """Ids of revoked tasks, the newest 1,000. The store keeps them, for all workers alike."""
        found = self.app.store.inspection.list([states.CANCELLED], limit=SCAN)
        ids = [each.id for each in found]
        return self._of_store(lambda _view: list(ids))

    # -- asking --------------------------------------------------------------------------------

    def _other(self, destination: str | Iterable[str]) -> Inspect:
        return Inspect(
            self.app, destination, self.timeout, self.callback, self.limit, self.pattern,
            self.matcher,
        )  # fmt: skip

    @property
    def _scope(self) -> Scope:
        return Scope.of(self.destination, self.pattern, self.matcher)

    def _living(self) -> list[WorkerView]:
        return Mailbox(self.app.store, self.app.signer).living(self._scope)

    def ask(self, method: str, arguments: Mapping[str, Any] | None = None) -> Answers:
        """Ask workers, and warn of those that do not answer; the answers as they came."""
        answers = Mailbox(self.app.store, self.app.signer).ask(
            method, arguments, self._scope, timeout=self.timeout, limit=self.limit,
            callback=self.callback,
        )  # fmt: skip
        self.silent = answers.silent
        if self.warns:
            warn_of_silent(answers, method, self.timeout)
        return answers

    def _ask(
        self, method: str, arguments: Mapping[str, Any] | None = None, then: Any = None
    ) -> Any:
        answers = self.ask(method, arguments).by_worker()
        if then is not None:
            answers = then(answers)
        return self._shaped(answers)

    def _of_store(self, read: Any, living: list[WorkerView] | None = None) -> Any:
        found: dict[str, Any] = {}
        for view in self._living() if living is None else living:
            found[view.manifest.hostname] = read(view)
            if self.callback is not None:
                self.callback({view.manifest.hostname: found[view.manifest.hostname]})
        return self._shaped(found)

    def _shaped(self, answers: dict[str, Any]) -> Any:
        if not answers:
            return None
        if isinstance(self.destination, str) and "," not in self.destination:
            return answers.get(self.destination)
        return answers

    # -- filling in ----------------------------------------------------------------------------

    def _filled(self, answers: dict[str, Any]) -> dict[str, Any]:
        """Workers tell ids; arguments and the rest stand in the store."""
        lists = [each for each in answers.values() if isinstance(each, list)]
        records = self._records(item["id"] for items in lists for item in items)
        return {
            hostname: [self._task(item, records, hostname) for item in items]
            if isinstance(items, list)
            else items
            for hostname, items in answers.items()
        }

    def _filled_states(self, answers: dict[str, Any]) -> dict[str, Any]:
        ids = [id for found in answers.values() for id in found if id != "error"]
        records = self._records(ids)
        return {
            hostname: {
                id: [said[0], self._task(said[1], records, hostname)] for id, said in found.items()
            }
            if "error" not in found
            else found
            for hostname, found in answers.items()
        }

    def _records(self, ids: Iterable[str]) -> dict[str, Record]:
        wanted = list(dict.fromkeys(ids))
        found = self.app.store.inspection.get(wanted) if wanted else []
        return {each.id: each for each in found if each is not None}

    def _task(
        self, item: dict[str, Any], records: Mapping[str, Record], hostname: str
    ) -> dict[str, Any]:
        record = records.get(item["id"])
        if record is None:  # it has ended and was removed meanwhile
            return {"id": item["id"], "name": item["name"], "hostname": hostname}
        return {
            **self._request(record, hostname),
            "time_start": item["time_start"],
            "acknowledged": item["acknowledged"],
            "worker_pid": item["worker_pid"],
        }

    def _request(self, record: Record, hostname: str) -> dict[str, Any]:
        args, kwargs = self._arguments(record)
        return {
            "id": record.id,
            "name": record.task,
            "args": args,
            "kwargs": kwargs,
            "type": record.task,
            "hostname": hostname,
            "time_start": None,
            "acknowledged": False,
            "delivery_info": {
                "exchange": "",
                "routing_key": record.queue,
                "priority": record.priority,
                "redelivered": record.attempt > 1,
            },
            "worker_pid": None,
        }

    def _arguments(self, record: Record) -> tuple[Any, Any]:
        """The arguments, or why they cannot be shown."""
        try:
            message: Message = decode(record.wire or b"")
            args, kwargs = decode_value(message.header.serializer, message.content())
        except (CeleryError, ValueError, TypeError) as error:
            return f"(cannot be read: {error})", {}
        mask = getattr(self.app.tasks.get(record.task), "mask", None)
        if mask is not None:
            args, kwargs = mask.plain(args, kwargs)
            return args, kwargs
        header = message.header
        return header.argsrepr or args, header.kwargsrepr or kwargs

    def _described(self, name: str, view: WorkerView, items: Sequence[str]) -> str:
        task = self.app.tasks.get(name)
        facts = view.manifest.tasks[name]
        said = []
        for item in items or ("rate_limit",):
            value = getattr(facts, item, None)
            value = getattr(task, item, None) if value is None else value
            if value is not None and value != "":
                said.append(f"{item}={value}")
        return f"{name} [{' '.join(said)}]" if said else name

    def __getattr__(self, name: str) -> Any:
        raise missing("app.control.inspect()", name, _LATER)


def warn_of_silent(answers: Answers, method: str, timeout: float) -> None:
    """Warn of living workers that did not answer in time."""
    if answers.silent:
        names = ", ".join(answers.silent)
        warnings.warn(
            f"{method}: no answer within {timeout:g} s from {names}. It is registered and its "
            "lease has not run out: stopped, stuck, or it does not hear commands "
            "(worker_enable_remote_control).",
            CeleryWarning,
            stacklevel=4,
        )


def _queue(name: str) -> dict[str, Any]:
    """A queue in Celery's words; what has no meaning here is as it is there by default."""
    return {
        "name": name,
        "exchange": {"name": name, "type": "direct", "durable": True, "auto_delete": False},
        "routing_key": name,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "alias": None,
        "bindings": [],
    }
