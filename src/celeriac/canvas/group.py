"""``group``: tasks side by side.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, Self

from celeriac.canvas.cycles import finite
from celeriac.canvas.flow import Flow, member_of
from celeriac.canvas.plain import given_in, plain_of
from celeriac.canvas.signature import Signature
from celeriac.canvas.stamping import StampingVisitor, check_visitor, gathered, stamped_parts

__all__ = ["Members", "group"]


class Members:
    """Members that come from an iterator: they are sent as they come, and need not all be held.

    Who looks at them has them all made first, and they stay.
    """

    def __init__(self, source: Iterator[Any], app: Any) -> None:
        self._source: Iterator[Any] | None = source
        self._app = app
        self._also: list[Callable[[Any], Any]] = []

    def also(self, change: Callable[[Any], Any]) -> None:
        """Put in the place of each member, as it is made, what *change* makes of it."""
        self._also.append(change)

    def __iter__(self) -> Iterator[Signature[Any]]:
        """Yield the members, once."""
        source, self._source = self._source, None
        if source is None:
            raise RuntimeError(
                "the members of this group came from a generator and have been sent already, so "
                "there are none left: make the group anew, or of a list"
            )
        for at, each in enumerate(source):
            try:
                made = member_of(each, self._app, "group()")
            except TypeError as error:
                error.add_note(f"It is member {at} of the group, counted from 0.")
                raise
            for change in self._also:
                made = change(made)
            yield made

    def __bool__(self) -> bool:
        """False if it is known to be none: the iterator ends at once."""
        return self._source is None or self.first() is not None

    def first(self) -> Any:
        """Return the first member, which stays, or None."""
        if self._source is None:
            return None
        for each in self._source:
            self._source = itertools.chain((each,), self._source)
            return each
        return None

    def __repr__(self) -> str:
        return "…"


@Signature.register_type()
class group(Flow):  # noqa: N801 - the name Celery users know
    """``group(add.s(n, n) for n in range(10))``: tasks that run side by side.

    The result is a ``GroupResult``; its ``get()`` returns a list in the order of the members.
    A generator is sent as it yields, without holding all members, if nobody has looked at
    ``tasks`` before; it can be sent once then.

    Args:
        tasks: signatures, or one iterable of them.
        app: the app it belongs to; by default the members'.
        options: options of ``apply_async``, for all members.
    """

    KIND = "group"

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            (members,) = tasks
            if isinstance(members, group):
                members = members.kwargs["tasks"]
            elif isinstance(members, Mapping):
                members = tasks
        self.fill({"tasks": _members(members, app)}, (), options, app)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make a group of the dictionary it was."""
        made = cls.of({}, Signature(value, app=app))
        plain = plain_of(value)
        (tasks,) = given_in(plain, "tasks")
        made["kwargs"] = {**plain["kwargs"], "tasks": _members(tasks, app)}
        return made

    @property
    def lazy(self) -> bool:
        """Whether the members come from a generator that nobody has looked at."""
        return isinstance(self.kwargs["tasks"], Members)

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The members. Those of a generator are all made for this, and stay."""
        members: Any = self.kwargs["tasks"]
        if isinstance(members, Members):
            members = self.kwargs["tasks"] = list(members)
        found: list[Signature[Any]] = members
        return found

    @tasks.setter
    def tasks(self, members: Iterable[Any]) -> None:
        self.kwargs["tasks"] = _members(members, self._app)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send it, with more arguments for each member, and options."""
        return self.apply_async(args, **options)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Let the members begin one after the other: the first in *start* seconds, each next one
        *step* seconds later, none later than *stop*. Returns the group."""
        wait = start
        for each in self.tasks:
            each.set(countdown=wait)
            if stop is None or wait + step <= stop:
                wait += step
        return self

    def link(self, callback: Any) -> Any:
        """Link an immutable copy of *callback* to the first member, as Celery does.

        What is to run once all have succeeded is the body of a chord: ``group | callback``.
        """
        copy = member_of(callback, self._app, "link()").clone().set(immutable=True)
        return self.tasks[0].link(copy) if self.tasks else copy

    @finite
    def link_error(self, errback: Any) -> Any:
        """Link *errback* to each member."""
        made = member_of(errback, self._app, "link_error()")
        return tuple(each.link_error(made.clone()) for each in self.tasks)

    @finite
    def set_immutable(self, immutable: bool) -> None:
        """Store for each member whether it takes more arguments."""
        for each in self.tasks:
            each.set_immutable(immutable)

    @finite
    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Stamp its members; see the same of ``Signature``.

        Those of a generator are stamped as they are made, unless there is a visitor: for that they
        are all made now.
        """
        check_visitor(visitor)
        said = None if visitor is None else visitor.on_group_start(self, **headers)
        inside = gathered(headers, said, append_stamps)
        self.stamp_links(visitor, append_stamps, **inside)
        self.stamp_members(visitor, append_stamps, inside)
        if visitor is not None:
            visitor.on_group_end(self, **inside)
        return self

    def stamp_members(
        self, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]
    ) -> None:
        """Stamp the members alone."""
        members = self.kwargs["tasks"]
        if visitor is None and isinstance(members, Members):
            members.also(lambda each: each.apart().stamp(None, append, **headers))
        else:
            self.kwargs["tasks"] = stamped_parts(self.tasks, visitor, append, headers)

    def copied(self, kwargs: dict[str, Any], copy: Callable[[Any], Any]) -> dict[str, Any]:
        """Return *kwargs* with the members in it as *copy* returns them."""
        return {**kwargs, "tasks": [copy(each) for each in self.tasks]}

    def app_of_parts(self) -> Any:
        """Return the app of the first part that has one, or None."""
        members = self.kwargs["tasks"]
        first = members.first() if isinstance(members, Members) else (members or [None])[0]
        return first.app if isinstance(first, Signature) else None

    @recursive_repr("…")
    def __repr__(self) -> str:
        members = self.kwargs["tasks"]
        inside = ", ".join(map(repr, members)) if isinstance(members, list) else "…"
        return f"group([{inside}])"

    def __reduce__(self) -> tuple[Any, ...]:
        self.tasks  # noqa: B018 - a generator does not travel
        return super().__reduce__()

    def items(self) -> Any:
        """Its keys and values, with the members of a generator made: ``json`` asks for these."""
        self.tasks  # noqa: B018 - as above
        return super().items()

    def __json__(self) -> dict[str, Any]:
        self.tasks  # noqa: B018 - as above
        return dict(self)


def _members(members: Any, app: Any) -> list[Signature[Any]] | Members:
    if isinstance(members, list | tuple | set | frozenset):
        return [member_of(each, app, "group()") for each in members]
    if isinstance(members, Members):
        return members
    if isinstance(members, Iterable) and not isinstance(members, str | bytes | Mapping):
        return Members(iter(members), app)
    return [member_of(members, app, "group()")]
