"""Settings of how long what has ended is kept.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import count, seconds

__all__ = ["FAMILY"]

DAY = 86_400.0

FAMILY = (
    seconds(
        "result_expires",
        default=DAY,
        least=0.0,
        none="results are kept for ever (0 means the same)",
        where="store",
        help="How long a result is kept once its task ended.",
    ),
    seconds(
        "tombstone_expires",
        default=3_600.0,
        least=1.0,
        where="store",
        help="How long the trace of an ignored result is kept, to know a call that is sent twice.",
    ),
    seconds(
        "revoke_expires",
        default=7 * DAY,
        least=1.0,
        where="store",
        help="How long a revoke of an id that is not known yet, or of a stamp, is kept, to meet "
        "calls that come later.",
    ),
    seconds(
        "dead_expires",
        default=7 * DAY,
        least=1.0,
        where="store",
        help="How long failed tasks and dead tasks can be inspected and retried.",
    ),
    count(
        "dead_limit",
        default=100_000,
        unit="tasks",
        least=1,
        where="store",
        help="The most failed tasks, and the most dead tasks, that are kept; the oldest go first.",
    ),
)
