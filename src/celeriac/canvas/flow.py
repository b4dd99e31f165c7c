"""What chains, groups and chords have in common: they are signatures without a task of their own.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from celeriac.canvas.home import Home
from celeriac.canvas.signature import Signature, maybe_signature
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["Flow", "errbacks_for_headers", "flows", "member_of"]


class Flow(Signature[Any]):
    """A workflow as a value. Its parts are in ``kwargs``, under the names in ``PARTS``.

    Whatever else is in ``kwargs``, and ``args``, is handed to the first task, or to all tasks
    that begin at once.
    """

    #: What ``subtask_type`` says, and the name of the task that Celery has for it.
    KIND: ClassVar[str] = ""
    #: The keys of ``kwargs`` that hold parts.
    PARTS: ClassVar[frozenset[str]] = frozenset({"tasks"})

    def fill(
        self, parts: dict[str, Any], args: Sequence[Any], options: Mapping[str, Any], app: Any,
        immutable: bool = False,
    ) -> None:  # fmt: skip
        """Set the keys of the dictionary that it is."""
        self._app = app
        self._task = None
        self.update(
            task=f"celery.{self.KIND}",
            args=tuple(args),
            kwargs=parts,
            options=dict(options),
            subtask_type=self.KIND,
            immutable=immutable,
        )

    @classmethod
    def of(cls, parts: dict[str, Any], like: Signature[Any] | None = None, app: Any = None) -> Self:
        """Make one of *parts* with arguments and options of *like*."""
        made = dict.__new__(cls)
        if like is None:
            made.fill(parts, (), {}, app)
        else:
            made.fill(parts, like.args, like.options, like.own_app, like.immutable)
        return made

    @property
    def given(self) -> dict[str, Any]:
        """The keyword arguments for the first task, or for all tasks that begin at once."""
        return {name: value for name, value in self.kwargs.items() if name not in self.PARTS}

    @property
    def app(self) -> Any:
        """The app it belongs to: its own, that of its first part that has one, or the current."""
        if self._app is None:
            self._app = self.app_of_parts()
        return super().app

    def app_of_parts(self) -> Any:
        """Return the app of the first part that has one, or None."""
        return None

    # -- copies ----------------------------------------------------------------------------------

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return a copy, of the parts, too, with *args* before the stored ones, the others over
        them. Raises ``ValueError`` for one that contains itself."""
        merged_args, merged_kwargs, merged_options = self.merged(args, kwargs, options)
        try:
            made = self.of(self.copied(merged_kwargs, _cloned), self)
        except RecursionError:
            raise ValueError(f"this {self.KIND} contains itself, or is nested too deep") from None
        made["args"], made["options"] = merged_args, merged_options
        return made

    partial = clone

    def settled(self) -> Signature[Any]:
        """Return a copy whose parts can be given ids."""
        made = self.clone()
        made["kwargs"] = made.copied(made.kwargs, _settled)
        return made

    def copied(self, kwargs: dict[str, Any], copy: Callable[[Any], Any]) -> dict[str, Any]:
        """Return *kwargs* with the parts in it as *copy* returns them."""
        return kwargs

    def apart(self) -> Self:
        """Return itself: of its parts copies are stamped, and those of a generator as they come."""
        return self

    # -- running ---------------------------------------------------------------------------------

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it: all its parts are stored in one step. Returns the result object.

        *args* go before the arguments of the first task, or of all that begin at once; *kwargs*
        over theirs. *options* are those of a task's ``apply_async``; ``countdown`` and ``eta``
        hold for what begins, the others for all tasks. Raises what that raises, too.
        """
        return flows().send(self, args, kwargs, options)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run it in this process; see the task's ``apply``."""
        return flows().apply(self, args, kwargs, options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with more arguments: what :meth:`delay` does."""
        return self.apply_async(args, kwargs)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all parts and return the result object, before anything is sent.

        *_id* is that of the result; ids that are fixed already stay.
        """
        given = {
            "group_id": group_id, "chord": chord, "root_id": root_id, "parent_id": parent_id,
            "group_index": group_index,
        }  # fmt: skip
        self.options.update((name, value) for name, value in given.items() if value is not None)
        return flows().freeze(self, _id)

    def __reduce__(self) -> tuple[Any, ...]:
        return maybe_signature, (dict(self),)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return it as text."""
        return repr(self)


def _cloned(part: Any) -> Any:
    return maybe_signature(part, clone=True)


def _settled(part: Any) -> Any:
    made = maybe_signature(part)
    return made.settled() if isinstance(made, Signature) else made


def flows() -> Any:
    """The module ``celeriac.flows``."""
    if Home.flows is None:
        raise ImproperlyConfigured(
            "A workflow belongs to an app. Import the module that makes yours first."
        )
    return Home.flows()


def errbacks_for_headers(canvas: Signature[Any]) -> bool:
    """Whether errbacks of a chord hold for the members of its header, too, as a setting of the app
    of *canvas* says."""
    try:
        app = canvas.app
    except ImproperlyConfigured:
        return False  # there is no app yet, so nobody has said so
    return bool(app.conf.task_allow_error_cb_on_chord_header)


def member_of(value: Any, app: Any, what: str) -> Signature[Any]:
    """Return *value* as a signature, or raise ``TypeError`` that says what *what* takes."""
    made = maybe_signature(value, app)
    if isinstance(made, Signature):
        return made
    name = getattr(made, "name", None)
    if callable(getattr(made, "s", None)) and isinstance(name, str):
        raise TypeError(f"{what} takes signatures, and {name} is a task: write {name}.s(…)")
    raise TypeError(f"{what} takes signatures, such as task.s(…), not {made!r}")
