"""Celery's module of remote control: a door to :mod:`celeriac.control`.

Layer 4. ``app.control`` is the shorter way to the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from celeriac.control.inspector import Inspect
from celeriac.control.remote import Control

__all__ = ["Control", "Inspect", "flatten_reply"]


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """``{worker: answer}`` of the list of ``{worker: answer}`` that commands return."""
    return {name: answer for each in reply for name, answer in each.items()}
