"""The context of a run: what ``self.request`` says, and which run we are in.

Layer 4. The runner enters a :class:`Context` around a task's body; a direct call of a task enters
one, too. They are linked, so that a task that calls another one directly keeps its own request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from msgspec.structs import replace

from celeriac.message import Header
from celeriac.outcome import ResultBody
from celeriac.progress import Progress
from celeriac.records import Delivery, Fence
from celeriac.sensitive import Hider, Hiding, shown_args, shown_kwargs
from celeriac.serialization import content_type

if TYPE_CHECKING:
    from celeriac.ahead import Ahead

__all__ = [
    "Context",
    "Update",
    "allow_join_result",
    "children_of",
    "current",
    "denied_join_result",
    "enter",
    "from_delivery",
    "last_word",
    "leave",
    "note_child",
    "placed",
    "running",
    "stamped",
]

#: The run in whose body we are, or None. Read by :mod:`celeriac.logs` for every record.
running: ContextVar[Any] = ContextVar("celeriac_running", default=None)

#: Sent tasks that a run remembers: they are stored with its result.
TRAIL_MAX: Final = 1000

Update = Callable[[Fence, str, bytes | None], object]


T = TypeVar("T")
_AHEAD: Final = frozenset({"chain", "callbacks", "errbacks", "chord"})


class _Ahead(Generic[T]):
    """A field of a run in a workflow about what comes after it; see ``celeriac.ahead``."""

    name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, run: Context | None, owner: type | None = None) -> T | None:
        if run is None:
            return None
        if self.name in run.__dict__:
            return cast("T", run.__dict__[self.name])
        ahead = run.ahead
        return None if ahead is None else cast("T", getattr(ahead, self.name))

    def __set__(self, run: Context, value: T | None) -> None:
        if run.ahead is not None:
            raise AttributeError(
                f"self.request.{self.name} cannot be changed: what follows task {run.id} is in the "
                "store, and a run cannot take it back by that. To have something else run in its "
                "place, use self.replace(); to have nothing run, raise an exception, or revoke the "
                "ids of what follows"
            )
        run.__dict__[self.name] = value


class Context:
    """What is known of the run a task is in; ``self.request`` in a bound task.

    Outside a run everything has the value shown here. A task may put attributes of its own on it;
    they are gone with the run.
    """

    #: The task's id and name.
    id: str | None = None
    task: str | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    #: How often the task was repeated on request; 0 in the first run.
    retries: int = 0
    #: How many leases this task has had, this one included; grows at each run.
    attempt: int = 0
    #: How often the task ended its executor.
    crashes: int = 0
    #: False while a worker runs the task, True if it was called like any function.
    called_directly: bool = True
    #: True if the task runs in the process that called it (``apply``, ``task_always_eager``).
    is_eager: bool = False
    #: True if a recorded task is run once more beside its record (``celeriac replay``); it is eager
    #: then, too.
    is_replay: bool = False
    #: The worker's name.
    hostname: str | None = None
    #: The process that sent the task.
    origin: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    #: The caller's own headers.
    headers: Mapping[str, Any] | None = None
    #: Hard and soft limit of this call in seconds, where the call named them.
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool = False
    queue: str | None = None
    priority: int | None = None
    #: In a workflow: the group it is a member of, and its place in that.
    group: str | None = None
    group_index: int | None = None
    #: In a workflow: signatures of the steps that remain of its chain, the next one last; of what
    #: was linked to it; of what is called if it fails; and of the body of its chord. Read from the
    #: store when asked for, and changed by nobody. None for a task of no workflow.
    chain = _Ahead[list[Any]]()
    callbacks = _Ahead[list[Any]]()
    errbacks = _Ahead[list[Any]]()
    chord = _Ahead[Any]()
    reply_to: str | None = None
    utc: bool = True
    #: Stamps by name, those of one name in a list; and the names, None where there are none.
    stamps: Mapping[str, Sequence[Any]] = {}
    stamped_headers: Sequence[str] | None = None
    #: More of Celery's fields, for which there is nothing to say here.
    taskset: str | None = None
    logfile: str | None = None
    loglevel: int | None = None
    shadow: str | None = None
    replaced_task_nesting: int = 0
    lang: str = "py"
    #: What this run said last by ``self.progress()``; None as long as it has not.
    progress: Progress | None = None

    # Private to the layer: how to write under this run's lease, what retry() has prepared, and
    # the run outside this one.
    fence: Fence | None = None
    owner: Any = None
    outer: Context | None = None
    due: float | None = None
    expiry: float | None = None
    nonce: str = ""
    redelivered: bool = False
    write: Update | None = None
    #: State and body of the last ``update_state``; and whether progress stands in line to be shown.
    shown: tuple[str, ResultBody] | None = None
    in_line: bool = False
    #: Hears what a replay would have shown: a state and its metadata, or None and the progress.
    heard: Callable[[str | None, Any], None] | None = None
    token: Token[Any] | None = None
    asked: Any = None
    replacement: bytes | None = None
    #: What ``replace()`` has prepared in this run, and parts that ``add_to_chord()`` adds.
    replaced: Any = None
    added: Any = None
    header: Header | None = None
    #: In a workflow: reads what comes after this run.
    ahead: Ahead | None = None
    #: How many of the arguments are results that it takes; they come before those it was sent with.
    given: int = 0
    joins_allowed: bool = False
    #: Takes what the task hides out of texts; and logs a line that was printed in part.
    hider: Hider | None = None
    printed: Callable[[], None] | None = None
    #: Results of what this run has sent, or has run eagerly; None as long as there are none.
    trail: Any = None
    #: The runner is calling a ``__call__`` of the application's own.
    entering: bool = False

    def __init__(self, *mappings: Mapping[str, Any], **fields: Any) -> None:
        for each in mappings:
            self.__dict__.update(each)
        self.__dict__.update(fields)

    @property
    def children(self) -> list[Any]:
        """Results of the tasks that this run has sent, in that order; at most 1000 are kept."""
        return self.trail or []

    @property
    def correlation_id(self) -> str | None:
        """Celery's name for the id that replies carry; the task's id."""
        return self.id

    @property
    def fencing_token(self) -> int:
        """A number that grows with each run of this task.

        Hand it to a system that can refuse lower ones, and a run that was thought dead cannot
        write after its successor. The same as ``attempt``.
        """
        return self.attempt

    @property
    def eta(self) -> str | None:
        """When the task was due, as ISO 8601 text in UTC, if the call named a time."""
        return _iso(self.due)

    @property
    def expires(self) -> str | None:
        """When the task expires, as ISO 8601 text in UTC."""
        return _iso(self.expiry)

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """(hard, soft) limit of this call in seconds, as Celery has it."""
        return (self.time_limit, self.soft_time_limit)

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where the message came from, in Celery's words."""
        return {
            "exchange": "",
            "routing_key": self.queue,
            "priority": self.priority,
            "redelivered": self.redelivered,
            **({"is_eager": True} if self.is_eager else {}),
        }

    @property
    def argsrepr(self) -> str:
        """The positional arguments as text, without what the task hides."""
        shown = "" if self.header is None else self.header.argsrepr
        return shown or shown_args(self.args)

    @property
    def kwargsrepr(self) -> str:
        """The keyword arguments as text, without what the task hides."""
        shown = "" if self.header is None else self.header.kwargsrepr
        return shown or shown_kwargs(self.kwargs)

    @property
    def properties(self) -> dict[str, Any]:
        """The message's properties, in Celery's words."""
        return {
            "correlation_id": self.id,
            "reply_to": self.reply_to,
            "priority": self.priority,
            "delivery_mode": 2,
            "content_type": None if self.header is None else content_type(self.header.serializer),
        }

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field or header *name*, or *default* if there is none."""
        return getattr(self, name, default)

    def update(self, *mappings: Mapping[str, Any], **fields: Any) -> None:
        """Set fields, as a dictionary's ``update`` does; they are gone with the run."""
        for each in (*mappings, fields):
            for name in _AHEAD & each.keys():
                setattr(self, name, each[name])
            self.__dict__.update(each)

    def __getattr__(self, name: str) -> Any:
        """Return the caller's header *name*: Celery's messages carry them beside the fields."""
        headers = self.__dict__.get("headers")
        if headers is not None and name in headers:
            return headers[name]
        raise AttributeError(f"self.request has no field and no header {name!r}", name=name)

    def __repr__(self) -> str:
        return f"<Context: {self.task}[{self.id}] retries={self.retries}>"


def children_of(run: Context) -> tuple[str, ...]:
    """Ids of what *run* has sent, and of what its success releases, to be kept with its result."""
    sent = tuple([each.id for each in run.trail]) if run.trail else ()
    header = run.header
    if header is None or header.edges is None:
        return sent
    return (*sent, *header.edges.success)


def last_word(run: Context) -> Progress | None:
    """What *run* said last of how far it is, without what its task hides."""
    said = run.progress
    if said is None or run.hider is None or not said.message:
        return said
    return replace(said, message=run.hider(said.message))


def note_child(result: Any) -> None:
    """Remember that the run we are in has sent a task, unless its task does not want that."""
    run = running.get()
    if run is None or run.called_directly or not getattr(run.owner, "trail", True):
        return
    if run.trail is None:
        run.trail = []
    if len(run.trail) < TRAIL_MAX:
        run.trail.append(result)


def from_delivery(
    delivery: Delivery, header: Header, hostname: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> Context:
    """Return the context of a worker's run of *delivery*."""
    context = Context.__new__(Context)
    context.__dict__ = {
        "id": header.id,
        "task": header.task,
        "args": args,
        "kwargs": kwargs,
        "retries": delivery.retries,
        "attempt": delivery.attempt,
        "crashes": delivery.crashes,
        "called_directly": False,
        "hostname": hostname,
        "origin": header.origin or None,
        "root_id": header.root or header.id,
        "parent_id": header.parent or None,
        "headers": header.headers,
        "time_limit": header.time_limit,
        "soft_time_limit": header.soft_time_limit,
        "queue": header.queue,
        "priority": header.priority,
        "due": header.eta,
        "expiry": header.expires,
        "redelivered": delivery.attempt - delivery.retries > 1,
        "header": header,
        "fence": Fence(delivery.id, delivery.attempt, delivery.nonce),
    }
    if header.edges is not None or header.group:
        context.__dict__.update(placed(header))
    if header.stamps is not None:
        context.__dict__.update(stamped(header))
    return context


def stamped(header: Header) -> dict[str, Any]:
    """Return the fields of a context that say which stamps a call carries."""
    stamps = header.stamps
    return {} if stamps is None else {"stamps": stamps, "stamped_headers": list(stamps)}


def placed(header: Header) -> dict[str, Any]:
    """Return the fields of a context that say where in a workflow a call stands."""
    return {
        "root_id": header.root or header.id,
        "parent_id": header.parent or None,
        "group": header.group or None,
        "group_index": header.index,
    }


def current() -> Context | None:
    """Return the innermost run of this thread or coroutine, or None outside of all."""
    context: Context | None = running.get()
    return context


def enter(context: Context, owner: object) -> Token[Any]:
    """Make *context* the innermost run; *owner* is the task. Give the token to :func:`leave`."""
    context.owner = owner
    context.outer = running.get()
    return running.set(context)


def leave(token: Token[Any]) -> None:
    """End what :func:`enter` began, and a line that the run has printed in part."""
    run = running.get()
    if run.printed is not None:
        run.printed()
    run.write = None  # what it shows from now on is shown by nobody
    running.reset(token)


def _hider() -> Hider | None:
    """What the present run hides, or the nearest run outside it that hides anything."""
    run = current()
    while run is not None:
        if run.hider is not None:
            return run.hider
        run = run.outer
    return None


Hiding.present = _hider


class allow_join_result:  # noqa: N801 - the name Celery users know
    """Within this block a task may wait for another one's result.

    The waiting task keeps its executor busy. If the other one needs that executor, both wait for
    ever: so it is refused unless this block, or ``disable_sync_subtasks=False``, says it is meant.
    """

    _allowed = True

    def __init__(self) -> None:
        self._context = current()
        self._before = False

    def __enter__(self) -> None:
        if self._context is not None:
            self._before = self._context.joins_allowed
            self._context.joins_allowed = self._allowed

    def __exit__(self, *exc_info: object) -> None:
        if self._context is not None:
            self._context.joins_allowed = self._before


class denied_join_result(allow_join_result):  # noqa: N801 - the name Celery users know
    """Within this block a task may not wait for another one's result, as by default."""

    _allowed = False


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
