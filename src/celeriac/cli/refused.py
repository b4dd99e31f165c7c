"""What people type because Celery has it and this version has not: refused by name, with a way on.

Plain data and one small option class; used by the other modules of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import click

from celeriac.cli import session

#: Command → what to use.
COMMANDS: Final[dict[str, str]] = {
    "amqp": "There is no broker to talk to; `celeriac status` shows queues.",
    "beat": "For now, let cron or a systemd timer run `celeriac -A APP call NAME`.",
    "flower": "`celeriac events` prints what happens, `celeriac status` shows workers and queues.",
    "graph": "`celeriac status` shows workers and queues.",
    "logtool": "`celeriac why ID` says what became of a task.",
    "migrate": "Let the old workers drain their queues, then start the new ones.",
    "multi": "Start each worker as a service of its own: systemd, supervisord, a container.",
    "upgrade": "Celery's setting names are read as they are; `celeriac doctor` names the others.",
}

_SERVICE: Final = "Let the service manager do it: systemd, supervisord, a container."
_PREFETCH: Final = "how much is fetched ahead follows measured duration"
_MEETING: Final = "workers meet in the store"


class RefusedOption(click.Option):
    """An option of Celery's: not shown, and refused with what to do instead."""

    def __init__(self, names: tuple[str, ...], instead: str, *, flag: bool) -> None:
        super().__init__(
            names, hidden=True, expose_value=False, is_flag=flag, callback=self._refuse
        )
        self.instead = instead

    def _refuse(self, ctx: click.Context, param: click.Parameter, value: object) -> None:
        if value not in (None, False):
            text = f"{'/'.join(self.opts)} is not in this version of Celeriac. {self.instead}"
            raise click.UsageError(text, ctx)


class MootOption(click.Option):
    """An option of Celery's that mends what does not occur here: taken with a notice."""

    def __init__(
        self, names: tuple[str, ...], kind: click.ParamType[Any] | type, reason: str
    ) -> None:
        super().__init__(
            names, hidden=True, expose_value=False, callback=self._note, type=kind,
            is_flag=kind is bool,
        )  # fmt: skip
        self.reason = reason

    def _note(self, ctx: click.Context, param: click.Parameter, value: object) -> None:
        if value not in (None, False):
            session.session_of(ctx).moot[self.opts[-1]] = self.reason


def moot() -> list[MootOption]:
    """Options of Celery's worker that change nothing here, as such settings do."""
    return [
        MootOption(("-O", "--optimization"), click.Choice(["default", "fair"]), _PREFETCH),
        MootOption(("--prefetch-multiplier",), click.IntRange(0), _PREFETCH),
        MootOption(("--disable-prefetch",), bool, _PREFETCH),
        MootOption(("-S", "--statedb"), str, "the store keeps what was revoked"),
        MootOption(("--without-gossip",), bool, _MEETING),
        MootOption(("--without-mingle",), bool, _MEETING),
        MootOption(("--without-heartbeat",), bool, "it keeps the leases of this worker's tasks"),
    ]


def refuse(command: click.Command, options: Iterable[tuple[tuple[str, ...], bool, str]]) -> None:
    """Make *command* refuse these options by name: (names, whether it is a flag, what to do)."""
    command.params += [RefusedOption(names, instead, flag=flag) for names, flag, instead in options]


def everywhere() -> list[RefusedOption | MootOption]:
    """Options that Celery takes before the command."""
    return [
        RefusedOption(("--loader",), "Name the application with -A/--app alone.", flag=False),
        MootOption(("--skip-checks",), bool, "there are no checks to skip"),
    ]


#: Options of Celery's worker: names, whether it is a flag, what to do.
WORKER: Final[tuple[tuple[tuple[str, ...], bool, str], ...]] = (
    (("-B", "--beat"), True, COMMANDS["beat"]),
    (("-s", "--schedule-filename", "--schedule"), False, COMMANDS["beat"]),
    (("--scheduler",), False, COMMANDS["beat"]),
    (("--purge", "--discard"), True, "Run `celeriac purge` before the worker."),
    (("--pool-start-method",), False, "Executors are forked from a process made for it."),
    (("--heartbeat-interval",), False, "Set `heartbeat` and `lease` (seconds) in the settings."),
    (("--executable",), False, _SERVICE),
)

#: Options of Celery's `call` and `purge`.
CALL: Final[tuple[tuple[tuple[str, ...], bool, str], ...]] = (
    (("--exchange",), False, "There are no exchanges: name the queue with --queue."),
    (("--routing-key",), False, "There are no exchanges: name the queue with --queue."),
)
_ALL: Final = "It reads the store, which answers for all workers at once"
#: Options of Celery's `status` and `result`.
STATUS: Final[tuple[tuple[tuple[str, ...], bool, str], ...]] = (
    (("-t", "--timeout"), False, f"{_ALL}: there is nothing to wait for."),
    (("-d", "--destination"), False, f"{_ALL}; `celeriac inspect ping -d WORKER` asks one."),
)
RESULT: Final[tuple[tuple[tuple[str, ...], bool, str], ...]] = (
    (("-t", "--task"), False, "The id is enough: a result says itself how it is to be read."),
)
PURGE: Final[tuple[tuple[tuple[str, ...], bool, str], ...]] = (
    (("-X", "--exclude-queues"), False, "Name the queues to empty with -Q/--queues."),
)
