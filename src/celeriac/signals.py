"""Signals: moments in the life of a call and of a worker that an application may connect to.

Layer 3: standard library only, no IO. Names, senders and arguments are Celery's;
``docs/reference/signals.md`` says of each when and in which process it is sent. Whoever sends one
asks :attr:`Signal.receivers` first, so that a signal nobody listens to costs a look at an empty
list, and keeps what :func:`version` was when it asked, to ask again only after a change.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from celeriac.exceptions import CeleryWarning
from celeriac.later import absent

__all__ = [
    "SENDING",
    "Signal",
    "after_setup_logger",
    "after_setup_task_logger",
    "after_task_publish",
    "beat_embedded_init",
    "beat_init",
    "before_task_publish",
    "celeriacd_init",
    "celeryd_after_setup",
    "celeryd_init",
    "heartbeat_sent",
    "import_modules",
    "setup_logging",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_sent",
    "task_success",
    "task_unknown",
    "user_preload_options",
    "version",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
]

Receiver = Callable[..., Any]
F = TypeVar("F", bound=Receiver)

#: Seconds before a receiver connected with ``retry=True`` is called again: the first pause, what
#: each further one has more, and the longest.
_PAUSE_FIRST: Final = 2.0
_PAUSE_STEP: Final = 2.0
_PAUSE_MOST: Final = 30.0

_version = 0


def version() -> int:
    """Return a number that grows whenever a receiver of any signal comes or goes."""
    return _version


def _changed() -> None:
    global _version
    _version += 1


class _Link:
    """One connection. The receiver is held weakly unless the caller wants otherwise."""

    __slots__ = ("key", "receiver", "sender", "weak")

    def __init__(self, key: object, receiver: Any, sender: object, weak: bool) -> None:
        self.key = key
        self.receiver = receiver
        self.sender = sender
        self.weak = weak

    def live(self) -> Receiver | None:
        """The receiver, None if it has been collected."""
        found: Receiver | None = self.receiver() if self.weak else self.receiver
        return found

    def hears(self, sender: object) -> bool:
        """Whether the receiver is connected to *sender*, or to all."""
        return self.sender is None or _same(self.sender, sender)


class Signal:
    """One kind of moment. Receivers are functions that take ``**kwargs``.

    Args:
        providing_args: names of the arguments that are sent along; for people.
        use_caching: Celery's argument; it means nothing here.
        name: its name, for error messages.
        later: why nobody sends it in this version; connecting to it warns with that.
    """

    def __init__(
        self,
        providing_args: Iterable[str] | None = None,
        use_caching: bool = False,
        name: str | None = None,
        later: str = "",
    ) -> None:
        self.name = name
        self.providing_args = set(providing_args or ())
        self.use_caching = use_caching
        #: The connections; empty as long as nobody has connected.
        self.receivers: list[_Link] = []
        self._later = later
        self._lock = threading.RLock()
        self._some_died = False

    @overload
    def connect(
        self,
        receiver: F,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> F: ...
    @overload
    def connect(
        self,
        receiver: str | None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        receiver: Any = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> Any:
        """Connect *receiver*; also a decorator, with and without arguments.

        Args:
            receiver: a function or method that takes ``**kwargs``. It is called with ``signal``,
                ``sender`` and what the signal sends along.
            sender: hear this sender only: a task, or the text that is a signal's sender.
            weak: let it be collected when nobody else holds it. False for a function made inside
                another one.
            dispatch_uid: connect once only under this key, however often it is asked for.
            retry: call it again, after 2 s, 4 s and so on up to 30 s, until it does not raise;
                it is then held strongly.

        Raises:
            TypeError: it cannot be called.
            ValueError: it takes no ``**kwargs``, so it would break when an argument is added.
        """
        if isinstance(receiver, str):  # Celery takes the sender in this place, too
            receiver, sender = None, receiver
        if receiver is None:
            return lambda fun: self.connect(fun, sender, weak, dispatch_uid, retry)
        _check_receiver(receiver)
        key = _key(receiver) if dispatch_uid is None else dispatch_uid
        held: Any = receiver
        if retry:
            held, weak = _Persistent(receiver), False
        elif weak:
            make = weakref.WeakMethod if hasattr(receiver, "__func__") else weakref.ref
            held = make(receiver, self._died)
        if self._later:
            warnings.warn(f"{self.name}: {self._later}", CeleryWarning, stacklevel=2)
        with self._lock:
            self._prune()
            if not any(each.key == key and _same(each.sender, sender) for each in self.receivers):
                self.receivers = [*self.receivers, _Link(key, held, sender, weak)]
                _changed()
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool | None = None,
        dispatch_uid: object = None,
    ) -> bool:
        """Disconnect what was connected with these; return whether something was. *weak* means
        nothing."""
        key = _key(receiver) if dispatch_uid is None else dispatch_uid
        with self._lock:
            self._prune()
            kept = [
                each
                for each in self.receivers
                if not (each.key == key and _same(each.sender, sender))
            ]
            found = len(kept) != len(self.receivers)
            self.receivers = kept
            if found:
                _changed()
        return found

    def has_listeners(self, sender: object = None) -> bool:
        """Whether a signal of *sender* would reach anybody."""
        return bool(self.receivers) and bool(self._live(sender))

    def send(self, sender: object, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers; return each with what it returned, or with the exception it raised.

        An exception is logged and not raised.
        """
        if not self.receivers:
            return []
        responses: list[tuple[Receiver, Any]] = []
        for receiver in self._live(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as error:  # noqa: BLE001 - a receiver may raise anything
                _logger().exception(
                    "Receiver %s of the signal %s raised", _shown(receiver), self.name
                )
                response = error
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _live(self, sender: object) -> list[Receiver]:
        if self._some_died:
            with self._lock:
                self._prune()
        found = [each.live() for each in self.receivers if each.hears(sender)]
        return [each for each in found if each is not None]

    def _died(self, _reference: object) -> None:
        """A receiver was collected. Nothing is rearranged here: this may be called while any
        other code runs, that which holds the lock included."""
        self._some_died = True
        _changed()

    def _prune(self) -> None:
        if self._some_died:
            self._some_died = False
            self.receivers = [each for each in self.receivers if each.live() is not None]

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={self.providing_args!r}>"


class _Persistent:
    """A receiver that is called until it does not raise."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __call__(self, **named: Any) -> Any:
        pause = _PAUSE_FIRST
        while True:
            try:
                return self._receiver(**named)
            except Exception as error:  # noqa: BLE001 - a receiver may raise anything
                _logger().error(
                    "Receiver %s raised %r; it is called again in %g s",
                    _shown(self._receiver), error, pause,
                )  # fmt: skip
            time.sleep(pause)
            pause = min(_PAUSE_MOST, pause + _PAUSE_STEP)

    def __repr__(self) -> str:
        return repr(self._receiver)


def _logger() -> Any:
    import logging  # here, because a program that only sends may need none

    return logging.getLogger("celeriac.signals")


def _check_receiver(receiver: Any) -> None:
    if not callable(receiver):
        raise TypeError(f"a receiver of a signal is a function, not {receiver!r}")
    import inspect

    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):  # written in C, and does not say
        return
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        raise ValueError(
            f"{_shown(receiver)} takes no **kwargs: a receiver of a signal must accept keyword "
            "arguments it does not know, because more may be sent along one day"
        )


def _key(receiver: Any) -> object:
    function = getattr(receiver, "__func__", None)
    if function is None:
        return id(receiver)
    return id(getattr(receiver, "__self__", None)), id(function)


def _same(one: object, other: object) -> bool:
    one, other = _behind(one), _behind(other)
    if one is other:
        return True
    return isinstance(one, str | bytes) and type(one) is type(other) and one == other


def _behind(sender: object) -> object:
    """*sender*, or what it stands for now: a shared task is the current app's."""
    find = getattr(type(sender), "_get_current_object", None)
    return sender if find is None else find(sender)


def _shown(receiver: object) -> str:
    name = getattr(receiver, "__qualname__", None)
    return f"{getattr(receiver, '__module__', '')}.{name}" if name else repr(receiver)


def _signal(name: str, *args: str, later: str = "") -> Signal:
    return Signal(args, name=name, later=later)


_BEAT: Final = "periodic tasks are not in this version, so nobody sends it"

# -- sending, in the process that sends ----------------------------------------------------------
before_task_publish: Final = _signal(
    "before_task_publish",
    "body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy",
)  # fmt: skip
after_task_publish: Final = _signal(
    "after_task_publish", "body", "exchange", "routing_key", "headers"
)
task_sent: Final = _signal("task_sent", "task_id", "task", "args", "kwargs", "eta", "taskset")
#: Those of sending; the client looks at them for each call.
SENDING: Final = (before_task_publish, after_task_publish, task_sent)

# -- runs, in the executor -----------------------------------------------------------------------
task_prerun: Final = _signal("task_prerun", "task_id", "task", "args", "kwargs")
task_postrun: Final = _signal(
    "task_postrun", "task_id", "task", "args", "kwargs", "retval", "state"
)
task_success: Final = _signal("task_success", "result", "runtime")
task_retry: Final = _signal("task_retry", "request", "reason", "einfo")
task_failure: Final = _signal(
    "task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo"
)
task_internal_error: Final = _signal(
    "task_internal_error",
    "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo",
)  # fmt: skip

# -- calls in a worker's hands, in its hooks process ---------------------------------------------
task_received: Final = _signal("task_received", "request")
task_revoked: Final = _signal("task_revoked", "request", "terminated", "signum", "expired")
task_rejected: Final = _signal("task_rejected", "message", "exc")
task_unknown: Final = _signal("task_unknown", "message", "exc", "name", "id")

# -- a worker's set-up, in the process that imports the application ------------------------------
celeryd_init: Final = _signal("celeryd_init", "instance", "conf", "options")
#: The same under a name of ours.
celeriacd_init: Final = celeryd_init
celeryd_after_setup: Final = _signal("celeryd_after_setup", "instance", "conf")
import_modules: Final = _signal("import_modules")
worker_init: Final = _signal("worker_init")
setup_logging: Final = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger: Final = _signal(
    "after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize"
)
after_setup_task_logger: Final = _signal(
    "after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize"
)
worker_before_create_process: Final = _signal("worker_before_create_process")

# -- a worker's life -----------------------------------------------------------------------------
worker_process_init: Final = _signal("worker_process_init")
worker_process_shutdown: Final = _signal("worker_process_shutdown", "pid", "exitcode")
worker_ready: Final = _signal("worker_ready")
worker_shutting_down: Final = _signal("worker_shutting_down", "sig", "how", "exitcode")
worker_shutdown: Final = _signal("worker_shutdown")
heartbeat_sent: Final = _signal("heartbeat_sent")

# -- others --------------------------------------------------------------------------------------
beat_init: Final = _signal("beat_init", later=_BEAT)
beat_embedded_init: Final = _signal("beat_embedded_init", later=_BEAT)
user_preload_options: Final = _signal("user_preload_options", "app", "options")

_EVENTLET: Final = dict.fromkeys(
    [
        "eventlet_pool_started",
        "eventlet_pool_preshutdown",
        "eventlet_pool_postshutdown",
        "eventlet_pool_apply",
    ],
    "The pool eventlet is not in this version.",
)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _EVENTLET)
