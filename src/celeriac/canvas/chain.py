"""``chain``: tasks one after the other, each with the result of the one before.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from reprlib import recursive_repr
from typing import Any, Self

from celeriac.canvas.cycles import finite
from celeriac.canvas.flow import Flow, member_of
from celeriac.canvas.plain import given_in, listed, plain_of
from celeriac.canvas.signature import Signature
from celeriac.canvas.stamping import StampingVisitor, check_visitor, gathered, stamped_parts

__all__ = ["chain"]


@Signature.register_type()
class chain(Flow):  # noqa: N801 - the name Celery users know
    """``chain(a.s(1), b.s(), c.s())``, the same as ``a.s(1) | b.s() | c.s()``.

    Each task gets the result of the one before as its first argument, unless its signature is
    immutable. The result is that of the last task, with the others behind ``parent``. If one
    fails, those behind it fail, too.

    As ``|`` does, this makes a chord of a group that something follows; so what it returns need not
    be a chain. An empty one does nothing when it is sent.

    Args:
        tasks: signatures, or one list of them.
        app: the app it belongs to; by default the tasks'.
        options: options of ``apply_async``; see there.
    """

    KIND = "chain"

    def __new__(cls, *tasks: Any, app: Any = None, **options: Any) -> Any:
        """Join the tasks."""
        if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
            (tasks,) = tasks
        if not isinstance(tasks, Iterable):
            raise TypeError(f"chain() takes signatures, or a list of them, not {tasks!r}")
        steps: list[Any] = []
        for each in tasks:
            cls.JOINER(steps, member_of(each, app, "chain()"), app)
        if len(steps) == 1 and isinstance(steps[0], Flow) and not options:
            return steps[0]
        made = cls.of({"tasks": steps}, app=app)
        made["options"] = dict(options)
        return made

    #: Appends a signature to a list of steps; ``canvas.joining`` fills it in.
    JOINER: Any = None

    def __init__(self, *tasks: Any, **options: Any) -> None:
        """Do nothing more: ``__new__`` has made it."""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make a chain of the dictionary it was, step for step."""
        made = cls.of({}, Signature(value, app=app))
        plain = plain_of(value)
        (steps,) = given_in(plain, "tasks")
        if not isinstance(steps, list | tuple):
            raise TypeError(f"the tasks of a chain are a list of signatures, not {steps!r}")
        tasks = [member_of(each, app, "chain()") for each in steps]
        made["kwargs"] = {**plain["kwargs"], "tasks": tasks}
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The steps."""
        steps: list[Signature[Any]] = self.kwargs["tasks"]
        return steps

    @tasks.setter
    def tasks(self, steps: Iterable[Signature[Any]]) -> None:
        self.kwargs["tasks"] = list(steps)

    def unchain_tasks(self) -> list[Signature[Any]]:
        """Return copies of the steps, with what was linked to the chain linked to them."""
        steps = [each.clone() for each in self.tasks]
        for each in listed(self.options.get("link")) if steps else ():
            steps[-1].link(each)
        for each in listed(self.options.get("link_error")):
            for step in steps:
                step.link_error(each)
        return steps

    @finite
    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Stamp its steps; see the same of ``Signature``."""
        check_visitor(visitor)
        said = None if visitor is None else visitor.on_chain_start(self, **headers)
        inside = gathered(headers, said, append_stamps)
        self.stamp_links(visitor, append_stamps, **inside)
        self.tasks = stamped_parts(self.tasks, visitor, append_stamps, inside)
        if visitor is not None:
            visitor.on_chain_end(self, **inside)
        return self

    def copied(self, kwargs: dict[str, Any], copy: Callable[[Any], Any]) -> dict[str, Any]:
        """Return *kwargs* with the steps in it as *copy* returns them."""
        return {**kwargs, "tasks": [copy(each) for each in self.tasks]}

    def app_of_parts(self) -> Any:
        """Return the app of the first part that has one, or None."""
        return next((each.app for each in self.tasks[:1]), None)

    @recursive_repr("…")
    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks)) or "chain()"
