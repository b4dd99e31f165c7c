"""Every error and warning of Celeriac, and nothing else. Standard library only; for anybody.

    CeleriacError (= CeleryError)
    ├── ImproperlyConfigured            NotInThisVersion
    ├── SecurityError                   ContentDisallowed
    ├── EncodeError, DecodeError        the value, the bytes
    ├── PayloadTooLarge, DuplicateTask  refused before anything is written
    ├── OperationalError                StoreFull
    ├── BackendError                    BackendGetMetaError, BackendStoreError,
    │                                   StoreError > StoreVersionError
    ├── TaskPredicate                   Ignore, Reject, Retry: raised by a task on purpose
    └── TaskError                       NotRegistered, AlreadyRegistered, QueueNotFound,
                                        IncompleteStream, TimeoutError, MaxRetriesExceededError,
                                        TaskRevokedError, InvalidTaskError, ResultNotFound,
                                        NotReplayable, ResultTooLarge, TaskFailed, UpstreamFailed,
                                        ChordError > HeaderIncomplete
    Exception
    ├── SoftTimeLimitExceeded, TimeLimitExceeded, Terminated
    └── WorkerLostError > DeadTaskError
    SystemExit
    └── WorkerShutdown, WorkerTerminate

Names, parents and attributes that Celery documents are kept, so that an ``except`` clause means
what it meant. The first line of a docstring is the text of an error raised without one.
Positional arguments are always kept in ``args`` as they came, and everything else in the
instance's dictionary: so each error can be copied and pickled, which process pools and test
runners do.
"""

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleriacError",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "ContentDisallowed",
    "DeadTaskError",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTask",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "FixupWarning",
    "HeaderIncomplete",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotInThisVersion",
    "NotRegistered",
    "NotReplayable",
    "OperationalError",
    "PayloadTooLarge",
    "QueueNotFound",
    "Reject",
    "ResultNotFound",
    "ResultTooLarge",
    "Retry",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "StoreError",
    "StoreFull",
    "StoreVersionError",
    "TaskError",
    "TaskFailed",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "UpstreamFailed",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
]


def _default_text(error: BaseException) -> str:
    """First line of the docstring of the error's class, or its name under ``python -OO``."""
    lines = (type(error).__doc__ or "").strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Described(Exception):
    """An error that never prints as nothing."""

    def __str__(self) -> str:
        # Not super(): KeyError would print the repr of its argument.
        return Exception.__str__(self) or _default_text(self)


class CeleriacError(_Described):
    """Something went wrong in Celeriac."""


CeleryError = CeleriacError


# -- set-up ------------------------------------------------------------------------------------


class ImproperlyConfigured(CeleriacError):
    """Celeriac is set up wrongly.

    Attributes:
        problems: all that was found wrong, one text each; may be empty if the message says it.
    """

    def __init__(self, *args: object, problems: Sequence[str] = ()) -> None:
        super().__init__(*args)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        text = super().__str__()
        if not self.problems:
            return text
        return "\n".join([f"{text.rstrip('.:')}:", *(f"  - {each}" for each in self.problems)])


class NotInThisVersion(ImproperlyConfigured):
    """What was asked for is not in this version of Celeriac.

    Raised by name for what Celery has and we have not yet, or not so: never accepted and ignored.

    Args:
        what: what was asked for, or the whole text if nothing else is given.
        instead: a sentence on what to do; may be empty.
    """

    def __init__(
        self, what: str = "", instead: str | None = None, *, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(*self.args, problems=problems)
        self.what = what
        self.instead = instead

    def __str__(self) -> str:
        if self.instead is None:
            return super().__str__()
        return f"{self.what} is not in this version. {self.instead}".rstrip()


class SecurityError(CeleriacError):
    """Refused for security: a signature, a key or a permission is missing or wrong."""


class ContentDisallowed(SecurityError):
    """Refused content of a type that the setting `accept_content` does not list."""


# -- values and messages -----------------------------------------------------------------------


class EncodeError(CeleriacError):
    """A value cannot be serialised.

    Attributes:
        path: where the value is, such as ``args[0].author``; empty if it is the whole.
    """

    def __init__(self, *args: object, path: str = "") -> None:
        super().__init__(*args)
        self.path = path


class DecodeError(CeleriacError):
    """The bytes are not what they say they are: broken, cut short, or of another format."""


class PayloadTooLarge(CeleriacError):
    """What is to be sent is larger than a message, or one step of the store, may be.

    Args:
        size: bytes the arguments of a call take, or a text.
        limit: bytes allowed.
        task_name: the task that was called.
    """

    def __init__(self, size: int | str = 0, limit: int = 0, task_name: str = "") -> None:
        super().__init__(*self.args)
        self.size = size
        self.limit = limit
        self.task_name = task_name

    def __str__(self) -> str:
        if isinstance(self.size, str) or not self.size:
            return super().__str__()
        whose = f"task {self.task_name!r}" if self.task_name else "the call"
        return (
            f"The arguments of {whose} take {self.size:,} bytes and {self.limit:,} are allowed. "
            "Store the data where the task can read it and pass its name."
        )


class DuplicateTask(CeleriacError):
    """A task with this id exists and has not ended.

    Args:
        task_id: the id that was used again.
    """

    def __init__(self, task_id: str = "") -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        if not self.task_id:
            return _default_text(self)
        return (
            f"Task {self.task_id} exists and has not ended. "
            "Send this call with another task_id, or wait for that task or revoke it."
        )


# -- stores ------------------------------------------------------------------------------------


class OperationalError(CeleriacError):
    """The store cannot be reached, so the call was not acknowledged.

    Attributes:
        passing: it may pass by itself, as a server that is away comes back: worth waiting for.
        outage: the store was there before in this process and has gone away, so that no wrong
            address is the reason. ``get()`` waits for it.
    """

    passing = False
    outage = False


class StoreFull(OperationalError):
    """The store has no room left; nothing was written."""


class BackendError(CeleriacError):
    """The store of results failed."""


class BackendGetMetaError(BackendError):
    """A result could not be read.

    Attributes:
        task_id: whose result, or None.
    """

    def __init__(self, *args: object, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.task_id = task_id


class BackendStoreError(BackendError):
    """A result could not be written.

    Attributes:
        task_id: whose result, or None.
        state: the state that was to be written, or None.
    """

    def __init__(self, *args: object, task_id: str | None = None, state: str | None = None) -> None:
        super().__init__(*args)
        self.task_id = task_id
        self.state = state


class StoreError(BackendError):
    """The store answered with something that cannot be right."""


class StoreVersionError(StoreError):
    """The store was written by a version of Celeriac that this one does not know."""


# -- what a task raises on purpose -------------------------------------------------------------


class TaskPredicate(CeleriacError):
    """Raised by a task to say what should become of it; not a failure."""


class Ignore(TaskPredicate):
    """The task asked that its outcome be ignored."""


class Reject(TaskPredicate):
    """The task rejected its message.

    Args:
        reason: why, for the record; any value that prints well.
        requeue: put the message back into its queue instead of ending it.

    Raises:
        TypeError: *requeue* is no bool: a second part of the reason would put it back for ever.
    """

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        if not isinstance(requeue, bool):
            raise TypeError(
                f"Reject(): requeue is {requeue!r}, of type {type(requeue).__name__}; it must be "
                "True or False. The reason is one argument"
            )
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __str__(self) -> str:
        why = "" if self.reason is None else f": {self.reason}"
        return f"{'Rejected and put back' if self.requeue else 'Rejected'}{why}"


class Retry(TaskPredicate):
    """The task is to run again.

    Args:
        message: text for the record; made from the others if empty.
        exc: the exception that was the reason, or its text.
        when: seconds from now, or the moment.
        is_eager: the task ran in the caller's process and is to be repeated there.
        sig: the signature to repeat, if `is_eager`.

    Attributes:
        excs: the text of `exc`, or None.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: object = None,
    ) -> None:
        super().__init__(message, exc, when, is_eager, sig)
        self.message = message
        self.exc = exc if isinstance(exc, BaseException) else None
        self.excs = repr(exc) if isinstance(exc, BaseException) else exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig

    def humanize(self) -> str:
        """When the task runs again, in words: ``in 5s``, ``at 2026-05-01 12:00:00``, ``now``."""
        if self.when is None:
            return "now"
        if isinstance(self.when, datetime):
            return f"at {self.when}"
        return f"in {self.when}s"

    def __str__(self) -> str:
        if self.message:
            return self.message
        text = f"Retry {self.humanize()}"
        return f"{text}: {self.excs}" if self.excs else text


# -- what came of a task -----------------------------------------------------------------------


class TaskError(CeleriacError):
    """A task could not be sent, run or waited for."""


class NotRegistered(TaskError, KeyError):
    """No task of this name is registered.

    Args:
        name: the name that was asked for.
        known: names that are registered; the nearest are shown.
    """

    def __init__(self, name: str = "", known: Sequence[str] = ()) -> None:
        super().__init__(name, tuple(known))
        self.name = name
        self.known = tuple(known)

    def near(self) -> list[str]:
        """Return registered names like the one asked for, the nearest first; at most three."""
        same_end = [
            each for each in self.known if each.rpartition(".")[2] == self.name.rpartition(".")[2]
        ]
        likely = [each for each in self.known if self._like(each)]
        from difflib import get_close_matches

        close = get_close_matches(self.name, likely, cutoff=0.75)
        return list(dict.fromkeys([*close, *same_end]))[:3]

    def _like(self, other: str) -> bool:
        """Names of one module have its name in common, which is no likeness: the rest counts."""
        module, _, last = self.name.rpartition(".")
        its_module, _, its_last = other.rpartition(".")
        if module != its_module or its_last.startswith(last) or last.startswith(its_last):
            return True
        from difflib import get_close_matches

        return bool(get_close_matches(last, [its_last], cutoff=0.7))

    def __str__(self) -> str:
        if not self.name:
            return _default_text(self)
        text = f"Task {self.name!r} is not registered."
        if near := self.near():
            return f"{text} Did you mean {' or '.join(map(repr, near))}?"
        return (
            f"{text} Does the app include the module that defines it "
            f"(include=[…], or import it before the worker starts)?"
        )


class AlreadyRegistered(TaskError):
    """A task of this name is registered already."""


class QueueNotFound(TaskError, KeyError):
    """No queue of this name is known."""


class IncompleteStream(TaskError):
    """A stream of data ended too early."""


class TimeoutError(TaskError, builtins.TimeoutError):
    """The task had not ended when the wait was over.

    Also a built-in ``TimeoutError``, so an ``except`` clause without an import catches it.
    """


class MaxRetriesExceededError(TaskError):
    """The task was repeated as often as it may be.

    Attributes:
        task_args: positional arguments of the call.
        task_kwargs: its keyword arguments.
    """

    def __init__(
        self,
        *args: object,
        task_args: Sequence[object] = (),
        task_kwargs: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(*args)
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs


class TaskRevokedError(TaskError):
    """The task was revoked and has no result."""


class InvalidTaskError(TaskError):
    """The message does not describe a task: a field is missing or wrong."""


class ResultNotFound(TaskError, LookupError):
    """There is no such result: the task never was, its record has expired, or it was forgotten.

    Args:
        task_id: the id that was asked for.
        forgotten: the task has ended, and somebody called ``forget()``.
    """

    def __init__(self, task_id: str = "", forgotten: bool = False) -> None:
        super().__init__(task_id)
        self.task_id = task_id
        self.forgotten = forgotten

    def __str__(self) -> str:
        if not self.task_id:
            return _default_text(self)
        if self.forgotten:
            return (
                f"The result of task {self.task_id} is gone: the task has ended, and forget() "
                "dropped what it returned. Read a result before it is forgotten."
            )
        return (
            f"No task {self.task_id} is known to this store: it was never sent here, or its "
            "record has expired. Compare the store of the sender with this one, and the setting "
            "result_expires with the age of the task."
        )


class NotReplayable(TaskError, LookupError):
    """The record of a task does not hold what a replay needs: its arguments or its inputs."""


class ResultTooLarge(TaskError):
    """The task's return value is larger than a result may be.

    Args:
        size: bytes the result takes, or a text.
        limit: bytes allowed.
        task_id: the task that returned it.
    """

    def __init__(self, size: int | str = 0, limit: int = 0, task_id: str = "") -> None:
        super().__init__(*self.args)
        self.size = size
        self.limit = limit
        self.task_id = task_id

    def __str__(self) -> str:
        if isinstance(self.size, str) or not self.size:
            return super().__str__()
        whose = f"task {self.task_id}" if self.task_id else "the task"
        return (
            f"The result of {whose} takes {self.size:,} bytes and {self.limit:,} are allowed. "
            "Store the data elsewhere and return its name."
        )


class TaskFailed(TaskError):
    """The task failed with an exception whose class is not rebuilt here.

    Exceptions travel as data, and only classes on the allow list are made again from it.

    Attributes:
        type_name: full name of the class that was raised.
        message: its text.
        remote_traceback: the traceback as text, from the process that ran the task, or None.
    """

    def __init__(
        self, type_name: str = "", message: str = "", remote_traceback: str | None = None
    ) -> None:
        super().__init__(type_name, message, remote_traceback)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        if not self.type_name:
            return self.message or _default_text(self)
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class UpstreamFailed(TaskError):
    """The task did not run because one it depends on did not succeed.

    Args:
        task_id: the task that did not succeed.
        reason: what came of it.
    """

    def __init__(self, task_id: str = "", reason: str = "") -> None:
        super().__init__(task_id, reason)
        self.task_id = task_id
        self.reason = reason

    def __str__(self) -> str:
        if not self.task_id:
            return self.reason or _default_text(self)
        text = f"Did not run because task {self.task_id}, which it depends on, did not succeed"
        return f"{text}: {self.reason}" if self.reason else f"{text}."


class ChordError(TaskError):
    """A member of the chord did not succeed, so its body cannot run."""


class HeaderIncomplete(ChordError):
    """The sender of a chord stopped before it had sent all members.

    Args:
        join_id: the join that was never sealed, or a text.
        members: how many members had arrived.
    """

    def __init__(self, join_id: str = "", members: int | None = None) -> None:
        super().__init__(*self.args)
        self.join_id = join_id
        self.members = members

    def __str__(self) -> str:
        if self.members is None:
            return super().__str__()
        of = f" of join {self.join_id}" if self.join_id else ""
        return (
            f"Header incomplete: {self.members} members{of} had arrived when its sender stopped. "
            "Send the chord again."
        )


# -- limits and deaths -------------------------------------------------------------------------


class _Limit(_Described):
    """A time limit was reached.

    Args:
        seconds: the limit, or a text.
    """

    def __init__(self, seconds: float | str | None = None, *args: object) -> None:
        super().__init__(*(() if seconds is None else (seconds,)), *args)

    def __str__(self) -> str:
        if self.args and isinstance(self.args[0], int | float):
            return f"{_default_text(self).rstrip('.')}: {self.args[0]:g} s."
        return super().__str__()


class SoftTimeLimitExceeded(_Limit):
    """The task ran longer than its soft time limit.

    Raised inside the task, which may catch it to clean up.
    """


class TimeLimitExceeded(_Limit):
    """The task ran longer than its time limit and was stopped."""


class WorkerLostError(_Described):
    """The process that ran the task ended before the task did."""


class DeadTaskError(WorkerLostError):
    """The task was put aside because processes that ran it kept dying.

    It is kept: ``celeriac dead list`` shows it, ``celeriac dead retry`` sends it again.
    """


class Terminated(_Described):
    """The task was terminated on request while it ran."""


class WorkerShutdown(SystemExit):
    """Ask the worker to stop once the tasks that run have ended. The argument is the exit code."""


class WorkerTerminate(SystemExit):
    """Ask the worker to stop now. The argument is the exit code."""


# -- warnings ----------------------------------------------------------------------------------


class CeleryWarning(UserWarning):
    """Something works, but perhaps not as meant."""


class AlwaysEagerIgnored(CeleryWarning):
    """`send_task` sends to a worker even if `task_always_eager` is set."""


class DuplicateNodenameWarning(CeleryWarning):
    """Two workers have the same name."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two tasks have the same name; the first one stays."""


class FixupWarning(CeleryWarning):
    """The set-up for a framework could not be completed."""


class NotConfigured(CeleryWarning):
    """No configuration was given where one was expected."""


class SecurityWarning(CeleryWarning):
    """A setting is allowed but not safe."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """A name that will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """A name that will go away."""


_LATER = {
    "CeleryCommandException": "Commands raise click.ClickException.",
    "reraise": "Write raise error.with_traceback(tb).",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        raise NotInThisVersion(f"{__name__}.{name}", _LATER[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
