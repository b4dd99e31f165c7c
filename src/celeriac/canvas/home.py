"""Where signatures find what lies above them: apps, and what sends workflows.

Layer 3: the layers above fill this in when they are loaded; this one must not import them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["App", "Home"]


class App(Protocol):
    """What a signature needs of an app."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The registry."""

    def send_task(self, name: str, args: Any, kwargs: Any, **options: Any) -> Any:
        """Send a call by name."""


class Home:
    """What the layers above, and ``canvas.joining``, have put here."""

    #: The app of a signature that was made from plain data.
    current: Callable[[], App] | None = None
    #: What sends, runs and freezes workflows: the module ``celeriac.flows``, loaded when needed.
    flows: Callable[[], Any] | None = None
    #: What ``|`` does.
    join: Callable[[Any, Any], Any] | None = None
