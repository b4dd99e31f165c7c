"""One soak of one store, from its first strike to its report, whatever breaks on the way."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from soak_faults import stage
from soak_report import Report
from soak_scene import Soak

STORES = ("sqlite", "redis", "valkey")
#: Generations that are under way at once, unless told otherwise.
AHEAD = 3


def soak(
    kind: str,
    seed: str,
    first: int,
    seconds: float,
    folder: Path,
    *,
    steady: bool = True,
    ahead: int = AHEAD,
    enough: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = print,
) -> Report:
    """Soak a store of that *kind* for so many seconds, from the generation *first* of *seed* on.

    What breaks it off (somebody does not end, a result does not come) is a problem like any other:
    its seed is to be kept and the stores after this one have their turn.
    """
    report = Report(kind, seed, folder)
    folder.mkdir(parents=True)
    under_way: Soak | None = None
    try:
        with stage(kind, folder) as (place, store, url):
            under_way = Soak(place, store, url, report, first=first, steady=steady, ahead=ahead)
            try:
                under_way.run(seconds, enough, tell)
            finally:
                store.lasting.end(everything=True)
                if under_way.client is not None:
                    under_way.end_client()
    except Exception as error:
        found = "".join(traceback.format_exception(error))
        report.wrong(f"the soak broke off, {type(error).__name__}: {error}\n{found}")
    report.seed = report.begins(first, first if under_way is None else under_way.next - 1)
    return report
