"""Rate limits as people write them: ``'10/s'``, ``'100/m'``, ``'5/h'`` or a number a second.

Layer L1. Plain text in, a number out; for the settings, the options of a task and the worker.
"""

import math
import re

__all__ = ["per_second", "written"]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:/\s*([smh])\s*)?")
_EXPECTED = "a rate limit is '10/s', '100/m', '5/h', or a number of tasks a second"


def per_second(limit: object) -> float | None:
    """Return how many tasks may begin each second; None if *limit* (None, '' or 0) sets none.

    Raises ``ValueError`` that says what a rate limit looks like.
    """
    if limit is None or limit == "":
        return None
    if isinstance(limit, str):
        found = _FORM.fullmatch(limit)
        if found is None:
            raise ValueError(f"{limit!r} is no rate limit; {_EXPECTED}")
        return float(found[1]) / _SECONDS[found[2] or ""] or None
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        text = f"{limit!r} is no rate limit; {_EXPECTED}"
        raise ValueError(text)  # noqa: TRY004 - judges of settings raise it alone
    if not math.isfinite(limit) or limit < 0:
        raise ValueError(f"{limit!r} is no rate limit: it is 0 (no limit) or more; {_EXPECTED}")
    return float(limit) or None


def written(limit: str | float | None) -> str:
    """Return *limit*, which is a valid one, as text: ``'10/s'``, or '' for none."""
    if per_second(limit) is None:
        return ""
    text = limit.replace(" ", "") if isinstance(limit, str) else f"{limit:g}"
    return text if "/" in text else f"{text}/s"
