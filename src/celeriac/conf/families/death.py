"""Settings of leases, and of what follows when a process dies.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import count, seconds

__all__ = ["FAMILY"]

FAMILY = (
    seconds(
        "lease",
        default=15.0,
        least=0.1,
        where="worker",
        help="How long a worker holds its tasks without being heard of; then they run elsewhere.",
    ),
    seconds(
        "heartbeat",
        default=3.0,
        least=0.01,
        where="worker",
        help="How often a worker renews its lease. Three must fit into `lease` less "
        "`lease_margin`.",
    ),
    seconds(
        "lease_margin",
        default=3.0,
        least=0.0,
        where="worker",
        help="How long before the end of its lease a worker that cannot reach the store stops "
        "trusting it and starts nothing more.",
    ),
    seconds(
        "reap_interval",
        default=2.0,
        least=0.01,
        where="store",
        help="How often, in the whole store, workers look for workers that died. A dead worker on "
        "the same machine is noticed without it, in under a second.",
    ),
    count(
        "max_crashes",
        default=3,
        unit="crashes",
        least=1,
        where="worker",
        help="A task that killed its executor this often is put aside as dead.",
    ),
    seconds(
        "crash_delay",
        default=5.0,
        least=0.0,
        where="worker",
        help="The wait, give or take some jitter, before a task runs again after its second "
        "crash. After the first there is none.",
    ),
    count(
        "max_losses",
        default=10,
        unit="losses",
        least=1,
        where="worker",
        help="A task that was lost with its whole worker this often is put aside as dead.",
    ),
    seconds(
        "loss_delay",
        default=5.0,
        least=0.0,
        where="store",
        help="The wait, give or take some jitter, before a task runs again after it was lost with "
        "its worker a second time or more.",
    ),
)
