"""``worker -P``, ``-c`` and ``--autoscale``: what they take, and what is refused with a way on."""

from __future__ import annotations

import difflib
from typing import Final

import click

POOLS: Final = ("prefork", "threads", "asyncio", "solo")
#: Pools of Celery's that are not built, and what to use.
INSTEAD: Final = {
    "gevent": "Use asyncio (for async def tasks) or threads.",
    "eventlet": "Use asyncio (for async def tasks) or threads.",
    "custom": "Use prefork, threads, asyncio or solo.",
}
_CHOICE: Final = "Use prefork, threads, asyncio or solo."


def pool(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take the name of a pool."""
    if value == "processes":  # Celery's other name
        return "prefork"
    if value is None or value in POOLS:
        return value
    if value in INSTEAD:
        text = f"the pool {value!r} is not in this version of Celeriac. {INSTEAD[value]}"
        raise click.BadParameter(text, ctx, param)
    near = difflib.get_close_matches(value.lower(), POOLS, 1)
    hint = f"Did you mean {near[0]}?" if near else _CHOICE
    raise click.BadParameter(f"there is no pool {value!r}. {hint}", ctx, param)


def concurrency(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Take a number of tasks at once, or ``auto``."""
    if value is None:
        return None
    if value.lower() == "auto":
        from celeriac.worker.resources import cpu_budget

        return cpu_budget()
    if not value.isdigit() or int(value) < 1:
        text = f"{value!r} is not a number from 1 on, or auto for the cores it may use"
        raise click.BadParameter(text, ctx, param)
    return int(value)


def autoscale(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Take ``MAX,MIN``, or ``MAX`` alone for a MIN of 1."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        text = f"{value!r} is not MAX,MIN: two whole numbers, the most tasks at once and the fewest"
        raise click.BadParameter(text, ctx, param)
    most, least = int(parts[0]), int(parts[1]) if len(parts) == 2 else 1
    if least < 1 or most < 1:
        text = f"{value!r}: MAX and MIN are numbers from 1 on; a worker for nothing need not run"
        raise click.BadParameter(text, ctx, param)
    if least > most:
        text = f"the fewest, {least}, is more than the most, {most}"
        raise click.BadParameter(f"{text}: write --autoscale={least},{most}", ctx, param)
    return most, least


def check(pool: str | None, concurrency: int | None, autoscale: tuple[int, int] | None) -> None:
    """Refuse options that contradict each other."""
    if autoscale is None:
        return
    if concurrency is not None:
        raise click.UsageError(
            "-c/--concurrency and --autoscale contradict each other: the one fixes how many tasks "
            "run at once, the other varies it. Give one of them."
        )
    if pool == "solo":
        raise click.UsageError(
            "--autoscale and -P solo contradict each other: solo runs one task at a time."
        )
