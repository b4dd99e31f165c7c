"""Results of groups, for ``celeriac result``: found by the group's id, waited for and told."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac.cli import exits
from celeriac.cli.output import note, say, say_json

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.cli.follow import Follower
    from celeriac.flowtree import Tree
    from celeriac.groupresult import GroupResult
    from celeriac.records import Record


def group_of(app: Celeriac, id: str) -> GroupResult | None:
    """The result of the group with this id; None if it is a task's, or nobody's."""
    tree = _tree_of_group(app, id, app.store.inspection.get([id])[0])
    if tree is None:
        return None
    found: GroupResult = _result(app, tree)
    return found


def tasks_of_groups(app: Celeriac, ids: Sequence[str]) -> dict[str, list[str]]:
    """Of those *ids* that are groups', the tasks of each that have not ended: its members, the
    steps of those that are chains, and what gathers them. Not what they sent by themselves."""
    from celeriac.states import READY_STATES, TERMINAL

    found: dict[str, list[str]] = {}
    for id, record in zip(ids, app.store.inspection.get(list(ids)), strict=True):
        tree = _tree_of_group(app, id, record)
        if tree is None:
            continue
        found[id] = [] if record is None or record.state in TERMINAL else [id]
        todo = [tree]
        while todo:
            each = todo.pop()
            if each.kind == "task" and each.state not in READY_STATES:
                found[id].append(each.id)
            todo += [part for part in reversed(each.children) if part.role in _OF_THE_GROUP]
    return found


#: What stands under a group, or under one of its members, and is a part of it.
_OF_THE_GROUP = frozenset({"step", "member", "added", "body", "replacement"})


def _tree_of_group(app: Celeriac, id: str, record: Record | None) -> Tree | None:
    """The group with this id, of which *record* is the record, if there is one."""
    from celeriac.workflow import COLLECT

    if record is not None and record.task != COLLECT:  # that has the id of the group it collects
        return None
    from celeriac.control.flowreading import read_tree, source_of

    tree = read_tree(source_of(app), id, time.time())
    todo = [] if tree is None else [tree]
    while todo:
        each = todo.pop()
        if each.kind == "group" and each.id == id:
            return each
        todo.extend(each.children)
    return None


def _result(app: Celeriac, tree: Tree) -> Any:
    """The result of what a tree shows: of a chain that of its last step."""
    from celeriac.groupresult import GroupResult

    while tree.kind == "chain":
        tree = tree.children[-1]
    if tree.kind == "task":
        return app.AsyncResult(tree.id)
    return GroupResult(tree.id, [_result(app, each) for each in tree.children], app=app)


def state_of_group(pending: GroupResult) -> str:
    """The state of a group: it goes on as long as one of its members does, whatever the others."""
    from celeriac import states
    from celeriac.flowtree import state_of

    counts = Counter(pending.every_state())
    if counts.keys() <= states.READY_STATES:
        return state_of(counts)
    return states.PENDING if counts.keys() == {states.PENDING} else states.STARTED


def report_group(
    pending: GroupResult, timeout: float | None, see: str, *, as_json: bool,
    follower: Follower | None,
) -> int:  # fmt: skip
    """Wait for a group, print what came of it, and return the exit code.

    *see* is the command that says more of it.
    """
    from celeriac.cli.tasks import error_text, plain
    from celeriac.exceptions import TimeoutError

    options: dict[str, Any] = {}
    if follower is not None:
        options = {"on_interval": follower, "interval": follower.interval}
    print_json = say_json if follower is None else follower.say
    try:
        values = pending.get(timeout=timeout, propagate=False, **options)
    except TimeoutError:
        if follower is not None:
            follower.close()
        state = state_of_group(pending)
        if as_json:
            print_json({"id": pending.id, "state": state, "ready": False})
        else:
            note(f"Group {pending.id} has not ended ({state}). See: {see}")
        return exits.TIMED_OUT
    if follower is not None:
        follower.close()
    wrong = [each for each in pending.leaves() if not each.successful()]
    if as_json:
        data: dict[str, Any] = {"id": pending.id, "state": state_of_group(pending), "ready": True}
        if wrong:
            data["errors"] = {each.id: error_text(each.result) for each in wrong}
        else:
            data["result"] = plain(values)
        print_json(data)
    elif wrong:
        note(f"{state_of_group(pending)}: {len(wrong)} of {len(pending.leaves())} members:")
        for each in wrong[:_NAMED]:
            note(f"  {each.id}: {each.state}: {error_text(each.result)}")
        note(f"See: {see}")
    else:
        say(json.dumps(plain(values), ensure_ascii=False))
    return exits.TASK_FAILED if wrong else exits.OK


#: Members without success that are named.
_NAMED = 10
