"""Celery's apps for tests: ``TestApp``, ``setup_default_app``, ``Trap``, ``set_trap``.

Layer 7. Differences: a test app's broker ``memory://`` is a store of its own, so that nothing is
left over from one test to the next; and there is no class ``UnitLogging``, since an app sets up no
logging here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, cast
from weakref import WeakSet

from celeriac.app import Celeriac, current
from celeriac.clock import SYSTEM
from celeriac.exceptions import ImproperlyConfigured
from celeriac.later import absent
from celeriac.testing.harness import own_store

__all__ = [
    "DEFAULT_TEST_CONFIG",
    "TestApp",
    "Trap",
    "is_quiet",
    "set_trap",
    "setup_default_app",
]

#: Settings of a test app where its own say nothing else.
DEFAULT_TEST_CONFIG: Final[dict[str, Any]] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": ("json",),
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
}

#: Apps for which ``start_worker`` leaves logging as it is.
_quiet: WeakSet[Celeriac] = WeakSet()


class Trap:
    """Stands for the current app, and refuses whatever is asked of it.

    It finds code that falls back on the current app where it should be given one.
    """

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name == "_is_coroutine":
            raise AttributeError(name)  # asked by Python itself and by unittest.mock
        raise RuntimeError("Test depends on current_app")


def TestApp(  # noqa: N802 - Celery's name
    name: str | None = None, config: Mapping[str, Any] | None = None,
    enable_logging: bool = False, set_as_current: bool = False, *,
    backend: str | None = None, broker: str | None = None, **kwargs: Any,
) -> Celeriac:  # fmt: skip
    """Return an app for tests, by default on a store of its own in memory.

    Args:
        name: its name.
        config: settings, over ``DEFAULT_TEST_CONFIG``.
        enable_logging: let ``start_worker`` set the level of the log for it.
        set_as_current: be what ``current_app`` and shared tasks use.
        backend: URL of the result store.
        broker: URL of the store.
        kwargs: more of ``Celeriac(…)``.
    """
    settings = {**DEFAULT_TEST_CONFIG, **(config or {}), **kwargs}
    if broker is not None:
        settings["broker_url"] = broker
    if backend is not None:
        settings["result_backend"] = backend
    app = Celeriac(name or "celery.tests", set_as_current=set_as_current, **settings)
    if app.broker_url == "memory://":
        app.lend(own_store(app, SYSTEM), app.client)
    if not enable_logging:
        _quiet.add(app)
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # pytest shall not take it for a test


def is_quiet(app: Celeriac) -> bool:
    """Whether *app* was made without ``enable_logging``."""
    return app in _quiet


@contextmanager
def set_trap(app: Celeriac) -> Iterator[None]:
    """Let whatever asks for the current app find a :class:`Trap` for the length of the block."""
    trap = cast(Celeriac, Trap())
    current.set_current_app(trap)
    try:
        yield
    finally:
        current.forget_app(trap)


@contextmanager
def setup_default_app(app: Celeriac, use_trap: bool = False) -> Iterator[None]:
    """See that *app* is closed after the block, and the current app the one it was before.

    *use_trap* lets whatever asks for the current app within the block find a :class:`Trap`.
    """
    before = _current()
    try:
        if use_trap:
            with set_trap(app):
                yield
        else:
            yield
    finally:
        if app is not before:
            app.close()
        if before is not None:
            before.set_current()


def _current() -> Celeriac | None:
    try:
        return current.get_current_app()
    except ImproperlyConfigured:
        return None


def __getattr__(name: str) -> object:
    raise absent(__name__, name, {"UnitLogging": "An app sets up no logging here."})
