"""From routes, declared queues and priorities to what one call is sent with.

Layer 4. One :class:`Directions` holds for one state of the settings; the client makes a new one
when they change. Where only names decide, the answer for a task is worked out once.

What a call says goes over what the task says, that over its route, that over the settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac.checks import HIGHEST_PRIORITY
from celeriac.conf.queues import bound
from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion, QueueNotFound
from celeriac.message import Header
from celeriac.routing import ASK, Route, Router
from celeriac.sensitive import Mask

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.context import Context
    from celeriac.control.destinations import Destinations

__all__ = ["NO_DEFAULTS", "Defaults", "Directions", "load_router"]

#: Names of tasks whose route is remembered. Names come from code; a program that makes them up
#: must not make this grow without end.
_REMEMBERED: Final = 10_000
_EMPTY: Final[Mapping[str, Any]] = {}


class Defaults(msgspec.Struct, frozen=True):
    """What a task says of how it is sent; None and "" mean as routes and settings say."""

    queue: str = ""
    priority: int | None = None
    expires: float | datetime | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    serializer: str = ""
    compression: str = ""
    #: Hides arguments where they are shown.
    mask: Mask | None = None


NO_DEFAULTS: Final = Defaults()


class Directions:
    """See the module's docstring."""

    def __init__(self, app: Celeriac) -> None:
        conf = app.conf
        #: The settings it was made of, to be compared by identity.
        self.settled = conf.settled
        self._app = app
        self._router = Router(conf.task_routes, load_router) if conf.task_routes else None
        self._queues = {each.name: each for each in conf.task_queues or ()}
        self._default = conf.task_default_queue
        self._closed = not conf.task_create_missing_queues
        self._inherits = conf.task_inherit_parent_priority
        self._highest = conf.task_queue_max_priority
        capped = any(each.max_priority is not None for each in self._queues.values())
        self._capped = capped or self._highest is not None
        #: Whether finished headers must be looked at.
        self.checks = self._closed or self._inherits or self._capped
        #: Whether calls have routes.
        self.routes = self._router is not None
        self._known: dict[str, tuple[Defaults, Defaults, Mapping[str, Any]]] = {}

    # -- before the header is made -------------------------------------------------------------

    def by_name(self, name: str, defaults: Defaults) -> tuple[Defaults, Mapping[str, Any]] | None:
        """Return *defaults* filled up by the route of the task *name*, and the route's other
        options; None if each call must be looked at by itself."""
        known = self._known.get(name)
        if known is not None and known[0] is defaults:
            return known[1], known[2]
        if self._router is None:
            return defaults, _EMPTY
        route = self._router.by_name(name)
        if route is ASK:
            return None
        assert route is None or isinstance(route, Route)
        filled, more = self._filled(defaults, route)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[name] = (defaults, filled, more)
        return filled, more

    def routed(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        defaults: Defaults,
        options: Mapping[str, Any],
    ) -> tuple[Defaults, Mapping[str, Any]]:
        """Return *defaults* and *options* of one call, both filled up by its route."""
        known = self.by_name(name, defaults)
        if known is None:
            assert self._router is not None
            said = {key: value for key, value in _said(defaults) if value}
            said |= {key: value for key, value in options.items() if value is not None}
            task = self._app.tasks.get(name)
            route = self._router.route(name, args, kwargs, said, task)
            known = self._filled(defaults, route)
        filled, more = known
        if not more:
            return filled, options
        given = {key: value for key, value in options.items() if value is not None}
        if "countdown" in given or "eta" in given:  # two ways to say one thing
            more = {key: more[key] for key in more if key not in {"countdown", "eta"}}
        return filled, {**more, **given}

    def _filled(
        self, defaults: Defaults, route: Route | None
    ) -> tuple[Defaults, Mapping[str, Any]]:
        if route is None:
            return defaults, _EMPTY
        more = dict(route.options)
        queue = more.pop("queue", None)
        exchange, key = more.pop("exchange", None), more.pop("routing_key", None)
        if not defaults.queue and (exchange is not None or key is not None):
            queue = self.queue_of(queue, exchange, key, route.source)
        priority = more.pop("priority", None)
        taken = {name for name, value in _said(defaults) if value}
        filled = msgspec.structs.replace(
            defaults,
            queue=defaults.queue or queue or "",
            priority=priority if defaults.priority is None else defaults.priority,
        )
        return filled, {name: value for name, value in more.items() if name not in taken}

    def queue_of(self, queue: str | None, exchange: str | None, key: str | None, whose: str) -> str:
        """Return the one declared queue that *exchange* and routing *key* lead to.

        Raises ``NotInThisVersion`` if none is declared, ``ImproperlyConfigured`` if they lead
        nowhere, to several, or not to the *queue* that was named with them.
        """
        given = {"exchange": exchange, "routing_key": key}
        said = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        if not self._queues:
            option = "routing_key" if exchange is None else "exchange"
            raise NotInThisVersion(
                f"The option {option} of {whose}",
                "Name the queue: queue=…. (Queues that task_queues declares with a routing_key "
                "can be named by it.)",
            )
        found = [each.name for each in bound(self._queues.values(), exchange, key)]
        if queue is not None and queue in found:
            return queue
        if queue is None and len(found) == 1:
            return found[0]
        where = f"leads to {', '.join(found)}" if found else "leads to no queue of task_queues"
        named = f", and queue={queue!r} is named with it" if queue is not None else ""
        raise ImproperlyConfigured(f"{whose}: {said} {where}{named}. Name the queue alone: queue=…")

    # -- once the header is made ---------------------------------------------------------------

    def checked(self, header: Header, parent: Context | None, prioritised: bool) -> Header:
        """Return *header* with its `urgency`; raises as that does."""
        priority = self.urgency(header.task, header.queue, header.priority, parent, prioritised)
        if priority == header.priority:
            return header
        return msgspec.structs.replace(header, priority=priority)

    def urgency(
        self, task: str, queue: str, priority: int, parent: Context | None, prioritised: bool
    ) -> int:
        """Return the priority that the parent and the queue of a call make of *priority*.

        *prioritised* says that call, task or route named it. Raises ``QueueNotFound`` for a queue
        that is not declared, if it has to be.
        """
        if self._closed:
            self.check_declared(queue, f"The task {task!r} was not sent")
        if self._inherits and not prioritised and parent is not None:
            priority = priority if parent.priority is None else parent.priority
        if self._capped:
            declared = self._queues.get(queue)
            highest = declared.max_priority if declared is not None else None
            highest = self._highest if highest is None else highest
            priority = min(priority, HIGHEST_PRIORITY if highest is None else highest)
        return priority

    def check_declared(self, queue: str, so: str) -> None:
        """Raise ``QueueNotFound`` if *queue* would have to be declared; *so* says what follows."""
        declared = [*self._queues] or [self._default]
        if not self._closed or queue in declared:
            return
        from difflib import get_close_matches

        near = get_close_matches(queue, declared, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise QueueNotFound(
            f"{so}: task_queues does not declare the queue {queue!r}, and "
            f"task_create_missing_queues is False.{hint} It declares {', '.join(declared)}."
        )

    def check_routes(self) -> None:
        """Raise ``ImproperlyConfigured`` for a router that cannot be loaded, and for a route to a
        queue that has to be declared and is not."""
        if self._router is None:
            return
        self._router.loaded()
        for queue, keys in self._router.queues().items():
            try:
                self.check_declared(queue, f"task_routes[{keys[0]!r}] leads to nowhere")
            except QueueNotFound as error:
                raise ImproperlyConfigured(str(error)) from None

    def known(self, names: Sequence[str] = ()) -> Destinations:
        """Return what can be said of where tasks go, those called *names* one by one."""
        from celeriac.control.destinations import Destinations  # late: senders need none of it

        routes = {} if self._router is None else self._router.queues()
        return Destinations(tuple(self._queues), self._destinations(names), routes)

    def _destinations(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Where the tasks *names* go, by queue; without those whose queue depends on the call."""
        found: dict[str, list[str]] = {}
        for name in names:
            task = self._app.tasks.get(name)
            known = self.by_name(name, NO_DEFAULTS if task is None else task.defaults)
            if known is not None:
                found.setdefault(known[0].queue or self._default, []).append(name)
        return found


def _said(defaults: Defaults) -> list[tuple[str, Any]]:
    names = (name for name in defaults.__struct_fields__ if name != "mask")
    return [(name, getattr(defaults, name)) for name in names]


def load_router(name: str) -> Any:
    """Return what ``module.function`` or ``module:function`` names.

    Raises ``ImproperlyConfigured`` that says what is missing.
    """
    module, _, attribute = name.replace(":", ".").rpartition(".")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"task_routes names the router {name!r}, and the module {module!r} cannot be imported: "
            f"{error}"
        ) from error
    if not hasattr(found, attribute):
        from difflib import get_close_matches

        near = get_close_matches(attribute, dir(found), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ImproperlyConfigured(
            f"task_routes names the router {name!r}, and the module {module!r} has no "
            f"{attribute!r}{hint}"
        )
    return getattr(found, attribute)
