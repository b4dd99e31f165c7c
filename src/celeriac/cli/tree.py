"""``celeriac tree``: a workflow, what of it has not ended and why, now or while it goes on."""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json
from celeriac.cli.output import note, say, say_json
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.flowtree import Tree

_EXAMPLES = """
celeriac -A tasks tree 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks tree 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --watch
celeriac -A tasks tree 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --all | less
celeriac -A tasks tree 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --json | jq .counts
"""
#: Seconds between two looks at most as often, and how much longer than a look takes.
_LOOK: Final = 1.0
_EASE: Final = 4
#: An id as ``ids.new_task_id`` makes it; its end tells those of one workflow apart.
_ID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){4}([0-9a-f]{8})\b")
#: Ids that are waited for at once.
_WAITED: Final = 500


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.argument("id")
@click.option(
    "--watch",
    is_flag=True,
    help="Show it again whenever it has changed, at most once a second, until all has ended: on a "
    "terminal in place, else one after the other; with --json an object a line. Ctrl-C ends the "
    "watching, never the workflow.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Show all members of long groups, and errbacks that were not needed.",
)
@as_json
@pass_session
def tree(session: Session, /, id: str, watch: bool, every: bool, as_json: bool) -> int:
    """Show the workflow that ID is in as a tree: what failed, what runs, what waits and why.

    ID is that of any of its tasks, of a group, or of its result. Exit code 0 if all has ended well,
    5 if something ended without success, 6 if nothing did and some has not ended, 4 if no such
    workflow is known. What tasks sent by themselves is shown, and not counted.
    """
    app = session.load_shared()
    with nullcontext() if watch else _collecting_nothing():
        found, now = _read(app, id, every=every)
        if found is None:
            return _missing(session, app, id, as_json=as_json)
        if not watch:
            _print(found, now, every=every, as_json=as_json)
            if not as_json:
                _say_next(found, session.app)
            return _code(found)
    return _Watch(app, id, every=every, as_json=as_json).until_it_ends(found, now)


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Nothing that is read is given up before it is printed: to look for it costs an eighth of the
    time that ten thousand tasks take."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _read(app: Celeriac, id: str, *, every: bool) -> tuple[Tree | None, float]:
    from celeriac.control.flowreading import read_tree, source_of

    now = time.time()
    return read_tree(source_of(app), id, now, every=every), now


def _code(found: Tree) -> int:
    if found.failed:
        return exits.TASK_FAILED
    return exits.OK if found.ready else exits.TIMED_OUT


def _missing(session: Session, app: Celeriac, id: str, *, as_json: bool) -> int:
    from celeriac.control.inspect import without_record

    explained = without_record(app.store, id, session.app)
    if as_json:
        say_json(explained.as_dict())
        return exits.NOT_FOUND
    note(explained.reason)
    for name, value in explained.facts:
        note(f"  {name}: {value}")
    for line in explained.advice:
        note(line)
    return exits.NOT_FOUND


def _print(found: Tree, now: float, *, every: bool, as_json: bool) -> None:
    if as_json:
        # Of ten thousand tasks this takes a tenth of what the standard library does.
        say(msgspec.json.format(msgspec.json.encode(_plain(found)), indent=2).decode())
    else:
        say("\n".join(_lines(found, now, every=every)))


def _say_next(found: Tree, spec: str) -> None:
    """Which command goes on from what failed."""
    from celeriac.control.phrases import commands
    from celeriac.control.treetext import next_steps

    steps = next_steps(found)
    if steps:
        say("\nWhat to do:")
        for each in steps:
            say(f"  {commands(each, spec)}")


def _plain(found: Tree) -> dict[str, Any]:
    return {"ready": found.ready, "failed": found.failed, **found.as_dict()}


def _lines(found: Tree, now: float, *, every: bool) -> list[str]:
    from celeriac.control.treetext import summary, tree_lines

    return [summary(found), *tree_lines(found, now, every=every)]


def fitted(line: str, columns: int) -> str:
    """*line* in so many columns. Ids give way first: what is behind them says why it waits, and
    what stands there in the end has them whole."""
    from celeriac.control.progress import cut, width

    return cut(line if width(line) <= columns else _ID.sub(r"…\1", line), columns)


class _Watch:
    """A workflow while it goes on."""

    def __init__(self, app: Celeriac, id: str, *, every: bool, as_json: bool) -> None:
        self._app = app
        self._id = id
        self._every = every
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._show: Callable[[Tree, float], None] = self._append
        if as_json:
            self._show = self._append_json
        elif terminal:
            self._show = self._draw
        self._before: list[tuple[Any, ...]] | None = None
        #: Lines that stand there and are to be drawn over.
        self._drawn = 0

    def until_it_ends(self, found: Tree | None, now: float) -> int:
        """Show it until all of it has ended; return the exit code."""
        last = found
        took = 0.0
        try:
            while found is not None:
                last = found
                self._show(found, now)
                if found.ready:
                    break
                self._wait(found, max(_LOOK, took * _EASE))
                before = time.monotonic()
                found, now = _read(self._app, self._id, every=self._every)
                took = time.monotonic() - before
        except KeyboardInterrupt:
            return exits.INTERRUPTED
        if found is None or last is None:
            note(f"Nothing of {self._id} is kept any longer.")
            return exits.NOT_FOUND
        if self._drawn:
            self._clear()
            _print(last, now, every=self._every, as_json=False)
        return _code(last)

    def _wait(self, found: Tree, seconds: float) -> None:
        """Until one has ended, or it is time for another look, and not less than a second."""
        from celeriac.states import READY_STATES

        began = time.monotonic()
        ids = [each.id for each in found.tasks() if each.state not in READY_STATES][:_WAITED]
        self._app.results.wait(ids, seconds)
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))

    def _changed(self, found: Tree) -> bool:
        """Whether something is different, apart from how long it takes."""
        seen: list[tuple[Any, ...]] = [
            (each.id, each.state, each.code, each.retries) for each in found.tasks()
        ]
        before, self._before = self._before, seen
        return seen != before

    def _append(self, found: Tree, now: float) -> None:
        if self._changed(found):
            say("\n".join([*_lines(found, now, every=self._every), ""]))

    def _append_json(self, found: Tree, now: float) -> None:
        if self._changed(found):
            say(msgspec.json.encode(_plain(found)).decode())

    def _draw(self, found: Tree, now: float) -> None:
        """Over what stands there, as much of it as the terminal holds."""
        columns, rows = shutil.get_terminal_size()
        lines = _lines(found, now, every=self._every)
        if len(lines) > rows - 1:
            left = len(lines) - (rows - 2)
            lines = [*lines[: rows - 2], f"… {left:,} more lines"]
        self._clear()
        say("\n".join(fitted(each, columns - 1) for each in lines))
        self._drawn = len(lines)

    def _clear(self) -> None:
        if self._drawn:
            click.echo(f"\x1b[{self._drawn}A\x1b[J", nl=False)
        self._drawn = 0
