"""The table of what ``acceptance/test_recovery.py`` measured, and how long what is promised in
seconds may take in tests."""

import os
import statistics
from collections.abc import Iterable, Iterator

#: How the faults are called that struck once, with the lease and beat that workers have by default.
BY_DEFAULT = " (lease 15 s)"
#: How often a fault strikes. Once (`make test`) means among other tests, on a machine that is busy
#: with them.
RUNS = int(os.environ.get("RECOVERY_RUNS", "1"))
#: Seconds that one strike alone gets besides.
BESIDES = 20.0 if RUNS == 1 else 0.0


def table(recoveries: Iterable[tuple[str, str, float, list[float]]]) -> Iterator[str]:
    """Lines of Markdown: of each fault on each store the median, the worst and what is promised.

    *recoveries*: (store, fault, promised seconds, seconds of each strike), in the order in which
    faults and stores are to be shown.
    """
    rows: dict[tuple[str, float], dict[str, list[float]]] = {}
    for store, fault, limit, seconds in recoveries:
        rows.setdefault((fault, limit), {})[store] = seconds
    stores = list(dict.fromkeys(store for found in rows.values() for store in found))
    strikes = {
        len(each)
        for (fault, _), found in rows.items()
        for each in found.values()
        if not fault.endswith(BY_DEFAULT)
    }
    many = " or ".join(map(str, sorted(strikes)))
    yield f"| seconds, median (worst) of {many} | promised | " + " | ".join(stores) + " |"
    yield "|---|---|" + "---|" * len(stores)
    for (fault, limit), found in rows.items():
        cells = [_cell(found.get(store)) for store in stores]
        yield f"| {fault} | < {limit:g} | " + " | ".join(cells) + " |"


def _cell(seconds: list[float] | None) -> str:
    if seconds is None:
        return "–"
    if len(seconds) == 1:
        return f"{seconds[0]:.2f}"
    return f"{statistics.median(seconds):.2f} ({max(seconds):.2f})"
