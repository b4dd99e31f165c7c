"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

as_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


def completing(names: Iterable[str]) -> Callable[..., list[str]]:
    """What a shell is offered for an argument that is one of *names*."""
    return lambda _ctx, _param, begun: [name for name in names if name.startswith(begun)]


def names_option(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Read names separated by commas; None stays None."""
    if value is None:
        return None
    names = tuple(dict.fromkeys(each.strip() for each in value.split(",") if each.strip()))
    if not names:
        raise click.BadParameter("names, separated by commas", ctx, param)
    return names


def queues_option(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Read names of queues, refusing what a sender may not name; None stays None."""
    from celeriac.ids import valid_id  # late: the help needs none of it

    names = names_option(ctx, param, value)
    for name in names or ():
        if not valid_id(name):
            text = f"{name!r} is no name of a queue: write 1 to 128 letters, digits and "
            raise click.BadParameter(f"{text}_ . : @ / -, a letter or digit first", ctx, param)
    return names
