"""The command line of a worker whose store breaks: calls fail before and after they are applied.

``CHAOS`` is the probability of each; the same arguments as ``celeriac``.
"""

import os

from celeriac import stores
from celeriac.testing.faults import Faults, Rule, wrap

CALLS = ("exchange", "beat", "reap", "release", "register", "wait")


def broken(connect, often):
    """*connect*, whose stores break as often."""
    faults = Faults(
        *(Rule(f"queue.{name}", kind, probability=often)
          for name in CALLS for kind in ("before", "after")),
        seed=os.getpid(),
    )  # fmt: skip
    return lambda *args, **more: wrap(connect(*args, **more), faults)


if __name__ == "__main__":
    stores.connect = broken(stores.connect, float(os.environ.get("CHAOS", "0")))
    from celeriac.cli import main

    main()
