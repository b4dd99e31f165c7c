"""Commands: what is done to tasks and workers from outside the worker, ``app.control``.

Layer 4. What concerns tasks (revoke, purge) is done in the store: durable where it says so, and no
worker has to listen. What concerns workers travels on the store's bus, once, to those that live.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.conf.rates import per_second
from celeriac.conf.words import near
from celeriac.control.connection import check_connection
from celeriac.control.inspector import Inspect, warn_of_silent
from celeriac.control.mailbox import Callback, Mailbox, Scope
from celeriac.control.wire import KNOWN, NOT_HERE, QUEUE_RULE
from celeriac.exceptions import NotInThisVersion, NotRegistered
from celeriac.ids import valid_id
from celeriac.later import missing
from celeriac.records import RevokeEffect
from celeriac.stamps import listed_keys

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.control.retrying import Retried

__all__ = ["Control", "judge", "judge_limits", "signal_name"]

Destination = str | Iterable[str] | None
Replies = list[dict[str, Any]] | None

_SIGNAL: Final = "SIGTERM"
#: Ids that a worker is told of a revoke. It looks into the store for all of them.
_TOLD: Final = 100

#: What Celery's control has besides, and what to do instead.
_LATER: Final = {
    "election": "Workers elect nobody; the store decides who does what.",
    "mailbox": "Use app.control.broadcast(…).",
}
#: Names of arguments that Celery's commands take besides their own.
_HOW: Final = frozenset({"reply", "timeout", "limit", "callback", "pattern", "matcher"})


class Control:
    """The commands of an app: ``app.control``.

    Commands to workers take, as in Celery: *destination* (names of workers; default: all),
    *pattern* and *matcher* (``glob`` or ``pcre``), *reply* (wait for answers and return them as a
    list of ``{worker: answer}``; default: do not wait, return None), *timeout* (seconds a stuck
    worker is waited for; one that lives answers in milliseconds), *limit*, *callback*.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    # -- tasks ---------------------------------------------------------------------------------

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Destination = None,
        terminate: bool = False,
        signal: str | None = None,
        reply: bool = False,
        timeout: float = 1.0,
    ) -> Any:
        """See that tasks do not run, or not again; return what each id met.

        It is kept in the store, so it holds for tasks that are not there yet, for workers that
        are not running, and across restarts. A task that runs is left to end unless *terminate*
        says to end it with *signal* (default ``SIGTERM``). Workers that hold one of the tasks are
        told at once; with *reply* they are waited for, and their answers are returned instead.
        """
        _check_nowhere(destination, "revoke()")
        ids = _ids(task_id)
        how = (signal_name(signal) if signal else _SIGNAL) if terminate else None
        met = self._app.store.queue.revoke(ids, how)
        held = [id for id, effect in met.items() if effect is RevokeEffect.PENDING]
        self._app.events.revoked(id for id in ids if met.get(id) is RevokeEffect.REVOKED)
        if reply:
            told = {"task_id": ids[:_TOLD]}
            return self._send("revoke", told, reply=True, timeout=timeout)
        if held:
            self._send("revoke", {"task_id": held[:_TOLD]})
        return met

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Destination = None,
        terminate: bool = False,
        signal: str | None = None,
        reply: bool = False,
        timeout: float = 1.0,
    ) -> Any:
        """Revoke tasks by what they are stamped with; return what each id met that was there.

        What has not ended and carries one of the stamps is revoked as by :meth:`revoke`, and what
        is sent with one from now on is revoked when a worker takes it. That is kept in the store,
        for ``revoke_expires`` (7 days): it holds for workers that are not running, and across
        restarts. It takes a look at every task that has not ended.

        Args:
            headers: names of stamps, each with a value or a list of values, one of which is enough.
            destination: refused, as by :meth:`revoke`.
            terminate: end what runs with *signal* (default ``SIGTERM``).
            signal: its name or number.
            reply: wait for the answers of the workers that were told, and return these.
            timeout: seconds to wait for them.

        Raises ``TypeError``, ``ValueError`` or ``EncodeError`` for what names no stamp.
        """
        _check_nowhere(destination, "revoke_by_stamped_headers()")
        from celeriac.control.stamped import revoke_stamped

        how = (signal_name(signal) if signal else _SIGNAL) if terminate else None
        met = revoke_stamped(self._app.store, listed_keys(headers), how)
        self._app.events.revoked(id for id, effect in met.items() if effect is RevokeEffect.REVOKED)
        held = [id for id, effect in met.items() if effect is RevokeEffect.PENDING]
        # Whoever holds none of them is told, too: what comes next may carry a stamp.
        told = {"task_id": held[:_TOLD]}
        answers = self._send("revoke", told, reply=reply, timeout=timeout)
        return answers if reply else met

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Destination = None,
        signal: str | None = None,
        reply: bool = False,
        timeout: float = 1.0,
    ) -> Any:
        """Revoke tasks and end those that run: ``revoke(task_id, terminate=True)``."""
        return self.revoke(task_id, destination, True, signal, reply, timeout)

    def retry(
        self,
        task_id: str | Iterable[str],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        all_failed: bool = False,
    ) -> Retried:
        """Run tasks that ended without success again, under their ids; return what was done.

        In a workflow what ended only because of them waits again and goes on from there, with the
        results there are; errbacks may run once more, a chord's body runs once. A part that ended
        because of others is reopened through those: they run again, and of a chord each member
        that failed. What has not ended, or has succeeded, is left as it is (``Retried.left``), so a
        second call does nothing.

        Args:
            task_id: one id or several.
            args: positional arguments in place of its own; of a part that takes a result, those
                after the result. Default: as they were.
            kwargs: named arguments in place of its own. Default: as they were.
            all_failed: *task_id* is a part of a workflow, or the workflow's id: all its parts
                that failed by themselves run again, but for those that were revoked.

        Raises ``TypeError`` for arguments that the task does not take, if this app knows it, and
        ``ValueError`` for arguments of several tasks, or of one that would not itself run again.
        """
        from celeriac.control.retrying import retry, retry_failed

        ids = _ids(task_id)
        if not all_failed:
            return retry(self._app, ids, args, kwargs)
        if len(ids) != 1 or args is not None or kwargs is not None:
            raise ValueError("retry(): all_failed=True takes one id and no arguments")
        return retry_failed(self._app, ids[0])

    def purge(self, queues: Iterable[str] | None = None) -> int:
        """End all tasks that wait in *queues* (default: the default queue); return how many."""
        names = [self._app.conf.task_default_queue] if queues is None else list(queues)
        return self._app.store.queue.purge(names)

    discard_all = purge

    # -- questions -----------------------------------------------------------------------------

    def inspect(
        self,
        destination: Destination = None,
        timeout: float = 1.0,
        callback: Callback | None = None,
        connection: object = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Inspect:
        """Ask workers: ``app.control.inspect().active()``; see :class:`Inspect`."""
        check_connection(connection, "inspect()")
        return Inspect(self._app, destination, timeout, callback, limit, pattern, matcher)

    def ping(self, destination: Destination = None, timeout: float = 1.0, **how: Any) -> Any:
        """Return ``[{worker: {"ok": "pong"}}]``: who lives and listens; empty if nobody does."""
        how = {"reply": True, **how}
        return self._send("ping", {}, destination, timeout=timeout, **how)

    # -- workers -------------------------------------------------------------------------------

    def shutdown(self, destination: Destination = None, **how: Any) -> Replies:
        """Have workers stop as SIGTERM does: running tasks may end, the rest goes back."""
        return self._send("shutdown", {}, destination, **how)

    def pool_grow(self, n: int = 1, destination: Destination = None, **how: Any) -> Replies:
        """Have workers run *n* more tasks at once."""
        return self._send("pool_grow", {"n": n}, destination, **how)

    def pool_shrink(self, n: int = 1, destination: Destination = None, **how: Any) -> Replies:
        """Have workers run *n* fewer tasks at once; those that run are not ended."""
        return self._send("pool_shrink", {"n": n}, destination, **how)

    def autoscale(self, max: int, min: int, destination: Destination = None, **how: Any) -> Replies:
        """Set the bounds between which workers with ``--autoscale`` scale themselves."""
        return self._send("autoscale", {"max": max, "min": min}, destination, **how)

    def pool_restart(
        self,
        modules: Iterable[str] | None = None,
        reload: bool = False,
        reloader: object = None,
        destination: Destination = None,
        **how: Any,
    ) -> Replies:
        """Have workers replace their executors, each once it is idle."""
        if modules or reload or reloader:
            raise NotInThisVersion(
                "pool_restart(modules=, reload=)", "Start the worker with --reload, or anew."
            )
        return self._send("pool_restart", {}, destination, **how)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Destination = None,
        **how: Any,
    ) -> Replies:
        """Have workers take tasks from *queue*, too."""
        same = {None, "", queue}
        if exchange not in same or routing_key not in same or exchange_type != "direct" or options:
            raise NotInThisVersion(
                "An exchange or routing key of add_consumer()",
                "There are no exchanges: name the queue.",
            )
        return self._send("add_consumer", {"queue": queue}, destination, **how)

    def cancel_consumer(self, queue: str, destination: Destination = None, **how: Any) -> Replies:
        """Have workers take no more tasks from *queue*."""
        return self._send("cancel_consumer", {"queue": queue}, destination, **how)

    def rate_limit(
        self,
        task_name: str,
        rate_limit: str | float | None,
        destination: Destination = None,
        **how: Any,
    ) -> Replies:
        """Set how often each worker begins *task_name*: ``"10/s"``, ``"100/m"``, None or 0."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self._send("rate_limit", arguments, destination, **how)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Destination = None,
        **how: Any,
    ) -> Replies:
        """Set the limits (seconds, None for none) of runs of *task_name* that are yet to come."""
        arguments = {"task_name": task_name, "soft": soft, "hard": hard}
        return self._send("time_limit", arguments, destination, **how)

    def enable_events(self, destination: Destination = None, **how: Any) -> Replies:
        """Have workers publish events of tasks whether or not somebody listens."""
        return self._send("enable_events", {}, destination, **how)

    def disable_events(self, destination: Destination = None, **how: Any) -> Replies:
        """Have workers publish events of tasks only while somebody listens."""
        return self._send("disable_events", {}, destination, **how)

    def heartbeat(self, destination: Destination = None, **how: Any) -> Replies:
        """Have workers publish ``worker-heartbeat`` now."""
        return self._send("heartbeat", {}, destination, **how)

    # -- all of them ---------------------------------------------------------------------------

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Destination = None,
        connection: object = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callback | None = None,
        channel: object = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> Replies:
        """Send *command* by its name, with *arguments* and *extra_kwargs*; see the class.

        It is heard by the workers that live now, at most once. What no worker could carry out
        raises here (``ValueError``, ``NotInThisVersion``, ``NotRegistered``), because without
        *reply* nobody would tell.
        """
        check_connection(connection if channel is None else channel, "broadcast()")
        scope = Scope.of(destination, pattern, matcher)
        mailbox = Mailbox(self._app.store, self._app.signer)
        merged = {**(arguments or {}), **extra_kwargs}
        judge(command, merged)
        if not (reply or callback):
            _check_task(mailbox, scope, merged.get("task_name"))
            mailbox.tell(command, merged, scope)
            return None
        answers = mailbox.ask(
            command, merged, scope, timeout=timeout, limit=limit, callback=callback
        )
        warn_of_silent(answers, command, timeout)
        return [{each.hostname: each.answer} for each in answers.replies]

    def _send(
        self, command: str, arguments: dict[str, Any], destination: Destination = None, **how: Any
    ) -> Replies:
        for name in how:
            if name not in _HOW:
                raise TypeError(
                    f"{command}() has no argument {name!r}; besides its own it takes destination, "
                    f"{', '.join(sorted(_HOW))}"
                )
        return self.broadcast(command, arguments, destination, **how)

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("app.control", name, _LATER)


def signal_name(signal: str | int) -> str:
    """``SIGTERM`` for ``TERM``, ``sigterm`` or 15. Raises ``ValueError`` for no signal."""
    import signal as known

    if isinstance(signal, int):
        if signal not in {each.value for each in known.Signals}:
            raise ValueError(f"there is no signal {signal!r}; use SIGTERM or SIGKILL")
        return known.Signals(signal).name
    name = str(signal).upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in known.Signals.__members__:
        raise ValueError(f"there is no signal {signal!r}; use SIGTERM or SIGKILL")
    return name


def _check_nowhere(destination: Destination, what: str) -> None:
    """Raise for the workers that a revoke is meant for: it is for all."""
    if destination is not None:
        raise NotInThisVersion(
            f"The argument destination of {what}",
            "A revoke stands in the store and holds for every worker; leave it out.",
        )


def judge(command: str, arguments: Mapping[str, Any]) -> None:
    """Raise for a command that no worker could carry out, whatever it is: its name, a rate, a
    time limit, the name of a queue. ``ValueError`` says what is expected."""
    if command in NOT_HERE:
        raise NotInThisVersion(f"The command {command}", NOT_HERE[command])
    if command not in KNOWN:
        hint = near(str(command), sorted(KNOWN)) or f"; there are {', '.join(sorted(KNOWN))}"
        raise ValueError(f"there is no command {command!r}{hint}")
    if "rate_limit" in arguments:
        per_second(arguments["rate_limit"])
    queue = arguments.get("queue", "celery")
    if not isinstance(queue, str) or not valid_id(queue):
        raise ValueError(f"{queue!r} is no name of a queue: it takes {QUEUE_RULE}")
    if command == "time_limit":
        judge_limits(arguments.get("soft"), arguments.get("hard"))


def judge_limits(soft: object, hard: object) -> None:
    """Raise ``ValueError`` unless both are time limits, in seconds, that go together."""
    for value in (soft, hard):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < math.inf):  # type: ignore[operator]
            raise ValueError(f"{value!r} is no time limit; give seconds above 0, or None")
    if soft is not None and hard is not None and soft >= hard:  # type: ignore[operator]
        raise ValueError(
            f"the soft limit ({soft} s) must be shorter than the hard one ({hard} s), or the task "
            "is stopped before it could end by itself"
        )


def _check_task(mailbox: Mailbox, scope: Scope, name: str | None) -> None:
    """Raise ``NotRegistered`` if workers are meant and none of them knows the task *name*."""
    if name is None:
        return
    views = mailbox.living(scope)
    known = {each for view in views for each in view.manifest.tasks}
    if views and name not in known:
        raise NotRegistered(name, sorted(known))


def _ids(given: object) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable):
        raise TypeError(f"{given!r} is no id of a task: give a text, or a list of them")
    return [str(each) for each in given]
