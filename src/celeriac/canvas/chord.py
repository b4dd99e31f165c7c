"""``chord``: tasks side by side, and one that gets all their results.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from reprlib import recursive_repr
from typing import Any, Self

from celeriac.canvas.cycles import finite
from celeriac.canvas.flow import Flow, errbacks_for_headers, member_of
from celeriac.canvas.group import group
from celeriac.canvas.plain import given_in, mapping_of, plain_of
from celeriac.canvas.signature import Signature
from celeriac.canvas.stamping import StampingVisitor, check_visitor, gathered

__all__ = ["chord"]


@Signature.register_type()
class chord(Flow):  # noqa: N801 - the name Celery users know
    """``chord(header)(body)``, the same as ``group(header) | body``.

    The body gets the list of the results, in the order of the header, once all have succeeded.
    If a member fails, the body does not run: its result fails with ``ChordError``, which names
    the member, and its errbacks are called.

    Args:
        header: a group, or what makes one: signatures in a list, or a generator.
        body: the signature, of any kind, that gets the results.
        task: Celery's; of no meaning.
        args: arguments that go before those of each member.
        kwargs: keyword arguments for each member.
        app: the app it belongs to; by default the members' or the body's.
        options: options of ``apply_async``.
    """

    KIND = "chord"
    PARTS = frozenset({"header", "body", "kwargs"})

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        parts = {
            "kwargs": dict(kwargs or {}),
            "header": _header(header, app),
            "body": None if body is None else member_of(body, app, "chord()"),
        }
        self.fill(parts, tuple(args or ()), options, app)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make a chord of the dictionary it was."""
        made = cls.of({}, Signature(value, app=app))
        plain = plain_of(value)
        (header,), given = given_in(plain, "header"), plain["kwargs"]
        body = given.get("body")
        made["kwargs"] = {
            **given,
            "kwargs": mapping_of("kwargs", given.get("kwargs")),
            "header": _header(header, app),
            "body": None if body is None else member_of(body, app, "chord()"),
        }
        return made

    @property
    def given(self) -> dict[str, Any]:
        """The keyword arguments for each member of the header."""
        return {**self.kwargs.get("kwargs", {}), **super().given}

    @property
    def header(self) -> group:
        """The header, as a group."""
        made: group = self.kwargs["header"]
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The members of the header."""
        return self.header.tasks

    @tasks.setter
    def tasks(self, members: Iterable[Any]) -> None:
        self.kwargs["header"] = _header(members, self._app)

    @property
    def body(self) -> Any:
        """The signature that gets the results, or None as long as there is none."""
        return self.kwargs["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = None if body is None else member_of(body, self._app, "chord()")

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with *body* in place of the stored one, if that is given."""
        return self.with_body(body).apply_async(**options)

    def apply_async(
        self, args: Any = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it; see the same of ``chain``. The keyword argument ``body`` is Celery's way to
        give the body here."""
        given = dict(kwargs or {})
        return super(chord, self.with_body(given.pop("body", None))).apply_async(
            args, given, **options
        )

    def apply(
        self, args: Any = (), kwargs: Mapping[str, Any] | None = None, body: Any = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Run it in this process; see the task's ``apply``. *body* takes the place of the stored
        one; it may be among the keyword arguments, too."""
        given = dict(kwargs or {})
        inner = given.pop("body", None)
        whole = self.with_body(inner if body is None else body)
        return super(chord, whole).apply(args, given, **options)

    def with_body(self, body: Any) -> Self:
        """Return a chord with the same header and *body*; this one if that is None."""
        if body is None:
            return self
        parts = {**self.kwargs, "body": member_of(body, self._app, "chord()")}
        return self.of(parts, self)

    @finite
    def link(self, callback: Any) -> Any:
        """Link *callback* to the body."""
        return self._bodied("link()").link(callback)

    @finite
    def link_error(self, errback: Any) -> Any:
        """Link *errback* to the body: it is called, too, if a member of the header fails.

        If the setting ``task_allow_error_cb_on_chord_header`` says so, it is linked to each member
        of the header as well, and called once for each that fails.
        """
        body = self._bodied("link_error()")
        if body.subtask_type in ("chord", "group"):
            return super().link_error(errback)  # of that, what begins would not have it
        made = body.link_error(errback)
        # Asked of the body's app, since the header's would make the first member of a generator.
        if errbacks_for_headers(body if self.own_app is None else self):
            self.header.append_to_list_option("link_error", errback)
        return made

    def _bodied(self, what: str) -> Signature[Any]:
        if self.body is None:
            raise TypeError(f"{what} of a chord without a body: give it one first")
        body: Signature[Any] = self.body
        return body

    @finite
    def set_immutable(self, immutable: bool) -> None:
        """Store for each member of the header whether it takes more arguments."""
        self.header.set_immutable(immutable)

    @finite
    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Stamp the members of its header, and its body; see the same of ``Signature``."""
        check_visitor(visitor)
        said = None if visitor is None else visitor.on_chord_header_start(self, **headers)
        inside = gathered(headers, said, append_stamps)
        self.stamp_links(visitor, append_stamps, **inside)
        self.header.stamp_links(visitor, append_stamps, **inside)
        self.header.stamp_members(visitor, append_stamps, inside)
        if visitor is not None:
            visitor.on_chord_header_end(self, **inside)
        if self.body is None:
            return self
        said = None if visitor is None else visitor.on_chord_body(self, **inside)
        inside = gathered(inside, said, append_stamps)
        self.body = self.body.apart().stamp(visitor, append_stamps, **inside)
        return self

    def copied(self, kwargs: dict[str, Any], copy: Callable[[Any], Any]) -> dict[str, Any]:
        """Return *kwargs* with header and body in it as *copy* returns them."""
        body = None if self.body is None else copy(self.body)
        return {**kwargs, "header": copy(self.header), "body": body}

    def app_of_parts(self) -> Any:
        """Return the app of the first part that has one, or None."""
        own = self.header.app_of_parts()
        return own if own is not None or self.body is None else self.body.app

    @recursive_repr("…")
    def __repr__(self) -> str:
        return f"{self.header!r} | {self.body!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        self.tasks  # noqa: B018 - a generator does not travel
        return super().__reduce__()


def _header(header: Any, app: Any) -> group:
    """*header* as a group: one that is a group stays itself, with its id and its options."""
    if isinstance(header, Mapping) and header.get("subtask_type") == "group":
        made = member_of(header, app, "chord()")
        assert isinstance(made, group)
        return made
    return group(header, app=app)
