"""Following a task: its state and progress while it goes on, for ``result --follow``.

A bar on a terminal, lines where standard error goes elsewhere, one JSON object a change for
programs. Bar and lines go to standard error, so that the result stays alone on standard output.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli.output import note

if TYPE_CHECKING:
    from celeriac.groupresult import GroupResult
    from celeriac.progress import Progress
    from celeriac.result import AsyncResult

#: Seconds between two looks, and between two lines.
_LOOK: Final = 0.2
_LINE: Final = 1.0


class Follower:
    """Shows how far a task is, whenever it is called.

    Args:
        pending: the result of a task, or of a group.
        as_json: print JSON instead.
    """

    def __init__(self, pending: AsyncResult[Any] | GroupResult, *, as_json: bool) -> None:
        self._pending = pending
        self._as_json = as_json
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.interval = _LOOK if as_json or self._terminal else _LINE
        self._before: tuple[str, Progress | None] | None = None
        #: Columns of the bar that stands there; 0: none.
        self._drawn = 0

    def __call__(self) -> None:
        """Look, and show what has changed."""
        from celeriac.exceptions import OperationalError

        try:
            seen = self._look()
        except OperationalError:
            return  # whoever waits for the end tells of it, and tries again
        if seen is None:
            return
        before, self._before = self._before, seen
        if self._terminal and not self._as_json:
            self._draw(*seen)  # even if nothing is new: for how long that is so may be
        elif seen != before:
            self._print(*seen)

    def close(self) -> None:
        """Show where it stands in the end, and leave the line."""
        self()
        if self._drawn:
            click.echo(err=True)
        self._drawn = 0

    def say(self, data: dict[str, Any]) -> None:
        """Print one JSON object on one line, with the last progress."""
        progress = None if self._before is None else self._before[1]
        whole = {**data, "progress": None if progress is None else progress.as_dict()}
        click.echo(json.dumps(whole, ensure_ascii=False, default=str))

    def _look(self) -> tuple[str, Progress | None] | None:
        from celeriac import states
        from celeriac.ends import progress_of
        from celeriac.groupresult import GroupResult as Group

        if isinstance(self._pending, Group):
            from celeriac.cli.groups import state_of_group

            return state_of_group(self._pending), self._pending.progress
        app = self._pending.app
        found = app.results.get_many([self._pending.id])[0]
        if found is None:
            return None
        state = states.visible(found.state, found.retries, found.custom_state)
        return state, progress_of(app, found)

    def _print(self, state: str, progress: Progress | None) -> None:
        if not self._as_json:
            note(_text(state, progress, with_bar=False))
            return
        from celeriac import states

        if state in states.READY_STATES:
            return  # the result is printed next, and tells it
        self.say({"id": self._pending.id, "state": state, "ready": False})

    def _draw(self, state: str, progress: Progress | None) -> None:
        from celeriac.control.progress import cut, width

        text = cut(_text(state, progress, with_bar=True), shutil.get_terminal_size().columns - 1)
        columns = width(text)
        click.echo(f"\r{text}{' ' * (self._drawn - columns)}", nl=False, err=True)
        self._drawn = columns


def _text(state: str, progress: Progress | None, *, with_bar: bool) -> str:
    from celeriac.control.phrases import printable
    from celeriac.control.progress import bar, told
    from celeriac.states import READY_STATES

    if progress is None:
        return printable(state)
    shown = (bar if with_bar else told)(progress, time.time(), ended=state in READY_STATES)
    return f"{printable(state)} {shown}"
