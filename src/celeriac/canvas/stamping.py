"""Stamping: writing stamps on all tasks of a canvas, the same on each or what a visitor says.

Layer 3, part of ``canvas``. Stamps are options of a signature (:mod:`celeriac.stamps`), so they go
wherever it goes: through JSON, into a workflow, to its repeats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from celeriac.canvas.cycles import finite
from celeriac.stamps import NAMES, check_name, combined, names_of, plain_value, united

__all__ = ["Stamping", "StampingVisitor", "check_visitor", "gathered", "stamped_parts"]


class StampingVisitor(ABC):
    """Says what each part of a canvas is stamped with: ``group.stamp(visitor=MyVisitor())``.

    A hook returns a dictionary of headers, or nothing. What is in it is a stamp; if it has the key
    ``stamped_headers``, a list of names, only what is listed there is, and the rest is handed on to
    later hooks alone. What a hook of a chain, group or chord returns holds for all that is in it.

    Each hook is called with the part and the headers that hold there so far, as keyword arguments.
    So a stamp cannot have the name of the hook's first parameter.

    The order: what is linked to a task (:meth:`on_callback`, then :meth:`on_errback`) comes before
    the task itself; of a workflow its start, what is linked to it, its parts one after the other,
    its end; of a chord the header, as a group, and then the body. A linked task and a body are
    visited by :meth:`on_signature` as well.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for one task."""

    def on_group_start(self, group: Any, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for all members of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 - who wants it, has it
        """Be told that all members of the group have been stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for all steps of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 - the same
        """Be told that all steps of the chain have been stamped."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Mapping[str, Any] | None:
        """Return headers for a chord: by default what :meth:`on_group_start` says of its header."""
        return self.on_group_start(sig.header, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Be told that the members of the header have been stamped: by default as
        :meth:`on_group_end`."""
        self.on_group_end(sig.header, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Mapping[str, Any] | None:
        """Return headers for the body of the chord *sig*."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Mapping[str, Any] | None:
        """Return headers for what is linked to a success."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Mapping[str, Any] | None:
        """Return headers for what is linked to a failure."""
        return {}


class Stamping:
    """The part of a signature that stamps it. What it needs of one is declared here."""

    if TYPE_CHECKING:

        @property
        def options(self) -> dict[str, Any]:
            """See ``Signature``."""

        def linked(self, key: str) -> list[Any]:
            """See ``Signature``."""

        def clone(self) -> Self:
            """See ``Signature``."""

    @finite
    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Stamp all tasks in it, and what is linked to them now; return the signature itself.

        Args:
            visitor: says what each part is stamped with, over *headers*.
            append_stamps: keep what a stamp of the same name held before, in a list with the new
                value. Else the new value takes its place, unless both are lists: those are united.
            headers: stamps for all tasks. With ``stamped_headers``, a list of names, only those
                named are; the rest is for the visitor.

        Raises:
            ValueError: a name that is that of an option of ``apply_async``, or is too long.
            EncodeError: a value that is no plain data.
            TypeError: a name without a value; what a hook returned is no dictionary; *visitor*
                is none.
        """
        check_visitor(visitor)
        self.stamp_links(visitor, append_stamps, **headers)
        said = None if visitor is None else visitor.on_signature(self, **headers)
        made = gathered(headers, said, append_stamps)
        self._write(made, append_stamps)
        return self

    def stamp_links(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Stamp what is linked to it, callbacks and errbacks, as :meth:`stamp` does."""
        for key in ("link", "link_error"):
            made = []
            for each in self.linked(key):
                said = None
                if visitor is not None:
                    hook = visitor.on_callback if key == "link" else visitor.on_errback
                    said = hook(each, **headers)
                inside = gathered(headers, said, append_stamps)
                made.append(each.apart().stamp(visitor, append_stamps, **inside))
            if made:
                self.options[key] = made

    def with_options(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return its options with those given over them; the stamps of both hold."""
        made = {**self.options, **(options or {})}
        return combined({}, self.options, options or {}) if NAMES in made else made

    def apart(self) -> Self:
        """Return what is stamped in its place where it is a part: a copy, for one signature may be
        a part of several workflows, and twice of one."""
        return self.clone()

    def _write(self, headers: Mapping[str, Any], append: bool) -> None:
        own = self.options
        names = names_of(own)
        for name in names_of(headers):
            check_name(name)
            if name not in headers:
                raise TypeError(f"{NAMES} names {name!r}, and there is no value for it")
            value = plain_value(name, headers[name])
            if name in names:
                value = _joined(own[name], value, append)
            else:
                names.append(name)
            own[name] = value
        if names:
            own[NAMES] = names


def check_visitor(visitor: object) -> None:
    """Raise ``TypeError`` for what is neither None nor has the hooks of a visitor."""
    if isinstance(visitor, type):
        raise TypeError(f"stamp() takes a visitor, not its class: write {visitor.__name__}()")
    if visitor is not None and not callable(getattr(visitor, "on_signature", None)):
        raise TypeError(f"stamp() takes a StampingVisitor, not {visitor!r}")


def gathered(
    headers: Mapping[str, Any], said: Mapping[str, Any] | None, append: bool
) -> dict[str, Any]:
    """Return *headers* with what a hook has *said* over them, and the names of all stamps among
    them. Raises ``TypeError`` if that is no dictionary."""
    made = {name: value for name, value in headers.items() if name != NAMES}
    names = names_of(headers) if NAMES in headers else list(made)
    if said is not None and not isinstance(said, Mapping):
        raise TypeError(
            f"a hook of a StampingVisitor returns a dictionary of headers, or None, not {said!r}"
        )
    for name, value in (said or {}).items():
        if name != NAMES:
            made[name] = _joined(made[name], value, append) if name in made else value
    if said:
        names += names_of(said) if NAMES in said else said
    return {**made, NAMES: list(dict.fromkeys(names))}


def stamped_parts(
    parts: Iterable[Any], visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]
) -> list[Any]:
    """Return *parts* of a workflow, stamped one after the other."""
    made: list[Any] = []
    seen: set[int] = set()
    for each in parts:
        part = each.clone() if id(each) in seen else each.apart()
        seen.add(id(each))
        made.append(part.stamp(visitor, append, **headers))
    return made


def _joined(before: Any, value: Any, append: bool) -> Any:
    several = isinstance(before, list | tuple | set | frozenset) and isinstance(
        value, list | tuple | set | frozenset
    )
    return united(before, value) if append or several else value
