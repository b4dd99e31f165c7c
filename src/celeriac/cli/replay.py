"""``celeriac replay``: a recorded task once more, in this terminal, for a look at what it does."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.dead import arguments_shown
from celeriac.cli.options import as_json
from celeriac.cli.output import note, say, say_json
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.progress import Progress
    from celeriac.replay import Recorded, Replayed

_EXAMPLES = """
celeriac -A tasks replay 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks replay 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --pdb
celeriac -A tasks replay 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --json -l error
"""
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Seconds between two lines about progress.
_PACE: Final = 1.0


@click.command("replay", cls=AppCommand, examples=_EXAMPLES)
@click.argument("id")
@click.option(
    "--pdb",
    "debug",
    is_flag=True,
    help="If it raises, open the debugger where that was. Soft time limits are left out then.",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="The least of its log that is shown.",
)
@as_json
@pass_session
def replay_(session: Session, /, id: str, debug: bool, loglevel: str, as_json: bool) -> int:
    """Run the recorded task ID here, in this terminal, with the arguments of its record.

    Record, result and whatever waits for them stay as they are: the return value is printed and
    kept nowhere, states and progress are printed, self.retry() ends the replay and says what would
    have happened. A part of a workflow takes its inputs from stored results.

    Everything else the task does happens for real: it writes to your databases, and the tasks that
    it sends (delay()) are sent and run. They are listed at the end. In the task,
    self.request.is_replay is true. Of its handlers only before_start is called, of the signals
    task_prerun and task_postrun; time limits but the soft one are not kept.

    Exit code 0 if it returns, 1 if it does not.
    """
    if debug and as_json:
        raise click.UsageError("--pdb talks to a person: leave out --json.")
    app = session.load_shared()
    from celeriac.logs import adopt_homeless, setup
    from celeriac.replay import find, replay

    recorded = find(app, id)
    setup(loglevel, color=False if click.get_current_context().color is False else None)
    adopt_homeless()
    if not session.quiet:
        _tell_what(recorded, app)
    hearer = _Hearer()
    # What the task prints is not the answer of a program that is read by another.
    with _without_the_runners_lines(), redirect_stdout(sys.stderr) if as_json else nullcontext():
        found = replay(app, recorded, hearer, limits=not debug)
    hearer.last()
    _tell_sent(found)
    if as_json:
        say_json(_plain_replay(recorded, found))
    else:
        _tell_end(recorded, found)
    if debug and found.error is not None and found.error.__traceback__ is not None:
        import pdb  # noqa: T100 - it was asked for

        pdb.post_mortem(found.error.__traceback__)
    return exits.OK if found.succeeded else exits.FAILURE


@contextmanager
def _without_the_runners_lines() -> Iterator[None]:
    """The runner logs what becomes of tasks, which is not so here."""
    from celeriac.logs import TASK

    log = logging.getLogger(TASK)

    def others(record: logging.LogRecord) -> bool:
        return record.module != "runner"

    log.addFilter(others)
    try:
        yield
    finally:
        log.removeFilter(others)


class _Hearer:
    """Prints what the task would have shown; progress at most once a second, and the last."""

    def __init__(self) -> None:
        self._last: Progress | None = None
        self._told: Progress | None = None
        self._when = float("-inf")

    def __call__(self, state: str | None, value: Any) -> None:
        if state is not None:
            from celeriac.control.phrases import clip

            note(f"(state, not stored) {clip(state)} {clip(_repr(value), 500)}")
            return
        self._last = value
        if time.monotonic() - self._when >= _PACE:
            self.last()

    def last(self) -> None:
        """Print the progress that was not printed yet."""
        said = self._last
        if said is None or said is self._told:
            return
        from celeriac.control.progress import told

        self._told, self._when = said, time.monotonic()
        note(f"(progress, not stored) {told(said, time.time())}")


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything
        return f"<unprintable {type(value).__qualname__}>"


def _tell_what(recorded: Recorded, app: Celeriac) -> None:
    from celeriac import states
    from celeriac.control.phrases import printable

    record = recorded.record
    state = states.visible(record.state, record.retries)
    note(
        f"Replay of {printable(record.task)}[{record.id}] beside its record ({state}), which stays "
        f"as it is. Attempt {recorded.delivery.attempt}, called with "
        f"{arguments_shown(record, app)}. What this run sends or writes is real."
    )
    if record.state in states.HELD:
        note(
            f"{record.worker or 'A worker'} has it just now: this is a second run beside that one."
        )


def _tell_sent(found: Replayed) -> None:
    from celeriac.control.phrases import clip

    for task, id, queue in found.sent:
        note(f"Sent for real: {clip(task)}[{id}] to queue {clip(queue)}")


def _tell_end(recorded: Recorded, found: Replayed) -> None:
    if found.succeeded:
        value = found.value
        from celeriac.cli.tasks import plain

        say(value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False))
        return
    if found.traceback:
        note(found.traceback.rstrip())
    note(_end(recorded, found))


def _end(recorded: Recorded, found: Replayed) -> str:
    """How it ended, in one sentence."""
    from celeriac import states
    from celeriac.control.phrases import duration

    outcome = found.outcome
    if outcome.state not in states.TERMINAL:
        if outcome.charge == "retry":
            when = outcome.delay if outcome.eta is None else max(0.0, outcome.eta - time.time())
            soon = f"in {duration(when)}" if when else "at once"
            number = recorded.delivery.retries + 1
            return (
                f"RETRY: {found.text}. A worker would run it again {soon}, as retry {number}. "
                "The replay ends here."
            )
        if outcome.message is not None:
            return f"{outcome.reason}, which a worker would send. The replay ends here."
        return f"It asks to be put back into its queue: {found.text}. The replay ends here."
    return f"{states.visible(outcome.state)}: {found.text or outcome.reason}"


def _plain_replay(recorded: Recorded, found: Replayed) -> dict[str, Any]:
    from celeriac import states
    from celeriac.cli.tasks import plain

    data: dict[str, Any] = {
        "id": recorded.record.id,
        "task": recorded.record.task,
        "replay": True,
        "state": states.RETRY
        if found.outcome.charge == "retry"
        else states.visible(found.outcome.state),
        "sent": [{"task": task, "id": id, "queue": queue} for task, id, queue in found.sent],
    }
    if found.succeeded:
        return {**data, "result": plain(found.value)}
    return {**data, "error": found.text or found.outcome.reason, "traceback": found.traceback}
