"""The worker's processes: supervisor, zygote, executors, duties.

Layer 5. Nothing outside the command line, the app's doors and ``testing`` imports this package.
"""

from typing import Final

from celeriac.later import absent

__all__: list[str] = []

_LATER: Final = {
    "WorkController": "Use app.Worker(…).start(), or run `celeriac -A … worker`.",
}


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
