"""The command line of a worker whose store breaks: calls fail before and after they are applied.

``CHAOS`` is the probability of each; the same arguments as ``celeriac``.
"""

import os
from contextlib import suppress
from pathlib import Path

from noting_worker import beside, noted

from celeriac import stores
from celeriac.testing.faults import Faults, Rule, wrap

CALLS = (
    *(f"queue.{name}"
      for name in ("exchange", "wait_and_lease", "wait", "beat", "reap", "release", "register")),
    *(f"results.{name}" for name in ("get_many", "join_results")),
    *(f"inspection.{name}" for name in ("get", "join")),
)  # fmt: skip


class Noted(Faults):
    """Faults that are written down beside the ledger, and not kept: the worker's memory is
    judged."""

    def run(self, method, call):
        try:
            return super().run(method, call)
        finally:
            while self.injected:
                with suppress(IndexError):  # another thread was faster
                    broken, _ = self.injected.pop()
                    with Path(f"{os.environ['LEDGER']}.broken").open("a") as file:
                        file.write(f"{broken}\n")


def broken(connect, often):
    """*connect*, whose stores break as often, in each process in a way of its own."""
    rules = [Rule(name, kind, probability=often) for name in CALLS for kind in ("before", "after")]
    return lambda *args, **more: wrap(connect(*args, **more), Noted(*rules, seed=os.getpid()))


if __name__ == "__main__":
    # Verdicts are noted next to the store: what was said counts, also if the worker is not told.
    connect = noted(stores.connect, beside(os.environ["LEDGER"]))
    stores.connect = broken(connect, float(os.environ.get("CHAOS", "0")))
    from celeriac.cli import main

    main()
