"""The command line of a worker whose store breaks: calls fail before and after they are applied.

``CHAOS`` is the probability of each. With ``CHAOS_FIRST``, which is ``before`` or ``after``, every
call of every process fails in that way first, and then in the other. The same arguments as
``celeriac``.
"""

import os
from pathlib import Path

from noting_worker import beside, noted

from celeriac import stores
from celeriac.testing.faults import CALLS, Faults, Rule, wrap

KINDS = ("before", "after")


class Noted(Faults):
    """Faults that are written down beside the ledger, and not kept: the worker's memory is
    judged."""

    def _choose(self, method):
        chosen = super()._choose(method)
        if chosen:
            self.injected.clear()
            with Path(f"{os.environ['LEDGER']}.broken").open("a") as file:
                file.write("".join(f"{method} {each.kind}\n" for each in chosen))
        return chosen


def rules(often, first):
    """What :func:`broken` breaks: each call *often*, and each once in both ways, *first* in one."""
    found = [Rule(name, kind, probability=often) for name in sorted(CALLS) for kind in KINDS]
    if first:
        found += [
            Rule(name, kind, hit=1 if kind == first else 2)
            for name in sorted(CALLS)
            for kind in KINDS
        ]
    return found


def broken(connect):
    """*connect*, whose stores break as the environment says, each process in a way of its own."""
    often, first = float(os.environ.get("CHAOS", "0")), os.environ.get("CHAOS_FIRST", "")
    faults = {}

    def opened(*args, **more):
        # One for all stores of a process: who opens one anew, since a call failed, meets what comes
        # next, and not the same fault for ever.
        pid = os.getpid()
        if pid not in faults:
            faults[pid] = Noted(*rules(often, first), seed=pid)
        return wrap(connect(*args, **more), faults[pid])

    return opened


def break_stores():
    """Let all stores of this process, and of those it forks, break."""
    # Verdicts are noted next to the store: what was said counts, also if the worker is not told.
    stores.connect = broken(noted(stores.connect, beside(os.environ["LEDGER"])))


if __name__ == "__main__":
    break_stores()
    from celeriac.cli import main

    main()
