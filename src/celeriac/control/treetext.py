"""Trees of workflows as text, for people. Pure.

Layer 4; for the command line. Of a long group, or chain, some are shown and the others counted:
what failed by itself always, then what runs, what waits, and what has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from celeriac import states
from celeriac.control.phrases import clip, duration, plural
from celeriac.control.progress import bar
from celeriac.flowtree import BAD, GONE, Tree

__all__ = ["next_steps", "summary", "tree_lines"]

#: Of more children than this, so many are shown besides those that failed.
_SHOWN: Final = 10
#: Failures that are listed before the tree.
_LISTED: Final = 10
_NAME: Final = 120
_ROLES: Final = {
    "body": "then ",
    "callback": "callback ",
    "errback": "errback ",
    "replacement": "in its place ",
    "added": "added ",
    "sent": "sent ",
}
#: The smaller, the earlier it is shown.
_ORDER: Final = {
    states.FAILURE: 1, states.REVOKED: 1, states.REJECTED: 1, states.RETRY: 3, states.RECEIVED: 3,
    states.PENDING: 4, states.SUCCESS: 5, states.IGNORED: 5, GONE: 6,
}  # fmt: skip


def summary(tree: Tree) -> str:
    """How a workflow stands, in a line: ``FAILURE: 3 SUCCESS, 1 FAILURE; 4.2 s``."""
    count = sum(tree.counts.values())
    parts = [f"{plural(count, 'task')}: {_counted(tree.counts)}"]
    if tree.seconds is not None:
        parts.append(f"{duration(tree.seconds)}{'' if tree.ready else ' so far'}")
    more = "" if tree.ready or tree.state not in BAD else ", going on"
    return f"{clip(tree.state)}{more}: {'; '.join(parts)}"


def tree_lines(tree: Tree, now: float, *, every: bool = False) -> list[str]:
    """The lines that show *tree*; with *every* nothing is left out.

    *now* is the reader's wall clock.
    """
    return [*_failures(tree, every), *_Text(now, every).lines(tree)]


def _failures(tree: Tree, every: bool) -> Iterator[str]:
    """What failed by itself, and what was revoked, if it is not all there is."""
    if tree.kind == "task" and not tree.children:
        return
    revoked = [each for each in tree.failures if each.state == states.REVOKED]
    failed = [each for each in tree.failures if each.state != states.REVOKED]
    yield from _listed("Failed:", failed, every)
    yield from _listed("Revoked:", revoked, every)


def _listed(heading: str, found: Sequence[Tree], every: bool) -> Iterator[str]:
    if not found:
        return
    yield heading
    for each in found if every else found[:_LISTED]:
        called = f"{clip(each.task, _NAME)}{clip(each.arguments)}[{clip(each.id)}]"
        yield f"  {called}: {clip(each.reason) or each.state}"
        if each.where:
            yield f"    {clip(each.where)}"
    if not every and len(found) > _LISTED:
        yield f"  … and {len(found) - _LISTED:,} more"
    yield ""


def next_steps(tree: Tree) -> list[str]:
    """What an operator may do about what ended without success, with the commands for it."""
    revoked = [each for each in tree.failures if each.state == states.REVOKED]
    failed = [each for each in tree.failures if each.state != states.REVOKED]
    steps = []
    if failed:
        steps.append(f"More of what failed: celeriac why {clip(failed[0].id)}")
        which = clip(failed[0].id) if len(failed) == 1 else f"{clip(tree.id)} --all-failed"
        steps.append(f"To run it again, and go on from there: celeriac retry {which}")
    if revoked:
        which = " ".join(clip(each.id) for each in revoked[:_LISTED])
        steps.append(f"To run after all what was revoked: celeriac retry {which}")
    return steps


class _Text:
    """One rendering."""

    def __init__(self, now: float, every: bool) -> None:
        self._now = now
        self._every = every
        #: By identity: how many failed by themselves in a tree.
        self._own: dict[int, int] = {}

    def lines(self, tree: Tree) -> list[str]:
        """The whole."""
        self._count(tree)
        return [self._head(tree), *self._below(tree, "")]

    def _count(self, tree: Tree) -> int:
        own = int(tree.kind == "task" and tree.state in BAD and not tree.cause)
        own += sum(self._count(each) for each in tree.children)
        self._own[id(tree)] = own
        return own

    def _below(self, tree: Tree, indent: str) -> Iterator[str]:
        shown, left = self._chosen(tree)
        for number, each in enumerate(shown, 1):
            last = number == len(shown) and not left
            yield f"{indent}{'└─ ' if last else '├─ '}{self._head(each)}"
            yield from self._below(each, indent + ("   " if last else "│  "))
        if left:
            yield f"{indent}└─ {_more(left)}"

    def _chosen(self, tree: Tree) -> tuple[list[Tree], list[Tree]]:
        """The children that are shown, and those that are counted."""
        children = list(tree.children)
        if self._every:
            return self._sorted(tree, children), []
        # An errback that nobody needs says nothing.
        children = [
            each for each in children if each.role != "errback" or each.state != states.IGNORED
        ]
        ranked = sorted(children, key=self._rank)
        own = sum(1 for each in children if self._own[id(each)])
        # One line instead of another is no gain.
        room = len(ranked) if len(ranked) <= _SHOWN + 1 else max(_SHOWN, own)
        kept = {id(each) for each in ranked[:room]}
        shown = [each for each in children if id(each) in kept]
        return self._sorted(tree, shown), [each for each in children if id(each) not in kept]

    def _sorted(self, tree: Tree, shown: list[Tree]) -> list[Tree]:
        """Members have no order that means anything: what failed comes first."""
        return sorted(shown, key=self._rank) if tree.kind == "group" else shown

    def _rank(self, tree: Tree) -> int:
        # A state of one's own is that of a task that runs.
        return 0 if self._own[id(tree)] else _ORDER.get(tree.state, 2)

    def _head(self, tree: Tree) -> str:
        role = _ROLES.get(tree.role, "")
        place = "" if tree.index is None else f"{tree.index}: "
        if tree.kind == "task":
            what, facts = _name(tree), self._facts(tree)
        else:
            what = f"{tree.kind} of {len(tree.children):,}"
            if tree.kind == "group" or tree.role == "workflow":
                what += f" {clip(tree.id)}"
            facts = self._facts_of_several(tree)
        more = f"  ({', '.join(facts)})" if facts else ""
        reason = f": {clip(tree.reason)}" if tree.reason else ""
        return f"{role}{place}{clip(tree.state, _NAME)} {what}{more}{reason}"

    def _facts(self, tree: Tree) -> list[str]:
        facts = [] if tree.seconds is None else [duration(tree.seconds)]
        if tree.worker:
            facts.append(f"on {clip(tree.worker, _NAME)}")
        if tree.retries:
            facts.append(plural(tree.retries, "retry", "retries"))
        if tree.progress is not None:
            facts.append(bar(tree.progress, self._now, ended=tree.ready))
        if tree.flow and tree.flow != tree.id:
            facts.append(f"of workflow {clip(tree.flow)}")
        return facts

    def _facts_of_several(self, tree: Tree) -> list[str]:
        facts = [] if tree.seconds is None else [duration(tree.seconds)]
        if tree.progress is not None and not tree.ready:
            facts.append(bar(tree.progress, self._now, ended=tree.ready))
        return facts


def _name(tree: Tree) -> str:
    return f"{clip(tree.task, _NAME)}[{clip(tree.id)}]" if tree.task else clip(tree.id)


def _counted(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count:,} {clip(state, _NAME)}" for state, count in ordered)


def _more(left: Sequence[Tree]) -> str:
    states_of = Counter(each.state for each in left)
    return f"… and {len(left):,} more: {_counted(dict(states_of))}"
