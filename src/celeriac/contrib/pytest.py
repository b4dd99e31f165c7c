"""Celery's pytest plugin: ``pytest_plugins = ("celeriac.contrib.pytest",)``.

Layer 7. Its fixtures and its marker by their names; ``celeriac.testing`` has others, with a clock
to drive. ``NO_WORKER=1`` in the environment leaves the workers away.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.app.task import Task
    from celeriac.testing.worker import ThreadWorker

__all__ = [
    "celery_app",
    "celery_class_tasks",
    "celery_config",
    "celery_enable_logging",
    "celery_includes",
    "celery_parameters",
    "celery_session_app",
    "celery_session_worker",
    "celery_worker",
    "celery_worker_parameters",
    "celery_worker_pool",
    "depends_on_current_app",
    "pytest_configure",
    "use_celery_app_trap",
]

NO_WORKER: Final = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line(
        "markers", "celery(**overrides): override celery configuration for a test case"
    )


@contextmanager
def _made(
    request: pytest.FixtureRequest, config: Mapping[str, Any], parameters: Mapping[str, Any],
    enable_logging: bool, use_trap: bool,
) -> Iterator[Celeriac]:  # fmt: skip
    from celeriac.contrib.testing.app import TestApp, setup_default_app

    mark = request.node.get_closest_marker("celery")
    settings = {**config, **(mark.kwargs if mark else {})}
    app = TestApp(enable_logging=enable_logging, config=settings, **parameters)
    with setup_default_app(app, use_trap=use_trap):
        yield app


@contextmanager
def _working(
    app: Celeriac, includes: Sequence[str], pool: str, parameters: Mapping[str, Any]
) -> Iterator[ThreadWorker | None]:
    if NO_WORKER:
        yield None
        return
    from celeriac.contrib.testing.worker import start_worker

    for module in includes:
        importlib.import_module(module)
    with start_worker(app, pool=pool, **parameters) as worker:
        yield worker


# -- to be redefined -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Return True to have whatever asks for the current app raise."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Return True to have the worker set the log's level."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Return names of modules that are imported before a worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """Return the worker's pool, ``solo`` or ``threads``."""
    return "solo"


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Return settings of the test app."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Return arguments of the test app's constructor."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Return arguments of ``start_worker``, such as ``queues``."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[type[Task[..., Any]]]:
    """Return classes of tasks that the session's app registers."""
    return []


# -- to be used ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest, celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any], celery_enable_logging: bool, use_celery_app_trap: bool,
) -> Iterator[Celeriac]:  # fmt: skip
    """An app for the whole session, the current one."""
    with _made(
        request, celery_config, celery_parameters, celery_enable_logging, use_celery_app_trap
    ) as app:
        if not use_celery_app_trap:
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Celeriac, celery_includes: Sequence[str],
    celery_class_tasks: Sequence[type[Task[..., Any]]], celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadWorker | None]:  # fmt: skip
    """A worker that runs for the whole session."""
    for each in celery_class_tasks:
        celery_session_app.register_task(each)
    with _working(
        celery_session_app, celery_includes, celery_worker_pool, celery_worker_parameters
    ) as worker:
        yield worker


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest, celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any], celery_enable_logging: bool, use_celery_app_trap: bool,
) -> Iterator[Celeriac]:  # fmt: skip
    """An app for one test, on a store of its own in memory."""
    with _made(
        request, celery_config, celery_parameters, celery_enable_logging, use_celery_app_trap
    ) as app:
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Celeriac, celery_includes: Sequence[str], celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadWorker | None]:  # fmt: skip
    """A worker for one test, in a thread."""
    with _working(
        celery_app, celery_includes, celery_worker_pool, celery_worker_parameters
    ) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Celeriac) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()
