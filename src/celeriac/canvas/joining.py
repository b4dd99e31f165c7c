"""Joining: what ``|`` makes of two signatures.

Layer 3, part of ``canvas``.

- ``task | task`` is a chain; chains that are joined become one.
- ``task | group`` is a chain that ends in the group; a group of one counts as its member there.
- ``group | x`` is a chord with the body x; a chain that ends in a group becomes one that ends in
  the chord.
- ``chord | x`` joins x to the chord's body.

Nothing is changed in place: what is joined may be used again. A chain that has options of its own
(callbacks, errbacks, a queue …) stays one within the new one, so that they hold for it alone.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.flow import member_of
from celeriac.canvas.group import group
from celeriac.canvas.home import Home
from celeriac.canvas.signature import Signature

__all__ = ["append", "join"]


def join(left: Any, right: Any) -> Signature[Any]:
    """Return what runs *right* after *left*. Raises ``TypeError`` for what is no signature."""
    first = member_of(left, None, "|")
    second = member_of(right, None, "|")
    if isinstance(first, group):
        return first if _is_empty(second) else chord(first, second, app=first.own_app)
    if isinstance(first, chord):
        return first if _is_empty(second) else _longer(first, second)
    steps: list[Any] = list(first.tasks) if _is_plain(first) else []
    if not steps:
        append(steps, first, first.own_app)
    append(steps, second, first.own_app)
    return chain.of({"tasks": steps}, app=first.own_app)


def append(steps: list[Any], right: Signature[Any], app: Any, *, in_body: bool = False) -> None:
    """Append *right* to the steps of a chain, in place. The steps themselves are not changed.

    *in_body*: they are the body of a chord. What follows a chord there stands behind it, for in its
    body it would be a level deeper, and so on with each: then making, copying and reading a long
    line would cost its square, or end the interpreter's stack.
    """
    todo: list[Any] = [right]
    open_: set[int] = set()
    while todo:
        each = todo.pop()
        if isinstance(each, _End):
            open_.discard(each.of)
            continue
        if _is_plain(each):
            if id(each) in open_:
                raise ValueError("this chain contains itself")
            open_.add(id(each))
            todo.append(_End(id(each)))
            todo.extend(reversed(each.tasks))
            continue
        last = steps[-1] if steps else None
        if isinstance(each, group) and last is not None:
            alone = _alone(each)
            if alone is not each:
                todo.append(alone)
                continue
            if _is_empty(each) and isinstance(last, group | chord):
                continue
        if isinstance(last, group):
            steps[-1] = chord(last, each, app=app)
            if not in_body and len(steps) > 1 and isinstance(steps[-2], chord):
                made = steps.pop()
                steps[-1] = _longer(steps[-1], made)
        elif isinstance(last, chord) and not in_body:
            steps[-1] = _longer(last, each)
        else:
            steps.append(each)


class _End:
    """The end of a chain on the list of what is still to be joined."""

    __slots__ = ("of",)

    def __init__(self, of: int) -> None:
        self.of = of


def _is_plain(signature: Signature[Any] | None) -> TypeGuard[chain]:
    """Whether it is a chain that is nothing but its steps."""
    return isinstance(signature, chain) and not (
        signature.options or signature.args or signature.immutable or signature.given
    )


def _longer(first: chord, second: Signature[Any]) -> chord:
    """*first* with *second* behind its body."""
    body = first.body
    if body is None:
        return first.with_body(second)
    if isinstance(body, group):
        return first.with_body(join(body, second))
    steps = list(body.tasks) if _is_plain(body) else [body]
    append(steps, second, body.own_app, in_body=True)
    return first.with_body(
        steps[0] if len(steps) == 1 else chain.of({"tasks": steps}, app=body.own_app)
    )


def _alone(members: group) -> Signature[Any]:
    """The member of a group that has one and no options, else the group."""
    found = members.kwargs["tasks"]
    if isinstance(found, list) and len(found) == 1 and not members.options:
        alone: Signature[Any] = found[0]
        return alone
    return members


def _is_empty(signature: Signature[Any]) -> bool:
    return isinstance(signature, group | chain) and signature.kwargs["tasks"] == []


Home.join = join
chain.JOINER = append
