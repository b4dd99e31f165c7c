"""``celeriac settings``: what the settings are, and where each was written."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json, completing
from celeriac.cli.output import note, say_json, table
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_EXAMPLES = """
celeriac -A tasks settings
celeriac -A tasks settings task_time_limit task_soft_time_limit
celeriac -A tasks settings --all
celeriac -A tasks settings --changed --json
"""

#: Shown even where nothing sets them, because they say where tasks go.
_MAIN: Final = ("broker_url", "result_backend", "namespace", "task_default_queue", "timezone")


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    from celeriac.conf import SETTINGS  # late: the help needs none of it

    return completing(SETTINGS)(ctx, param, begun)


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete)
@click.option("--all", "everything", is_flag=True, help="Those at their defaults as well.")
@click.option("--changed", is_flag=True, help="Only those that something sets.")
@as_json
@pass_session
def settings(
    session: Session, /, names: tuple[str, ...], everything: bool, changed: bool, as_json: bool
) -> None:
    """Print the settings that are in force, and where each comes from.

    Without options: those that something sets, and the few that say where tasks go. A worker's
    own command line goes over all of them. Passwords and secrets are hidden.

    Where: `command line`, `environment variable NAME`, the module or object that
    `config_from_object` named, `code (FILE:LINE)`, `add_defaults`, `default`.
    """
    if sum((bool(names), everything, changed)) > 1:
        raise click.UsageError("Give names, --all or --changed, one of them.")
    # What changes nothing is told below.
    warnings.filterwarnings("ignore", message=".* sets what changes nothing here")
    app = session.load()
    rows = [_row(app, name) for name in _chosen(app, names, everything, changed)]
    moot = [] if names else _moot(app)
    if as_json:
        say_json({"settings": rows, "without_meaning": moot})
        return
    if rows:
        shown = ((row["name"], _text(row), row["from"]) for row in rows)
        table(("SETTING", "VALUE", "FROM"), shown)
    elif not moot:
        note("All settings are as they are by default.")
    for each in moot:
        note(f"{each['name']} changes nothing: {each['reason']} ({each['from']})")


def _chosen(app: Celeriac, names: tuple[str, ...], everything: bool, changed: bool) -> list[str]:
    from celeriac.conf import SETTINGS, read_mapping

    conf = app.conf
    if everything:
        return list(conf)
    if names:
        unknown = [each for each in names if each not in SETTINGS]
        if unknown:
            told = read_mapping(dict.fromkeys(unknown, ...), "").problems or unknown
            raise click.UsageError("There is no such setting: " + "; ".join(told))
        return list(dict.fromkeys(names))
    kept = () if changed else _MAIN
    return [name for name in conf if name in kept or conf.origin(name) != "default"]


def _row(app: Celeriac, name: str) -> dict[str, Any]:
    """One setting as JSON gives it; `value` is plain data, or text where that cannot be."""
    from celeriac.conf import SETTINGS, masked

    setting, conf = SETTINGS[name], app.conf
    value = conf[name]
    if name == "broker_url" and value is None:
        value = app.broker_url  # the file that stands for None
    return {
        "name": name,
        "value": masked(setting, value),
        "unit": setting.unit,
        "from": conf.place(name),
        "layer": conf.origin(name),
        "meaning_of_none": setting.none if value is None else "",
    }


def _text(row: dict[str, Any]) -> str:
    none = f" ({row['meaning_of_none']})" if row["meaning_of_none"] else ""
    unit = f" {row['unit']}" if isinstance(row["value"], int | float) and row["unit"] else ""
    value = row["value"] if isinstance(row["value"], str) else repr(row["value"])
    return f"{value or repr(value)}{unit if row['value'] is not True else ''}{none}"


def _moot(app: Celeriac) -> list[dict[str, str]]:
    """Celery's settings that are set and have no meaning here. Their values may be secret."""
    conf = app.conf
    return [
        {"name": name, "reason": reason, "from": conf.moot_place(name)}
        for name, reason in conf.moot.items()
    ]
