"""``celeriac inspect``: ask the workers that live."""

from __future__ import annotations

from typing import Any, Final

import click

from celeriac.cli.asking import (
    asking,
    check_count,
    check_name,
    completing,
    described,
    print_list,
    shown,
    tell,
)
from celeriac.cli.command import AppCommand
from celeriac.cli.session import Session, pass_session

QUESTIONS: Final = {
    "ping": ("", "Does it answer?"),
    "active": ("", "Tasks that run now."),
    "reserved": ("", "Tasks it holds and has not begun."),
    "scheduled": ("", "Tasks with a later time, under a worker that reads their queue."),
    "registered": ("[ATTRIBUTE ...]", "Tasks it knows; with attributes, such as rate_limit."),
    "active_queues": ("", "Queues it takes tasks from."),
    "stats": ("", "Counts, pool, memory, uptime."),
    "conf": ("[with_defaults]", "Its settings, secrets hidden."),
    "report": ("", "Versions, platform and settings, for a bug report."),
    "revoked": ("", "Ids of revoked tasks."),
    "query_task": ("ID [ID ...]", "Is a task in its hands?"),
}
_LATER: Final = {
    "clock": "Workers keep no logical clock.",
    "hello": "Workers do not mingle; they meet in the store.",
    "memdump": "`inspect stats` shows memory.",
    "memsample": "`inspect stats` shows memory.",
    "objgraph": "Look into an executor with py-spy.",
}
_EXAMPLES = """
celeriac -A tasks inspect ping
celeriac -A tasks inspect active -d celeriac@web1 --json
celeriac -A tasks inspect registered rate_limit time_limit
celeriac -A tasks inspect query_task 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
"""


@click.command(
    cls=AppCommand,
    examples=_EXAMPLES,
    help="Ask the workers that live.\n\nIt ends when the last of them has answered. Exit code 69 "
    f"if no worker answered.\n\n{described(QUESTIONS)}",
)
@click.argument("question", required=False, shell_complete=completing(QUESTIONS))
@click.argument("arguments", nargs=-1)
@asking
@pass_session
def inspect(
    session: Session,
    /,
    question: str | None,
    arguments: tuple[str, ...],
    destination: str | None,
    timeout: float,
    as_json: bool,
    listed: bool,
) -> int:
    """See ``help``."""
    if listed:
        return print_list(QUESTIONS)
    name = check_name(question, QUESTIONS, "inspect", _LATER)
    check_count(name, arguments, QUESTIONS)
    if name == "conf" and arguments not in ((), ("with_defaults",)):
        raise click.UsageError("conf takes nothing, or with_defaults.")
    app = session.load_shared()
    names = None if destination is None else [each for each in destination.split(",") if each]
    asked = app.control.inspect(names, timeout=timeout)
    asked.warns = False
    call = getattr(asked, name)
    answers = call(bool(arguments)) if name == "conf" else call(*arguments)
    return tell(answers or {}, asked.silent, as_json, _show)


def _show(answer: Any) -> str:
    """An answer for people."""
    if isinstance(answer, dict) and answer and all(isinstance(v, list) for v in answer.values()):
        return shown([{"id": id, "state": said[0], **said[1]} for id, said in answer.items()])
    return shown(answer)
