"""``celeriac doctor``: look at a set-up and say what is wrong with it."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from celeriac import __version__
from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json
from celeriac.cli.output import facts, heading, say, say_json
from celeriac.cli.session import Session, pass_session
from celeriac.conf import without_password
from celeriac.exceptions import BackendError, ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.control.doctor import Finding

_EXAMPLES = """
celeriac -A tasks doctor
celeriac -A tasks doctor --json | jq -r '.findings[].what'
celeriac -A tasks doctor -q || mail -s "task queue" ops@example.com < /dev/null
"""


@click.command(cls=AppCommand, examples=_EXAMPLES)
@as_json
@pass_session
def doctor(session: Session, /, as_json: bool) -> int:
    """Find what is wrong with a set-up: settings, store, workers, queues, clocks, permissions.

    Each finding says what it is, what it concerns and what to do. Exit code 0 if nothing was
    found (notes do not count), 1 if something was; 2 if the application cannot be imported and 3
    if the store cannot be opened, because then it cannot look further.
    """
    app = session.load()
    about, found, code = _look(app, session.app)
    wrong = [each for each in found if not each.note]
    if not code:
        code = exits.FAILURE if wrong else exits.OK
    if as_json:
        say_json({"ok": code == exits.OK, "facts": about, "findings": [f.as_dict() for f in found]})
        return code
    if not session.quiet:
        facts([(name, str(value)) for name, value in about.items()], indent="")
        say()
    for each in found:
        _show(each)
    if not wrong:
        say("Nothing wrong was found.")
    return code


def _look(app: Celeriac, spec: str) -> tuple[dict[str, object], list[Finding], int]:
    """What the set-up is, what was found, and the exit code if the store cannot be opened."""
    from celeriac.control.doctor import Finding, examine, judge, settings_findings
    from celeriac.control.phrases import commands

    found = list(settings_findings(app.conf))
    about = _about(app)
    if str(app.broker_url).startswith("memory:"):
        what = "the store lives inside one process; a worker in another cannot see it"
        advice = "Set broker_url to a sqlite:// URL."
        return about, [*found, Finding("memory", what, str(app.broker_url), advice)], 0
    names = _own_tasks(app)
    try:
        app.client.directions.check_routes()
        known = app.client.directions.known(names)
    except ImproperlyConfigured as error:
        known = None
        advice = "Correct task_routes, or declare the queue in task_queues."
        found.append(Finding("routes", str(error), "task_routes", advice))
    try:
        checkup = examine(
            app.store, tasks=names, version=__version__, now=time.time(), app=spec, known=known
        )
    except (OperationalError, BackendError, ImproperlyConfigured) as error:
        url = without_password(app.broker_url)
        # Most of these begin with the place, which stands before them here.
        what = str(error).removeprefix(f"{url}: ").removeprefix(f"{url} ")
        advice = "Mend what the message names, or name another store with broker=…"
        return about, [Finding("store", what, f"store {url}", advice), *found], exits.STORE
    about |= {name: _plain(value) for name, value in checkup.facts.items()}
    if app.backend_url is not None:
        from celeriac.control.elsewhere import examine_pair

        url = without_password(app.backend_url)
        pair = examine_pair(app.store, lambda: app.backend_store, url)
        found += [replace(each, advice=commands(each.advice, spec)) for each in pair]
    return about, sorted([*judge(checkup), *found], key=lambda each: each.note), 0


def _about(app: Celeriac) -> dict[str, object]:
    changed = app.conf.humanize().splitlines()
    return {
        "celeriac": __version__,
        "python": platform.python_version(),
        "app": app.main or "(unnamed)",
        "broker": without_password(app.broker_url),
        "results": _results_at(app),
        "namespace": app.conf.namespace,
        "tasks": len(_own_tasks(app)),
        "settings": "; ".join(changed) if changed else "all as they are by default",
    }


def _results_at(app: Celeriac) -> str:
    if app.backend_url is not None:
        return without_password(app.backend_url)
    return "beside the tasks" if app.keeps_results else "dropped"


def _own_tasks(app: Celeriac) -> list[str]:
    """The application's tasks without those that the library brings."""
    return [name for name in app.tasks if not name.startswith(("celery.", "celeriac."))]


def _plain(value: object) -> object:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(each) for each in value) or "none"
    return value


def _show(each: Finding) -> None:
    heading(f"{'note' if each.note else 'FOUND'}: {each.where}: {each.what}")
    say(f"  {each.advice}")
