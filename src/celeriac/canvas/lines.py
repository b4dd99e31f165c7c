"""Lines: the one form that every canvas is brought into before it is planned.

Layer 3, part of ``canvas``; for :mod:`celeriac.workflow`. Pure.

A **line** is a list of steps, one after the other. A step is a :class:`Call` of one task, or a
:class:`Fork`: lines side by side. Chains within chains lie flat in it, and so do chords: a chord is
a fork and the steps of its body. What follows a fork gets the list of its results.

Options of a whole are handed down here. In a chain, those given go over what the first task says
itself, and hold for the later ones where these say nothing; ``countdown`` and ``eta`` are for the
first alone. In groups and chords they go over what the members and the body say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.cycles import DEEPEST
from celeriac.canvas.flow import Flow, errbacks_for_headers, member_of
from celeriac.canvas.group import group
from celeriac.canvas.maps import chunks
from celeriac.canvas.plain import listed
from celeriac.canvas.signature import Signature
from celeriac.stamps import combined

__all__ = ["DEEPEST", "PLACES", "TIMES", "TOGETHER", "Call", "Fork", "Given", "Line", "line_of"]

#: Parts of a group that are sent in one step; of more, each step sends about as many.
TOGETHER: Final = 1000
#: Members of a list that may be more parts than that.
MANY: Final = 100
#: Options that say where in a workflow a call stands; they are not handed down.
PLACES: Final = ("group_id", "group_index", "root_id", "parent_id", "chord", "chain")

#: Options that say when a call may run.
TIMES: Final = ("countdown", "eta")
_OWN: Final = frozenset({"link", "link_error", "task_id", *PLACES})


class Given:
    """What a signature is sent with: arguments, and options of the whole that it is in."""

    __slots__ = ("args", "id", "kwargs", "over", "under")

    def __init__(
        self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None,
        over: Mapping[str, Any] | None = None, under: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:  # fmt: skip
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        #: Options that go over the signature's own, and those that hold where it says nothing.
        self.over: Mapping[str, Any] = over or {}
        self.under: Mapping[str, Any] = under or {}
        #: The id that its last part shall have.
        self.id = id

    def merged(self, signature: Signature[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of *signature* with those given."""
        own = signature.given if isinstance(signature, Flow) else signature.kwargs
        if signature.immutable:
            return signature.args, dict(own)
        return (*self.args, *signature.args), {**own, **self.kwargs}


class Call:
    """One call of a task."""

    __slots__ = (
        "args",
        "errbacks",
        "id",
        "immutable",
        "kwargs",
        "links",
        "options",
        "place",
        "sig",
    )

    def __init__(self, sig: Signature[Any], given: Given) -> None:
        options = combined(given.under, sig.options, given.over)
        self.sig = sig
        self.args, self.kwargs = given.merged(sig)
        #: Options of ``apply_async``, without what is in the other fields.
        self.options = {name: value for name, value in options.items() if name not in _OWN}
        self.links: list[Any] = listed(options.get("link"))
        self.errbacks: list[Any] = listed(options.get("link_error"))
        self.id: str | None = given.id or options.get("task_id")
        self.immutable = sig.immutable
        #: Where it stands, as far as its options say.
        self.place = {name: options[name] for name in PLACES if options.get(name) is not None}


class Fork:
    """Lines side by side. *source* is the group whose members are still to be made lines."""

    __slots__ = ("given", "guards", "id", "members", "of", "source")

    def __init__(
        self, of: Flow, id: str | None, members: list[Line], source: group | None, given: Given
    ) -> None:
        #: The group or the chunks that it stands for.
        self.of = of
        self.id = id
        self.members = members
        self.source = source
        self.given = given
        #: Errbacks that hold for each member.
        self.guards: list[Any] = []

    def lines(self, depth: int = 0) -> Iterator[Line]:
        """Yield the members, made as they are asked for if they come from a generator."""
        return (line for each in self.coming() if (line := self.line(each, depth)).steps)

    def coming(self) -> Iterator[Any]:
        """Yield the members as they are held: as lines, or as what these are made of."""
        found: Iterable[Any] = self.members
        if self.source is not None:
            found = self.source.kwargs["tasks"]
        return iter(found)

    def line(self, member: Any, depth: int = 0) -> Line:
        """Return the line of a member as it is held; one without steps is left out."""
        made = member if isinstance(member, Line) else line_of(member, self.given, depth + 1)
        if made.steps and self.guards:
            made.spans.append((0, len(made.steps), self.guards))
            _guard_headers(made.steps, self.guards, self.of)
        return made

    @property
    def bare(self) -> bool:
        """Whether members that are single tasks are sent as they are, with nothing handed down."""
        given = self.given
        handed = given.args or given.kwargs or given.over or given.under or self.guards
        return self.source is not None and not handed


class Line:
    """Steps one after the other, and whose errbacks hold for which of them."""

    __slots__ = ("spans", "steps")

    def __init__(self) -> None:
        self.steps: list[Call | Fork] = []
        #: (first, last + 1, errbacks): of a chain within this one, or of the whole.
        self.spans: list[tuple[int, int, list[Any]]] = []


class _End:
    """The end of a chain or chord on the list of what is still to be laid out."""

    __slots__ = ("errbacks", "first", "links", "of")

    def __init__(self, of: Flow, links: list[Any], errbacks: list[Any]) -> None:
        self.of = of
        self.links = links
        self.errbacks = errbacks
        self.first = 0


class _Mark:
    """The place where what an end speaks of begins."""

    __slots__ = ("end",)

    def __init__(self, end: _End) -> None:
        self.end = end


def line_of(
    signature: Signature[Any], given: Given, depth: int = 0, *, lazily: bool = False
) -> Line:
    """Bring *signature* into the form of a line.

    Args:
        signature: any canvas.
        given: what it is sent with.
        depth: how deep in others it is.
        lazily: if the line begins with members of a generator, or with many, leave them to be
            made one by one.

    Raises:
        ValueError: it contains itself, or is nested deeper than ``DEEPEST``; a chord has no body.
        TypeError: a member is no signature.
    """
    if depth > DEEPEST:
        raise ValueError(
            f"this canvas contains itself, or groups and callbacks in it are nested deeper than "
            f"{DEEPEST}"
        )
    line = Line()
    open_: set[int] = set()
    todo: list[Any] = [(signature, given)]
    while todo:
        item = todo.pop()
        if isinstance(item, _Mark):
            item.end.first = len(line.steps)
        elif isinstance(item, _End):
            open_.discard(id(item.of))
            _close(line, item)
        else:
            _lay_out(line, todo, open_, item[0], item[1], depth, lazily)
    return line


def _lay_out(
    line: Line, todo: list[Any], open_: set[int], raw: Any, given: Given, depth: int, lazily: bool
) -> None:
    """Put one signature into the line, or what it consists of on the list."""
    each = member_of(raw, None, "a workflow")
    if isinstance(each, chunks):
        line.steps.append(_fork(each, each.group(), given, depth, lazily=False))
    elif isinstance(each, group):
        line.steps.append(_fork(each, each, given, depth, lazily and not line.steps))
    elif isinstance(each, chain | chord):
        if id(each) in open_:
            raise ValueError(f"this {each.KIND} contains itself")
        open_.add(id(each))
        whole = combined({}, each.options, given.over)
        end = _End(each, listed(whole.get("link")), listed(whole.get("link_error")))
        todo.append(end)
        inside = Given(*given.merged(each), _down(whole), given.under,
                       given.id or whole.get("task_id"))  # fmt: skip
        if isinstance(each, chain):
            _open_chain(todo, each, inside, end)
        else:
            _open_chord(todo, each, inside, end)
    else:
        line.steps.append(Call(each, given))


def _open_chain(todo: list[Any], each: chain, given: Given, end: _End) -> None:
    steps = each.tasks
    if len(steps) > 1 and _is_nothing(steps[-1]):
        steps = steps[:-1]
    later = combined(given.under, _timeless(given.over), {})
    for at in range(len(steps) - 1, -1, -1):
        wanted = given.id if at == len(steps) - 1 else None
        if at:
            todo.append((steps[at], Given(under=later, id=wanted)))
        else:
            first = Given(given.args, given.kwargs, given.over, given.under, wanted)
            todo.append((steps[0], first))
    todo.append(_Mark(end))


def _is_nothing(step: Any) -> bool:
    """Whether it is an empty group: at the end of a chain, nothing would get its empty list."""
    return isinstance(step, group) and step.kwargs["tasks"] == []


def _open_chord(todo: list[Any], each: chord, given: Given, end: _End) -> None:
    if each.body is None:
        raise ValueError(
            "this chord has no body: write chord(header)(body), chord(header, body), or header | "
            "body"
        )
    body = Given(over=_timeless(given.over), under=given.under, id=given.id)
    todo.append((each.body, body))
    todo.append(_Mark(end))
    todo.append((each.header, Given(given.args, given.kwargs, given.over, given.under)))


def _fork(of: Flow, each: group, given: Given, depth: int, lazily: bool) -> Fork:
    whole = combined({}, each.options, given.over)
    args, kwargs = given.merged(each)
    inside = Given(args, kwargs, _down(whole), given.under)
    name = given.id or whole.get("task_id")
    many = lazily and (each.lazy or len(each.tasks) > MANY)
    if many and not whole.get("link"):
        fork = Fork(of, name, [], each, inside)
    else:
        made = [line_of(member, inside, depth + 1) for member in each.tasks]
        fork = Fork(of, name, [member for member in made if member.steps], None, inside)
        for link in listed(whole.get("link")):
            _link_last(fork, member_of(link, None, "link").clone().set(immutable=True))
    fork.guards += listed(whole.get("link_error"))
    return fork


def _close(line: Line, end: _End) -> None:
    """Hang links and errbacks of a chain or chord on the steps it consists of."""
    last = len(line.steps)
    if last == end.first:
        return
    for each in end.links:
        _link_last(line.steps[last - 1], each)
    if not end.errbacks:
        return
    line.spans.append((end.first, last, end.errbacks))
    first = end.first - isinstance(end.of, chord)  # its header is the step before
    _guard_headers(line.steps[first:], end.errbacks, end.of)


def _guard_headers(steps: list[Call | Fork], errbacks: list[Any], of: Flow) -> None:
    """Let errbacks of a whole hold for the headers of chords in it, if they shall."""
    # A group at the end is no header; errbacks of the whole hold for its members anyway.
    headers = [each for each in steps[:-1] if isinstance(each, Fork)]
    if not headers:
        return
    asked: Signature[Any] = of
    if of.own_app is None:  # that of a generator's group is known by members that may be gone
        asked = next((each.sig for each in steps if isinstance(each, Call)), of)
    if errbacks_for_headers(asked):
        for each in headers:
            each.guards += errbacks


def _link_last(step: Call | Fork, callback: Any) -> None:
    """Link to a step; to the end of the first member of a fork, without its result."""
    while isinstance(step, Fork):
        if not step.members:
            return
        callback = member_of(callback, None, "link").clone().set(immutable=True)
        step = step.members[0].steps[-1]
    step.links.append(callback)


def _down(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OWN}


def _timeless(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in TIMES}
