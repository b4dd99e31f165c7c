"""Flows: workflows on their way into the store.

Layer 4. ``canvas`` says what a workflow is, ``workflow`` works out what is stored of it; here its
parts become messages, as single calls do, and go into the store in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from celeriac.canvas import Signature, chain, chord, chunks, group, xmap
from celeriac.canvas.flow import Flow
from celeriac.canvas.lines import TOGETHER, Fork, Given, line_of
from celeriac.canvas.plain import listed
from celeriac.checks import seconds
from celeriac.client import checked_call, checked_countdown
from celeriac.context import note_child, running
from celeriac.directions import NO_DEFAULTS, Defaults
from celeriac.groupresult import GroupResult
from celeriac.ids import new_task_id
from celeriac.message import Edges, Message
from celeriac.policies.results import keeps
from celeriac.result import AsyncResult
from celeriac.workflow import Part, Plan, Planner, Shown, plan
from celeriac.workflow import freeze as freeze_parts

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = [
    "TOGETHER",
    "Sender",
    "apply",
    "apply_call",
    "call_of",
    "first_of",
    "freeze",
    "planned",
    "planner_of",
    "result_of",
    "send",
    "send_call",
    "shaped",
]


def send(
    canvas: Signature[Any], args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    """Send a workflow: ``apply_async``. Returns its result object; None for an empty chain.

    Raises ``TypeError`` for callbacks of a group, and whatever ``apply_async`` of a task raises,
    before anything is stored.
    """
    _check_links(canvas, options)
    if isinstance(canvas, chain | group) and not canvas.kwargs["tasks"]:
        return _nothing(canvas, options)
    app: Celeriac = canvas.app
    if app.conf.task_always_eager:
        return apply(canvas, args, kwargs, options)
    given = Given(*checked_call(args, kwargs), options)
    line = line_of(canvas, given, lazily=True)
    head = line.steps[0] if line.steps else None
    if isinstance(head, Fork) and (head.source is not None or len(head.members) > TOGETHER):
        from celeriac.streaming import stream

        return stream(app, line, head, options)
    planner = planner_of(options)
    _, shown = planner.line(line)
    made = Plan(planner.parts, list(planner.joins.values()), shown)
    sender = Sender(app, made)
    sender.prepare()
    if sender.messages:
        retry, policy = options.get("retry"), options.get("retry_policy")
        app.client.send(sender.messages, retry, policy, made.joins)
    if options.get("add_to_parent", True):
        sender.note_children()
    return sender.result()


def _nothing(canvas: chain | group, options: Mapping[str, Any]) -> GroupResult | None:
    """The result of a workflow without tasks; it needs no app, even."""
    if not isinstance(canvas, group):
        return None
    id = options.get("task_id") or canvas.options.get("task_id") or new_task_id()
    return GroupResult(id, [], app=canvas.own_app)


def planner_of(options: Mapping[str, Any]) -> Planner:
    """Return a planner for what is sent by the run we are in, if there is one."""
    run = running.get()
    root = options.get("root_id") or ("" if run is None else run.root_id or "")
    return Planner(root, options.get("parent_id") or ("" if run is None else run.id or ""))


def planned(
    canvas: Signature[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Plan:  # fmt: skip
    """Return the plan of *canvas* as it is sent by the run we are in, if there is one."""
    planner = planner_of(options)
    _, shown = planner.line(line_of(canvas, Given(args, kwargs, options)))
    return Plan(planner.parts, list(planner.joins.values()), shown)


def send_call(app: Celeriac, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send one call of *task*, or of that name, with options that make it part of a workflow."""
    canvas, whole = call_of(app, task, args, kwargs, options)
    result = send(canvas, (), None, whole)
    return first_of(result) if canvas.subtask_type else result


def call_of(
    app: Celeriac, task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]
) -> tuple[Signature[Any], dict[str, Any]]:
    """Return the canvas that one call is with its options, and those for sending it.

    ``chord`` is a body that gets the list of this one result; ``chain`` is Celery's list of what
    comes after it, the next one last.
    """
    own = {name: value for name, value in options.items() if value is not None}
    body, rest = own.pop("chord", None), listed(own.pop("chain", None))
    whole: dict[str, Any] = {
        name: own.pop(name) for name in ("retry", "retry_policy", "add_to_parent") if name in own
    }
    call: Signature[Any] = Signature(task, args, kwargs, own, app=app)
    if body is not None:
        return cast("Signature[Any]", chord([call], body, app=app)), whole
    if rest:
        return chain(call, *reversed(rest), app=app), whole
    return call, whole


def apply_call(
    task: Any, args: Any, kwargs: Any, options: dict[str, Any], throw: bool | None
) -> Any:
    """Run one call of *task* here, with options that make it part of a workflow."""
    from celeriac.eagerflow import apply_here

    canvas, _ = call_of(task.app, task, args, kwargs, options)
    result = apply_here(canvas, (), {}, {} if throw is None else {"throw": throw}, sent=False)
    return first_of(result) if canvas.subtask_type else result


def first_of(result: Any) -> Any:
    """The result of the first task of a chord or chain."""
    while result.parent is not None:
        result = result.parent
    return result[0] if isinstance(result, GroupResult) else result


def freeze(canvas: Flow, id: str | None) -> Any:
    """Fix the ids of all parts of a workflow; return its result object."""
    app = canvas.app
    shown = plan(canvas).shown if isinstance(canvas, chunks) else freeze_parts(canvas, id)
    return None if shown is None else result_of(app, shown)


def apply(
    canvas: Signature[Any], args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    """Run a workflow in this process."""
    from celeriac.eagerflow import apply_here

    _check_links(canvas, options)
    if isinstance(canvas, chain | group) and not canvas.kwargs["tasks"]:
        return _nothing(canvas, options)
    sent = bool(canvas.app.conf.task_always_eager)
    return apply_here(canvas, *checked_call(args, kwargs), options, sent=sent)


def _check_links(canvas: Signature[Any], options: Mapping[str, Any]) -> None:
    if isinstance(canvas, group | chunks):
        for name in ("link", "link_error"):
            if options.get(name):
                raise TypeError(
                    f"a group has no {name}: nothing ends when all its members have. Link it to a "
                    "chord, group | body, or to the members"
                )


class Sender:
    """Makes messages of the parts of one plan."""

    def __init__(self, app: Celeriac, made: Plan, flow: str = "", *, at_once: bool = False) -> None:
        #: Nothing is to wait for any time (an eager run).
        self._at_once = at_once
        self._app = app
        self._plan = made
        self._flow = flow or made.flow
        #: The messages of all parts, once they are made.
        self.messages: list[Message] = []
        #: By id of the part: its queue and priority, which a collecting task takes over, and
        #: whether its result is dropped.
        self._sent: dict[str, tuple[str, int]] = {}
        self.dropped: set[str] = set()

    def prepare(self) -> None:
        """Make the messages of all parts; raises as ``apply_async`` of a task does."""
        self.messages = [self.message(each) for each in self._plan.parts.values()]

    def message(self, part: Part, **more: Any) -> Message:
        """Return the signed message of *part*; raises as ``apply_async`` of a task does, with a
        note which part it is.

        *more* is fields of the header that are not as they would be.
        """
        try:
            return self._message(part, more)
        except Exception as error:
            if part.index is None:
                at = list(self._plan.parts).index(part.id)
                error.add_note(f"It is part {at} of this workflow, counted from 0.")
            else:
                error.add_note(f"It is member {part.index} of a group, counted from 0.")
            raise

    def _message(self, part: Part, more: Mapping[str, Any]) -> Message:
        app = self._app
        call = part.call
        defaults, options = NO_DEFAULTS, {}
        args: tuple[Any, ...] = part.values
        kwargs: dict[str, Any] = {}
        task = None
        if call is None:
            before = self._sent.get(part.parent)
            if before is not None:
                defaults = Defaults(queue=before[0], priority=before[1])
        else:
            args, kwargs, options = (*part.values, *call.args), call.kwargs, call.options
            task = call.sig.held() or app.tasks.get(part.task)
            if task is not None:
                defaults = task.defaults
                self._check(part, task, args, kwargs)
            if isinstance(call.sig, xmap):
                defaults = self._of_inner(call.sig, args, kwargs, options)
        place = self.place(part)
        if part.waits:
            defaults, options, place["edges"] = self._later(
                defaults, options, part.edges or Edges()
            )
        if self._at_once:
            place["eta"] = None  # checked with the other options, and not waited for
        made = app.client.message(
            part.task, args, kwargs, defaults, options, place={**place, **more}
        )
        header = made.header
        self._sent[part.id] = header.queue, header.priority
        own = None if task is None else task.ignore_result
        if not keeps(header.ignore_result, own, app.conf.task_ignore_result, app.keeps_results):
            self.dropped.add(part.id)
        return made

    def place(self, part: Part) -> dict[str, Any]:
        """What the header of *part* says of its place."""
        return {
            "id": part.id,
            "root": part.root,
            "parent": part.parent,
            "edges": part.edges,
            "flow": self._flow,
            "group": part.group,
            "index": part.index,
        }

    def _check(self, part: Part, task: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Check the arguments of a call as far as they are known. An errback may be called in two
        ways, and says so itself."""
        if part.told is not None:
            return
        if self._app.conf.strict_typing if task.typing is None else task.typing:
            takes = part.takes is not None or (part.gathers is not None and not part.immutable)
            task.arguments.check((None, *args) if takes else args, kwargs)

    def _later(
        self, defaults: Defaults, options: Mapping[str, Any], edges: Edges
    ) -> tuple[Defaults, dict[str, Any], Edges]:
        """Let ``countdown``, and ``expires`` in seconds, of a part that waits count from when it is
        released, as they would if it were sent only then."""
        given = {name: value for name, value in options.items() if value is not None}
        delay, lasts = given.pop("countdown", None), given.get("expires", defaults.expires)
        if delay is not None:
            wait = checked_countdown(delay)
            edges = msgspec.structs.replace(edges, delay=0.0 if self._at_once else wait)
            given.pop("eta", None)
        if lasts is not None and not isinstance(lasts, datetime | str):
            edges = msgspec.structs.replace(edges, lasts=seconds(lasts, "expires"))
            given.pop("expires", None)
            defaults = msgspec.structs.replace(defaults, expires=None)
        return defaults, given, edges

    def _of_inner(
        self, call: xmap, args: Any, kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Defaults:
        """How a map is sent: to where the task that it calls goes, or no worker might be there."""
        name = call.kwargs["task"]["task"]
        inner = self._app.tasks.get(name)
        defaults = NO_DEFAULTS if inner is None else inner.defaults
        directions = self._app.client.directions
        if directions.routes:
            defaults, _ = directions.routed(name, args, kwargs, defaults, options)
        own = self._app.tasks[call.task].defaults
        return msgspec.structs.replace(
            own, queue=defaults.queue, priority=defaults.priority, expires=defaults.expires
        )

    def forget(self) -> None:
        """Forget the parts that were sent."""
        self._sent.clear()
        self.dropped.clear()

    def note_children(self) -> None:
        """Count what begins at once among the children of the run we are in."""
        for each in self._plan.starting():
            note_child(AsyncResult(each.id, self._app, each.id in self.dropped))

    def result(self) -> Any:
        """Return the result object; None if there was nothing to send."""
        shown = self._plan.shown
        return None if shown is None else result_of(self._app, shown, self.dropped)


_NONE: Final[frozenset[str]] = frozenset()
_NO_GROUPS: Final[Mapping[str, Callable[[], Any]]] = {}


def result_of(
    app: Celeriac, shown: Shown, dropped: Container[str] = _NONE,
    groups: Mapping[str, Callable[[], Any]] | None = None,
) -> Any:  # fmt: skip
    """Make the result object of that shape; *dropped* are ids whose results are not kept."""
    return shaped(shown, lambda name: AsyncResult(name, app, name in dropped), app, groups or {})


def shaped(
    shown: Shown, make: Callable[[str], Any], app: Celeriac | None = None,
    groups: Mapping[str, Callable[[], Any]] = _NO_GROUPS,
) -> Any:  # fmt: skip
    """Make the result object of that shape out of results of single tasks, which *make* returns,
    and of some groups, which *groups* makes."""
    line: list[Shown] = []
    at: Shown | None = shown
    while at is not None:
        line.append(at)
        at = at.parent
    made: Any = None
    for each in reversed(line):
        before = made
        if each.id in groups:
            made = groups[each.id]()
        elif each.members is None:
            made = make(each.id)
        else:
            members = [shaped(member, make, app, groups) for member in each.members]
            made = GroupResult(each.id, members, app=app)
        made.parent = before
    return made
