"""``xmap``, ``xstarmap`` and ``chunks``: one task for many arguments, in few messages.

Layer 3, part of ``canvas``. ``Task.map``, ``Task.starmap`` and ``Task.chunks`` make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from celeriac.canvas.flow import Flow, flows, member_of
from celeriac.canvas.group import group
from celeriac.canvas.plain import given_in, plain_of
from celeriac.canvas.signature import Signature
from celeriac.ids import derived_id, new_task_id

__all__ = ["chunks", "xmap", "xstarmap"]


@Signature.register_type()
class xmap(Signature[Any]):  # noqa: N801 - the name Celery users know
    """``add.map(it)``: call the task here and there with each value, one after the other.

    It is one message, of the built-in task ``celery.map``; the worker that has it runs all calls
    and returns the list of what they returned.

    Args:
        task: the signature of the task that is called; its own arguments are not used.
        it: the values.
        app: the app it belongs to; by default the task's.
        options: options of ``apply_async``.
    """

    KIND: ClassVar[str] = "xmap"
    NAME: ClassVar[str] = "celery.map"

    def __init__(self, task: Any, it: Any, app: Any = None, **options: Any) -> None:
        what = f"{self.KIND}()"
        inner = member_of(task, app, what)
        if not isinstance(it, Iterable) or isinstance(it, str | bytes | Mapping):
            raise TypeError(f"{what} takes an iterable of arguments, not {it!r}")
        super().__init__(
            self.NAME, (), {"task": inner, "it": list(it)}, options, immutable=True,
            app=inner.own_app if app is None else app,
        )  # fmt: skip
        self["subtask_type"] = self.KIND

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make one of the dictionary it was."""
        plain = plain_of(value)
        task, it = given_in(plain, "task", "it")
        made = cls(task, it, app=app)
        made["options"] = plain["options"]
        return made

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return a copy with other options."""
        made = type(self)(self.kwargs["task"], self.kwargs["it"], app=self._app)
        made["options"] = self.with_options(options)
        return made

    partial = clone

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it, to where the task that is called would be sent."""
        return flows().send(self, args, kwargs, options)

    def __repr__(self) -> str:
        inner, it = self.kwargs["task"], self.kwargs["it"]
        return f"[{inner.task}(x) for x in {len(it)} values]"


@Signature.register_type()
class xstarmap(xmap):  # noqa: N801 - as above
    """``add.starmap(it)``: the same with each value as the list of the arguments."""

    KIND = "xstarmap"
    NAME = "celery.starmap"

    def __repr__(self) -> str:
        inner, it = self.kwargs["task"], self.kwargs["it"]
        return f"[{inner.task}(*x) for x in {len(it)} values]"


@Signature.register_type()
class chunks(Flow):  # noqa: N801 - as above
    """``add.chunks(zip(range(1000), range(1000)), 10)``: a group of ``starmap`` over *n* at a time.

    Args:
        task: the signature of the task that is called.
        it: the lists of arguments.
        n: how many go into one message.
        app: the app it belongs to; by default the task's.
        options: options of ``apply_async``, for all messages.
    """

    KIND = "chunks"
    PARTS = frozenset({"task", "it", "n"})

    def __init__(self, task: Any, it: Any, n: Any, app: Any = None, **options: Any) -> None:
        inner = member_of(task, app, "chunks()")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(
                f"chunks() puts n calls into one message, a whole number from 1: {n!r}"
            )
        if not isinstance(it, Iterable) or isinstance(it, str | bytes | Mapping):
            raise TypeError(f"chunks() takes an iterable of lists of arguments, not {it!r}")
        parts = {"task": inner, "it": list(it), "n": n}
        self.fill(parts, (), options, inner.own_app if app is None else app, immutable=True)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make one of the dictionary it was."""
        plain = plain_of(value)
        task, it, n = given_in(plain, "task", "it", "n")
        made = cls(task, it, n, app=app)
        made["options"] = plain["options"]
        return made

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Send one that is made of these."""
        return cls(task, it, n, app=app)()

    def group(self) -> group:
        """Return it as the group that is sent."""
        inner, it, n = (self.kwargs[name] for name in ("task", "it", "n"))
        parts = [xstarmap(inner, it[at : at + n], app=self._app) for at in range(0, len(it), n)]
        made = group(parts, app=self._app)
        made["options"] = dict(self.options)
        if "task_id" in self.options:
            for at, each in enumerate(parts):
                each.options["task_id"] = derived_id(self.options["task_id"], "chunk", at)
        return made

    def apart(self) -> Self:
        """Return a copy: it is stamped as one task."""
        return self.clone()

    def __call__(self, **options: Any) -> Any:
        """Send it."""
        return self.apply_async(**options)

    def settled(self) -> Signature[Any]:
        """Return the group, for its members are made anew each time, and ids would not stay."""
        return self.group()

    def freeze(self, _id: str | None = None, *places: Any, **more: Any) -> Any:
        """Fix the id of the group, and with it those of its members."""
        self.options.setdefault("task_id", _id or new_task_id())
        return super().freeze(None, *places, **more)

    def __repr__(self) -> str:
        inner, it, n = (self.kwargs[name] for name in ("task", "it", "n"))
        return f"chunks({inner.task}, {len(it)} calls, {n} in one message)"
