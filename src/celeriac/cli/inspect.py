"""``celeriac inspect``: ask the workers that live."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from celeriac.cli.asking import (
    asking,
    check_count,
    check_name,
    described,
    print_list,
    shown,
    tell,
)
from celeriac.cli.command import AppCommand
from celeriac.cli.options import completing
from celeriac.cli.session import Session, pass_session
from celeriac.control.phrases import clip, duration

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
    f"if a worker that was asked did not answer, or none lives.\n\n{described(QUESTIONS)}",
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
    show = _SHOW.get(name, shown)
    return tell(answers or {}, asked.silent, as_json, show, destination)


def _tasks(answer: Any) -> str:
    """Tasks in a worker's hands, for people."""
    if not isinstance(answer, list):
        return shown(answer)  # an error
    return shown([_task(each) for each in answer])


def _scheduled(answer: Any) -> str:
    if not isinstance(answer, list):
        return shown(answer)
    return shown([f"{_task(each['request'])}, due {each['eta']}" for each in answer])


def _states(answer: Any) -> str:
    if not isinstance(answer, dict) or not all(isinstance(v, list) for v in answer.values()):
        return shown(answer)
    return shown([f"{said[0]}: {_task(said[1])}" for said in answer.values()])


def _task(task: Mapping[str, Any]) -> str:
    """``tasks.add[ID] for 12 s, args [1, 2], pid 71``."""
    text = f"{task['name']}[{task['id']}]"
    if task.get("time_start") is not None:
        text += f" for {duration(max(0.0, time.time() - task['time_start']))}"
    for name in ("args", "kwargs"):
        said = str(task.get(name) or "")
        if said not in ("", "()", "{}"):
            text += f", {name} {clip(said)}"
    return f"{text}, pid {task['worker_pid']}" if task.get("worker_pid") else text


_SHOW: Final[dict[str, Callable[[Any], str]]] = {
    "active": _tasks,
    "reserved": _tasks,
    "scheduled": _scheduled,
    "query_task": _states,
}
