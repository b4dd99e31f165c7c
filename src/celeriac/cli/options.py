"""Options that several commands have."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
