"""``celeriac report``: what a bug report should say."""

from __future__ import annotations

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json
from celeriac.cli.output import say, say_json
from celeriac.cli.session import Session, pass_session

_EXAMPLES = """
celeriac -A tasks report
celeriac -A tasks report --json
"""


@click.command(cls=AppCommand, examples=_EXAMPLES)
@as_json
@pass_session
def report(session: Session, /, as_json: bool) -> int:
    """Print versions, platform, store and settings for a bug report, secrets hidden.

    `celeriac inspect report` prints those of the workers.
    """
    app = session.load()
    from celeriac.control.report import facts

    if as_json:
        say_json(facts(app.conf, app.broker_url, app.main or ""))
    else:
        say(app.bugreport().rstrip("\n"))
    return exits.OK
