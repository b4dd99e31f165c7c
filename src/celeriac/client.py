"""The client: from a call to a message in the store.

Layer 4. Everything that can be wrong with a call is found here, before anything is written:
unknown options, values that cannot be serialised, payloads too large, times that contradict each
other. The store then gets the message in one call, tried again within a budget if it is away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from time import sleep
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac.checks import (
    agreed_soft_limit,
    checked_headers,
    checked_id,
    checked_priority,
    checked_queue,
    checked_retry_policy,
    seconds,
)
from celeriac.clock import SYSTEM, Clock
from celeriac.compression import UNPACKED_MAX, compression_of, pack
from celeriac.context import running
from celeriac.crashpoints import crashpoint
from celeriac.declined import SEND_OPTIONS, check_options, refuse
from celeriac.directions import NO_DEFAULTS, Defaults, Directions
from celeriac.exceptions import (
    EncodeError,
    ImproperlyConfigured,
    OperationalError,
    PayloadTooLarge,
    StoreFull,
)
from celeriac.forms import Form
from celeriac.ids import new_call
from celeriac.message import Edges, Header, Message, NewJoin, compose
from celeriac.moments import moment
from celeriac.sensitive import REPR_MAX, Mask
from celeriac.serialization import content_type, encode_call
from celeriac.signals import SENDING
from celeriac.stamps import checked_stamps

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.signing import Signer

__all__ = [
    "SEND_OPTIONS",
    "Client",
    "Defaults",
    "check_options",
    "checked_call",
    "checked_countdown",
    "checked_limit",
    "checked_priority",
    "moment",
    "origin",
    "refuse",
    "verify",
]

_monotonic: Final = SYSTEM.monotonic

_NO_OPTIONS: Final[dict[str, Any]] = {}


class Client:
    """Makes messages of calls and hands them to the store.

    *clock* says what time it is for whatever this app sends and runs; a test may drive one.
    """

    def __init__(self, app: Celeriac, clock: Clock = SYSTEM) -> None:
        self._app = self.app = app
        self.wall = clock.wall
        self._directions: Directions | None = None

    @property
    def directions(self) -> Directions:
        """Where calls go, as the settings say now."""
        made = self._directions
        if made is None or made.settled is not self._app.conf.settled:
            made = self._directions = Directions(self._app)
        return made

    # -- making --------------------------------------------------------------------------------

    def message(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        defaults: Defaults = NO_DEFAULTS,
        options: Mapping[str, Any] = _NO_OPTIONS,
        place: Mapping[str, Any] | None = None,
    ) -> Message:
        """Return the signed message of one call; *options* are those of ``apply_async``.

        *place* is fields of the header that say where in a workflow it stands.

        Raises ``TypeError`` for an unknown option and for arguments that are no list and
        dictionary, ``ValueError`` for option values, ``NotInThisVersion``, ``EncodeError`` with
        the path of a value that cannot be serialised, ``PayloadTooLarge``, and ``QueueNotFound``
        for a queue that has to be declared and is not.
        """
        conf = self._app.conf
        directions = self.directions
        if directions.routes:
            defaults, options = directions.routed(name, args, kwargs, defaults, options)
        now = self.wall()
        serializer = options.get("serializer") if options else None
        serializer = serializer or defaults.serializer or conf.task_serializer
        compression = options.get("compression") if options else None
        compression = compression or defaults.compression or conf.task_compression
        if compression:
            compression = compression_of(compression)
        mask = _mask(defaults.mask, None if place is None else place.get("edges"))
        payload = self.payload(name, args, kwargs, serializer, mask, compression)
        priority = defaults.priority
        run = running.get()
        id, nonce = new_call()
        header = Header(
            id=id,
            task=name,
            nonce=nonce,
            queue=defaults.queue or conf.task_default_queue,
            priority=conf.task_default_priority if priority is None else priority,
            expires=None if defaults.expires is None else self.expiry(defaults.expires, now),
            serializer=serializer,
            sent=now,
            origin=origin(),
            root="" if run is None else run.root_id or "",
            parent="" if run is None else run.id or "",
            compression=compression or "",
        )
        if mask is not None:
            header = _masked(header, mask, args, kwargs)
        if options:
            header = self._with_options(header, options, defaults, now)
        if directions.checks:
            named = priority is not None or options.get("priority") is not None
            header = directions.checked(header, run, named)
        if place is not None:
            header = msgspec.structs.replace(header, **place)
        if conf.security_key is None:
            return compose(header, payload)
        return self.signed(header, payload)

    def plain(self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message:
        """Return the signed message of a call that *form* holds for; :meth:`message` in short.

        Raises what :meth:`Form.payload` and :meth:`Form.header` raise.
        """
        payload = form.payload(args, kwargs)
        id, nonce = new_call()
        header = form.header(self._app, running.get(), id, nonce, self.wall(), origin())
        if self._app.conf.security_key is None:
            return compose(header, payload)
        return self.signed(header, payload)

    def reissue(
        self,
        header: Header,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        mask: Mask | None = None,
    ) -> bytes:
        """Return the wire form of a message that takes the place of *header*'s in a retry.

        Same id and nonce, so that a late resend of the first one is still known as such.
        """
        defaults = Defaults(queue=header.queue, priority=header.priority)
        serializer = options.get("serializer") or header.serializer
        compression = options.get("compression") or header.compression
        if compression:
            compression = compression_of(compression)
        mask = _mask(mask, header.edges)
        payload = self.payload(header.task, args, kwargs, serializer, mask, compression)
        renewed = msgspec.structs.replace(
            header, serializer=serializer, compression=compression, eta=None,
            argsrepr="", kwargsrepr="",
        )  # fmt: skip
        if mask is not None:
            renewed = _masked(renewed, mask, args, kwargs)
        if options:
            renewed = self._with_options(renewed, options, defaults, self.wall())
            if self.directions.checks:
                renewed = self.directions.checked(renewed, None, prioritised=True)
        return self.signed(renewed, payload).encode()

    def payload(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        serializer: str,
        mask: Mask | None = None,
        compression: str | None = None,
    ) -> bytes:
        """Return the arguments as bytes, or raise ``EncodeError`` or ``PayloadTooLarge``.

        What *mask* hides does not appear in the error. *compression* is a wire's name of one.
        """
        conf = self._app.conf
        if serializer not in conf.accept_content:
            content_type(serializer)  # a name that nobody knows is told as that
            raise ImproperlyConfigured(
                f"task {name!r} is sent as {serializer}, and accept_content is "
                f"{list(conf.accept_content)}, so no worker with these settings would read it: "
                f"add {serializer!r} to accept_content"
            )
        try:
            data = encode_call(serializer, args, kwargs)
        except EncodeError as error:
            note = f"The call of task {name!r} was not sent."
            if mask is None:
                error.add_note(note)
                raise
            hide = mask.hider(args, kwargs)
            clear = EncodeError(hide(str(error)), path=hide(error.path))
            clear.add_note(note)
            raise clear from None
        if compression:
            if len(data) > UNPACKED_MAX:  # nobody would unpack it again
                raise PayloadTooLarge(len(data), UNPACKED_MAX, name)
            data = pack(compression, data)
        most = conf.payload_max
        if len(data) > most:
            raise PayloadTooLarge(len(data), most, name)
        return data

    def signed(self, header: Header, payload: bytes) -> Message:
        """Compose a message, signed if ``security_key`` is set."""
        message = compose(header, payload)
        signer = self._app.signer
        if signer is None:
            return message
        key_id, signature = signer.sign("message", message.block, payload)
        return Message(header, message.block, payload, key_id, signature)

    def _with_options(
        self, header: Header, options: Mapping[str, Any], defaults: Defaults, now: float
    ) -> Header:
        check_options(options, "apply_async()", self._app)
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if value is None:
                continue  # as if it had not been given, which is how Celery reads it
            if name == "task_id":
                changes["id"] = checked_id(value)
            elif name == "queue":
                changes["queue"] = checked_queue(value)
            elif name == "priority":
                changes["priority"] = checked_priority(value)
            elif name in {"time_limit", "soft_time_limit"}:
                changes[name] = checked_limit(value, name)
            elif name == "headers":
                changes["headers"] = checked_headers(value)
            elif name == "stamped_headers":
                changes["stamps"] = {**(header.stamps or {}), **checked_stamps(options)} or None
            elif name == "ignore_result":
                changes["ignore_result"] = bool(value)
            elif name in {"argsrepr", "kwargsrepr"}:
                changes[name] = str(value)[:REPR_MAX]
        if options.get("exchange") is not None or options.get("routing_key") is not None:
            changes["queue"] = self._queue_named(options)
        if options.get("countdown") is not None:
            changes["eta"] = now + checked_countdown(options["countdown"])
        elif options.get("eta") is not None:
            changes["eta"] = moment(options["eta"], "eta", self._app.conf.timezone)
        if options.get("expires") is not None:
            changes["expires"] = self.expiry(options["expires"], now)
        header = msgspec.structs.replace(header, **changes)
        self._check_together(header, options, defaults)
        return header

    def _queue_named(self, options: Mapping[str, Any]) -> str:
        """Return the queue that the options ``exchange`` and ``routing_key`` name."""
        exchange, key = (options.get(each) for each in ("exchange", "routing_key"))
        exchange = getattr(exchange, "name", exchange)
        return self.directions.queue_of(options.get("queue"), exchange, key, "apply_async()")

    def _check_together(
        self, header: Header, options: Mapping[str, Any], defaults: Defaults
    ) -> None:
        conf = self._app.conf
        if header.eta is not None and header.expires is not None and header.eta > header.expires:
            raise ValueError(
                f"task {header.task!r} is due at {_iso(header.eta)} and expires before, at "
                f"{_iso(header.expires)}: it could never run. Give it a later expires or an "
                "earlier eta or countdown"
            )
        if header.time_limit is not None or header.soft_time_limit is not None:
            agreed_soft_limit(
                header.task,
                _first(header.soft_time_limit, defaults.soft_time_limit, conf.task_soft_time_limit),
                _first(header.time_limit, defaults.time_limit, conf.task_time_limit),
                conf.task_soft_time_limit,
            )
        if options.get("retry_policy") is not None:
            checked_retry_policy(options["retry_policy"], "retry_policy")

    def expiry(self, value: Any, now: float) -> float:
        """Return the moment from which a call sent at *now* is not begun any more."""
        if isinstance(value, datetime | str):
            return moment(value, "expires", self._app.conf.timezone)
        return now + seconds(value, "expires")

    # -- sending -------------------------------------------------------------------------------

    def send(
        self,
        messages: Sequence[Message],
        retry: bool | None = None,
        policy: Mapping[str, Any] | None = None,
        joins: Sequence[NewJoin] = (),
        join: str | None = None,
    ) -> None:
        """Store *messages* and *joins*, all or none; try again while the store is away.

        With *join* the messages are members of that open join.

        Trying ends after ``publish_timeout`` seconds in all, or as the policy says, with
        ``OperationalError``. A repeat is harmless: the store knows a message by id and nonce.
        """
        queue = self._app.store.queue
        enqueue: Callable[[Sequence[Message]], None] = queue.enqueue
        if joins or join is not None:
            enqueue = partial(queue.enqueue, join=join, joins=joins)
        self.step(messages, enqueue, retry, policy)

    def step(
        self,
        messages: Sequence[Message],
        enqueue: Callable[[Sequence[Message]], None],
        retry: bool | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        """Announce *messages* and hand them to *enqueue*, a step of the store that can be repeated,
        as :meth:`send` does."""
        before, after, sent = SENDING
        if not (before.receivers or after.receivers or sent.receivers):
            return self._store(messages, enqueue, retry, policy)
        from celeriac.publishing import Announced  # here, because few programs listen

        announced = Announced(self, messages, policy or {})
        self._store(announced.messages, enqueue, retry, policy)
        return announced.sent()

    def _store(
        self,
        messages: Sequence[Message],
        enqueue: Callable[[Sequence[Message]], None],
        retry: bool | None,
        policy: Mapping[str, Any] | None,
    ) -> None:
        conf = self._app.conf
        started = _monotonic()
        tries = 0
        while True:
            try:
                crashpoint("enqueue.before")
                if tries:
                    from celeriac.stores.base import no_later_than

                    with no_later_than(started + conf.publish_timeout):
                        enqueue(messages)
                else:
                    enqueue(messages)
                if conf.task_send_sent_event and messages:
                    self._app.events.sent(messages)
                return
            except StoreFull:
                raise
            except OperationalError as error:
                tries += 1
                again = conf.task_publish_retry if retry is None else retry
                rules = {
                    **conf.task_publish_retry_policy,
                    **checked_retry_policy(policy or {}, "retry_policy"),
                }
                wait = _wait(rules, tries)
                limit = rules["max_retries"]
                spent = _monotonic() - started
                out_of_tries = limit is not None and tries > limit
                if not again or out_of_tries or spent + wait >= conf.publish_timeout:
                    raise OperationalError(_not_sent(messages, tries, spent, error)) from error
                sleep(wait)


def _wait(policy: Mapping[str, Any], tries: int) -> float:
    grown = policy["interval_start"] + policy["interval_step"] * (tries - 1)
    return float(min(grown, policy["interval_max"]))


def _not_sent(messages: Sequence[Message], tries: int, spent: float, error: Exception) -> str:
    first = messages[0].header if messages else None
    what = f"task {first.task}[{first.id}]" if first and len(messages) == 1 else (
        f"{len(messages)} tasks"
    )  # fmt: skip
    times = "once" if tries == 1 else f"{tries} times"
    return f"{what} not acknowledged by the store, tried {times} in {spent:.1f} s: {error}"


def verify(message: Message, signer: Signer | None) -> None:
    """Raise ``SecurityError`` if *signer* is given and did not sign *message*. Pure.

    To be called before anything in the message is believed.
    """
    if signer is not None:
        signer.verify("message", message.block, message.payload, message.key_id, message.signature)


def _mask(mask: Mask | None, edges: Edges | None) -> Mask | None:
    """*mask* for the arguments that a call is sent with, which come after those it takes."""
    return mask if mask is None or edges is None else mask.behind(edges.given)


def _masked(header: Header, mask: Mask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Header:
    """*header* with the arguments as text, those hidden that *mask* hides."""
    return msgspec.structs.replace(
        header, argsrepr=mask.shown_args(args), kwargsrepr=mask.shown_kwargs(kwargs)
    )


# -- options -----------------------------------------------------------------------------------


def _first(call: float | None, task: float | None, setting: float | None) -> Any:
    """Return the time limit that holds for a call, and who says it."""
    if call is not None:
        return call, "the call"
    return (setting, "the settings") if task is None else (task, "the task's options")


def checked_limit(value: Any, name: str) -> float:
    """Return a time limit in seconds, or raise."""
    limit = seconds(value, name)
    if limit <= 0:
        raise ValueError(f"{name} is {value}; a time limit is more than 0 seconds")
    return limit


def checked_countdown(value: Any) -> float:
    """Return the seconds from now on that a countdown asks for, or raise."""
    wait = seconds(value, "countdown")
    if wait < 0:
        raise ValueError(
            f"countdown is {value}; it is 0 seconds (at once) or more. Where it is computed, write "
            "countdown=max(0, …)"
        )
    return wait


def checked_call(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a function is called with, or raise ``TypeError`` if it is no call."""
    if args is None:
        args = ()
    elif isinstance(args, str | bytes | Mapping) or not isinstance(args, Sequence):
        raise TypeError(
            f"args is a {type(args).__name__}; it must be a list or tuple of positional arguments"
        )
    if kwargs is None:
        return tuple(args), {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise TypeError("kwargs must be a dictionary from names of parameters to values")
    return tuple(args), dict(kwargs)


@cache
def origin() -> str:
    """Return who sends: this process and its machine."""
    return f"{os.getpid()}@{os.uname().nodename}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=origin.cache_clear)  # a child has another number


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
