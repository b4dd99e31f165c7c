"""The table of what ``acceptance/test_recovery.py`` measured."""

import statistics
from collections.abc import Iterable, Iterator


def table(recoveries: Iterable[tuple[str, str, float, list[float]]]) -> Iterator[str]:
    """Lines of Markdown: of each fault on each store the median, the worst and what is promised."""
    rows = {}
    for store, fault, limit, seconds in recoveries:
        rows.setdefault((fault, limit), {})[store] = seconds
    stores = sorted({store for found in rows.values() for store in found}, reverse=True)
    yield "| seconds, median (worst) of so many | promised | " + " | ".join(stores) + " |"
    yield "|---|---|" + "---|" * len(stores)
    for (fault, limit), found in rows.items():
        cells = [_cell(found.get(store)) for store in stores]
        yield f"| {fault} | < {limit:g} | " + " | ".join(cells) + " |"


def _cell(seconds: list[float] | None) -> str:
    if seconds is None:
        return "–"
    return f"{statistics.median(seconds):.2f} ({max(seconds):.2f}) of {len(seconds)}"
