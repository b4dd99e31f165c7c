"""The pytest plugin: fixtures for tests of applications.

Layer 6. pytest imports this file at every start, of whatever project, so it imports nothing but
pytest until a fixture is asked for. The fixtures, all of them one test long:

- ``celeriac_app``: the app. A new one, unless the marker names one or a fixture of that name in
  the project returns the project's own.
- ``celeriac_harness``: that app on a store of its own in memory (``celeriac.testing.Harness``).
- ``celeriac_clock``: the harness's clock.
- ``celeriac_worker``: a worker in a thread.
- ``celeriac_settings``: settings of the new app, a dictionary.

The marker ``celeriac(app=…, **settings)`` puts a test's app into the harness whether or not the
test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.testing.harness import Harness
    from celeriac.testing.virtual import VirtualClock
    from celeriac.testing.worker import ThreadWorker

__all__ = [
    "celeriac_app",
    "celeriac_clock",
    "celeriac_harness",
    "celeriac_settings",
    "celeriac_worker",
    "pytest_configure",
    "pytest_itemcollected",
]

_MARKER = "celeriac"
#: Set on a test whose marker was read.
_read = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line(
        "markers",
        "celeriac(app=None, **settings): run the test with its app on a store in memory and a "
        "clock that the test drives; app is an app or MODULE:NAME, settings are those of a new one",
    )
    _leave_as_written(config)


def _leave_as_written(config: pytest.Config) -> None:
    """Have pytest not rewrite the assertions of this whole package, as it does with a plugin's.

    They need no explaining, a first run would be slower by it, and a worker's thread may import
    while the test's thread does: Python 3.11 can fail to parse two files at a time. pytest has no
    public way to say so; where this one is gone, all is as it would be without it.
    """
    marked = getattr(config.pluginmanager.rewrite_hook, "_must_rewrite", None)
    if isinstance(marked, set):
        marked.discard(__name__.partition(".")[0])


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let the marker ask for the harness in the test's name."""
    names = getattr(item, "fixturenames", None)
    if names is not None and item.get_closest_marker(_MARKER) and "celeriac_harness" not in names:
        names.insert(0, "celeriac_harness")


def _refuse_unread(given: dict[str, Any], own: Celeriac) -> None:
    """Raise for a marker that the project's own fixture ``celeriac_app`` goes over."""
    app = given.pop("app", own)
    if given or (app is not own and (not isinstance(app, str) or _found(app) is not own)):
        raise TypeError(
            "the marker celeriac names an app or settings, and this project's own fixture "
            "celeriac_app returns another app; leave one of the two away"
        )


def _found(spec: str) -> Celeriac:
    from celeriac.app.loading import find_app

    return find_app(spec)


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker(_MARKER)
    if marker is None:
        return {}
    if marker.args:
        raise TypeError("the marker celeriac takes keywords only: celeriac(app=…)")
    return dict(marker.kwargs)


@pytest.fixture
def celeriac_settings() -> dict[str, Any]:
    """Settings of the app that ``celeriac_app`` makes; for a project to override."""
    return {}


@pytest.fixture
def celeriac_app(
    request: pytest.FixtureRequest, celeriac_settings: dict[str, Any]
) -> Iterator[Celeriac]:
    """The app under test: a new one on a store of its own in memory, or what the marker names."""
    from uuid import uuid4

    from celeriac.app import Celeriac

    request.node.stash[_read] = True
    given = _marked(request)
    app = given.pop("app", None)
    if app is not None and given:
        raise TypeError(
            f"the marker celeriac has an app, which brings its own settings, and {given}; set "
            "them on the app"
        )
    if isinstance(app, str):
        app = _found(app)
    if app is not None:
        yield app
        return
    settings = {"broker": f"memory://{uuid4().hex}", **celeriac_settings, **given}
    with Celeriac("tests", **settings) as made:
        yield made


@pytest.fixture
def celeriac_harness(request: pytest.FixtureRequest, celeriac_app: Celeriac) -> Iterator[Harness]:
    """``celeriac_app`` on a store of its own in memory, with a clock to drive."""
    from celeriac.testing.harness import using

    if _read not in request.node.stash:
        _refuse_unread(_marked(request), celeriac_app)

    with using(celeriac_app) as harness:
        yield harness


@pytest.fixture
def celeriac_clock(celeriac_harness: Harness) -> VirtualClock:
    """The clock of ``celeriac_harness``."""
    return celeriac_harness.clock


@pytest.fixture
def celeriac_worker(celeriac_harness: Harness) -> Iterator[ThreadWorker]:
    """A worker in a thread of this process, for the app of ``celeriac_harness``."""
    with celeriac_harness.worker() as worker:
        yield worker
