"""Where a task goes: the routers of ``task_routes``, asked in their order.

Layer 3, without IO of its own: what turns the name of a router into the router is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from celeriac.conf.queues import Exchange, Queue
from celeriac.conf.routes import Table, options_of, read_routes
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["ASK", "Exchange", "Queue", "Route", "Router"]


class Route(NamedTuple):
    """Options of ``apply_async``, and who said so, for errors."""

    options: Mapping[str, Any]
    source: str


class _Ask:
    """Each call must be looked at by itself."""


#: What :meth:`Router.by_name` says when a function has to be asked.
ASK: Final = _Ask()


class Router:
    """The parts of ``task_routes``.

    Args:
        routes: the value of the setting.
        load: returns what a name such as ``shop.routers.route`` means, or raises.
    """

    def __init__(self, routes: object, load: Callable[[str], Any]) -> None:
        self._parts = list(read_routes(routes))
        self._load = load

    def by_name(self, name: str) -> Route | _Ask | None:
        """Return the route of the task *name*, or None; `ASK` where a function comes first."""
        for part in self._parts:
            if not isinstance(part, Table):
                return ASK
            found = part.find(name)
            if found is not None:
                return Route(found[0], f"task_routes[{found[1]!r}]")
        return None

    def route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        task: Any = None,
    ) -> Route | None:
        """Return the route of one call: the first answer of the parts in their order.

        Raises what a router raises, with a note that names it, and ``ImproperlyConfigured`` for
        an answer that is no route and for a name that cannot be loaded.
        """
        for part in self.loaded():
            if isinstance(part, Table):
                found = part.find(name)
                if found is not None:
                    return Route(found[0], f"task_routes[{found[1]!r}]")
                continue
            answer = _ask(part, name, args, kwargs, dict(options), task)
            if answer is not None:
                whose = f"what {_name_of(part)} returned for the task {name!r}"
                try:
                    return Route(options_of(answer, whose), whose)
                except ValueError as error:
                    raise ImproperlyConfigured(f"{error}. It was not sent.") from None
        return None

    def loaded(self) -> list[Any]:
        """Return the parts, with routers in place of their names; raises for a name that fails."""
        for at, part in enumerate(self._parts):
            if isinstance(part, str):
                self._parts[at] = _checked(self._load(part), part)
            elif isinstance(part, type) and hasattr(part, "route_for_task"):
                self._parts[at] = part()
        return self._parts

    def queues(self) -> dict[str, list[str]]:
        """Return the queues that names and patterns are sent to: queue → keys of the setting."""
        found: dict[str, list[str]] = {}
        for part in self._parts:
            if isinstance(part, Table):
                rows = [*part.exact.items(), *((key, each) for _, each, key in part.patterns)]
                for key, options in rows:
                    if "queue" in options:
                        found.setdefault(options["queue"], []).append(key)
        return found


def _ask(
    router: Any,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    task: Any,
) -> Any:
    try:
        if hasattr(router, "route_for_task"):
            return router.route_for_task(name, args, kwargs)
        return router(name, args, kwargs, options, task=task)
    except Exception as error:
        error.add_note(
            f"Raised by {_name_of(router)} in task_routes; the task {name!r} was not sent."
        )
        raise


def _checked(found: Any, name: str) -> Any:
    """Return the router that *name* turned out to be."""
    if isinstance(found, type) and hasattr(found, "route_for_task"):
        return found()
    if hasattr(found, "route_for_task") or callable(found):
        return found
    raise ImproperlyConfigured(
        f"task_routes names {name!r}, which is {type(found).__name__} {found!r}: neither a "
        "function nor an object with route_for_task"
    )


def _name_of(router: Any) -> str:
    named = router if hasattr(router, "__qualname__") else type(router)
    return f"the router {named.__module__}.{named.__qualname__}"
