"""``GroupResult``: the result of a group; and results as plain data.

Layer 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celeriac import states
from celeriac.bodies import seal
from celeriac.exceptions import DecodeError
from celeriac.outcome import ResultBody
from celeriac.records import StoredResult
from celeriac.result import AsyncResult
from celeriac.resultset import ResultSet
from celeriac.serialization import decode, encode

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flowtree import Tree

__all__ = [
    "GroupResult",
    "GroupsOfApp",
    "ids_of_line",
    "leaves_of",
    "result_from_tuple",
    "tasks_of_all",
    "tuple_of",
]


class GroupResult(ResultSet):
    """The result of a group.

    Args:
        id: the group's id.
        results: the results of its members, in their order.
        parent: the result of what ran before the group, in a chain.
        app: whose store knows them.
    """

    def __init__(
        self, id: str | None = None, results: Iterable[Any] | None = None, parent: Any = None,
        app: Celeriac | None = None,
    ) -> None:  # fmt: skip
        super().__init__(results or (), app)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The results of the members."""
        return self.results

    def name_of(self, leaves: list[AsyncResult[Any]]) -> str:
        """What an error calls it."""
        return f"the group {self.id}"

    def revoke(
        self,
        connection: None = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """See that none of the tasks runs, nor what was to run before them and has not."""
        ids = [*tasks_of_all(self)]
        if ids:
            self.app.control.revoke(ids, terminate=terminate, signal=signal)

    def tree(self) -> Tree:
        """Return the workflow that the group is in as a tree; see ``AsyncResult.tree``."""
        from celeriac.control.flowreading import tree_of

        members = self.leaves()
        return tree_of(self.app, str(self.id), members[0].id if members else None)

    async def atree(self) -> Tree:
        """:meth:`tree` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.tree)

    # -- keeping it ----------------------------------------------------------------------------

    def save(self) -> None:
        """Keep the ids in the store, for ``result_expires``, so that :meth:`restore` finds them."""
        app = self.app
        plain = ResultBody("json", encode("json", self.as_tuple(), "group"))
        body = seal(plain, _kept(self.id), app.signer)
        now = app.client.wall()
        app.results.put_many([StoredResult(_kept(self.id), states.SUCCEEDED, 0, body, "", now)])

    @classmethod
    def restore(cls, id: str, app: Celeriac | None = None) -> GroupResult | None:
        """Return the group that was saved under this id; None if there is none, or no longer."""
        if app is None:
            from celeriac.app.current import get_current_app

            app = get_current_app()
        from celeriac.ends import body_of

        body = body_of(app, app.results.get_many([_kept(id)])[0])
        content = None if body is None else body.content()
        if content is None:
            return None
        try:
            made = result_from_tuple(decode("json", content, ("json",)), app)
        except (TypeError, ValueError) as error:
            raise DecodeError(f"what was saved as group {id} is no group: {error}") from None
        return made if isinstance(made, GroupResult) else None

    def delete(self) -> None:
        """Forget what :meth:`save` has kept."""
        self.app.results.forget([_kept(self.id)])

    def as_tuple(self) -> tuple[Any, Any]:
        """Return Celery's plain form, ``((id, parent), members)``."""
        return tuple_of(self)

    def as_list(self) -> list[str]:
        """Return the ids of group and members in a list."""
        return [str(self.id), *ids_of_line(self)]

    def __bool__(self) -> bool:
        return True  # an empty one is a result, too

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return other.id == self.id and other.results == self.results
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # its id does not change
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(each.id) for each in self)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.results, self.parent)


class GroupsOfApp:
    """``app.GroupResult``: what Celery has there is the class, bound to the app.

    Args:
        app: whose store knows the tasks.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def __call__(
        self, id: str | None = None, results: Iterable[Any] | None = None, parent: Any = None
    ) -> GroupResult:
        """Return the result object of a group."""
        return GroupResult(id, results, parent, self._app)

    def restore(self, id: str) -> GroupResult | None:
        """Return the group that was saved under this id; see ``GroupResult.restore``."""
        return GroupResult.restore(id, self._app)


def leaves_of(result: Any) -> list[AsyncResult[Any]]:
    """Return the results of single tasks in *result*."""
    return result.leaves() if isinstance(result, ResultSet) else [result]


def ids_of_line(result: Any) -> list[str]:
    """Return the ids of the tasks of *result*, and of those before it, the last first."""
    return [each.id for one in _line_of(result) for each in leaves_of(one)]


def _line_of(result: Any) -> list[Any]:
    """*result* and those before it, the last first."""
    line = []
    while result is not None:
        line.append(result)
        result = result.parent
    return line


def tasks_of_all(*results: Any) -> dict[str, AsyncResult[Any]]:
    """Return the results of the tasks of *results*, and of all those before them, by id: within the
    members of groups, too. The last come first."""
    found: dict[str, AsyncResult[Any]] = {}
    seen: set[int] = set()
    todo = deque(results)
    while todo:
        each = todo.popleft()
        # Members of one group share what was before the group.
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ResultSet):
            todo.extend(each.results)
        else:
            found[each.id] = each
        todo.append(getattr(each, "parent", None))
    return found


def tuple_of(result: Any) -> tuple[Any, Any]:
    """Return the plain form of a result, as Celery has it: ``((id, parent), members or None)``."""
    made: Any = None
    for each in reversed(_line_of(result)):
        members = None
        if isinstance(each, GroupResult):
            members = [tuple_of(member) for member in each.results]
        made = ((each.id, made), members)
    return made  # type: ignore[no-any-return]  # there is at least the result itself


def result_from_tuple(value: Any, app: Celeriac | None = None) -> Any:
    """Return the result whose plain form *value* is; a result comes back as it is.

    Raises ``TypeError`` or ``ValueError`` for what is no plain form of one.
    """
    if value is None or isinstance(value, AsyncResult | ResultSet):
        return value
    line = []
    while value:
        named, members = value
        id, value = named if isinstance(named, list | tuple) else (named, None)
        if not isinstance(id, str) or (members is not None and not all(members)):
            raise TypeError(f"{id!r} is no id of a task or group, or one of its members is none")
        line.append((id, members))
    made: Any = None
    for id, members in reversed(line):
        before = made
        if members is None:
            made = AsyncResult(id, app)
        else:
            made = GroupResult(id, [result_from_tuple(each, app) for each in members], app=app)
        made.parent = before
    return made


def _kept(id: str | None) -> str:
    """The id under which a group's shape is kept: its own may be that of a collecting task."""
    return f"{id}:group"
