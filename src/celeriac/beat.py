"""The sender of periodic tasks: not in this version.

Layer 5. Refused by name, so that whoever imports one is told what to do instead.
"""

from __future__ import annotations

from typing import Final

from celeriac.later import absent

__all__: list[str] = []

_LATER: Final = dict.fromkeys(
    [
        "Scheduler",
        "PersistentScheduler",
        "Service",
        "EmbeddedService",
        "ScheduleEntry",
        "SchedulingError",
        "BeatLazyFunc",
        "BeatPidbox",
    ],
    "Let cron or a systemd timer run `celeriac -A APP call NAME`.",
)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
