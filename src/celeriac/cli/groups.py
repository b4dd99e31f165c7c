"""Results of groups, for ``celeriac result``: found by the group's id, waited for and told."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from celeriac.cli import exits
from celeriac.cli.output import note, say, say_json

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.cli.follow import Follower
    from celeriac.flowtree import Tree
    from celeriac.groupresult import GroupResult


def group_of(app: Celeriac, id: str) -> GroupResult | None:
    """The result of the group with this id; None if it is a task's, or nobody's."""
    from celeriac.workflow import COLLECT

    record = app.store.inspection.get([id])[0]
    if record is not None and record.task != COLLECT:  # that has the id of the group it collects
        return None
    from celeriac.control.flowreading import read_tree, source_of

    tree = read_tree(source_of(app), id, time.time())
    todo = [] if tree is None else [tree]
    while todo:
        each = todo.pop()
        if each.kind == "group" and each.id == id:
            found: GroupResult = _result(app, each)
            return found
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
    """The state of a group as ``celeriac tree`` has it."""
    from celeriac.flowtree import state_of

    return state_of(Counter(pending.every_state()))


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
