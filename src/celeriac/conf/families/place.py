"""Settings of time and of the modules that hold tasks.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, flag

__all__ = ["FAMILY"]

FAMILY = (
    Setting(
        name="timezone",
        kind="timezone",
        default="UTC",
        help="The zone of an `eta` that names none. Times are stored in UTC whatever it is.",
    ),
    flag(
        "enable_utc",
        default=True,
        help="False asks for local time and needs `timezone` to name the zone.",
    ),
    Setting(
        name="imports",
        kind="module names",
        default=(),
        where="worker",
        help="Modules that a worker imports when it starts.",
    ),
    Setting(
        name="include",
        kind="module names",
        default=(),
        where="worker",
        help="More modules that a worker imports when it starts, after `imports`.",
    ),
)
