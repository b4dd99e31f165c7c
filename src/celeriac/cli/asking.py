"""What ``inspect`` and ``control`` share: options, asking, and how answers are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from celeriac.cli import exits
from celeriac.cli.output import note, say, say_json
from celeriac.control.phrases import plural, printable

#: Name of a sub-command → (its arguments, the line that explains it).
Lines = Mapping[str, tuple[str, str]]
_Decorated = Callable[..., Any]

_OPTIONS: Final = (
    click.option(
        "-d",
        "--destination",
        metavar="WORKER,WORKER",
        help="Only these workers, by name.",
    ),
    click.option(
        "-t",
        "--timeout",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a stuck worker is waited for; one that lives answers in milliseconds.",
    ),
    click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--list", "listed", is_flag=True, help="List the sub-commands and exit."),
)


def asking(command: _Decorated) -> _Decorated:
    """Add the options that both commands have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def described(lines: Lines) -> str:
    """The sub-commands as a block of a help text."""
    wide = max(len(f"{name} {arguments}".strip()) for name, (arguments, _) in lines.items())
    rows = (
        f"{f'{name} {arguments}'.strip().ljust(wide)}  {text}"
        for name, (arguments, text) in lines.items()
    )
    return "\b\n" + "\n".join(rows)


def print_list(lines: Lines) -> int:
    """Print the sub-commands."""
    say(described(lines).removeprefix("\b\n"))
    return exits.OK


def check_name(name: str | None, lines: Lines, what: str, later: Mapping[str, str]) -> str:
    """Return the sub-command's name, or raise a usage error that helps."""
    if name is None:
        raise click.UsageError(f"Which one? {', '.join(lines)}.")
    if name in later:
        raise click.UsageError(f"`{what} {name}` is not in this version of Celeriac. {later[name]}")
    if name not in lines:
        from difflib import get_close_matches

        near = get_close_matches(name, lines, n=1, cutoff=0.6)
        hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(lines)}."
        raise click.UsageError(f"There is no `{what} {name}`. {hint}")
    return name


def check_count(name: str, given: tuple[str, ...], lines: Lines) -> None:
    """Raise a usage error unless as many words were given as the sub-command takes."""
    needed, _, more = lines[name][0].partition("[")
    least = len(needed.split())
    most = None if "..." in more else least + len(more.split())
    if len(given) < least or (most is not None and len(given) > most):
        takes = lines[name][0] or "no arguments"
        raise click.UsageError(f"{name} takes {takes}.")


def tell(
    answers: Mapping[str, Any],
    silent: Sequence[str],
    as_json: bool,
    show: Callable[[Any], str],
    destination: str | None = None,
) -> int:
    """Print answers of workers, and say which of those in *destination* gave none; return the
    exit code."""
    absent = _absent(destination, answers, silent)
    if absent and answers:
        note(f"No living worker is named {' or '.join(absent)}. `celeriac status` shows workers.")
    if silent:
        note(
            f"No answer from {', '.join(silent)}: registered and not known to be dead, but "
            "stopped, stuck, or deaf (worker_enable_remote_control)."
        )
    if not answers:
        if not silent:
            note("No worker that is meant lives. `celeriac status` shows workers.")
        return exits.NO_WORKER
    refused = {name for name, each in answers.items() if _is_error(each)}
    if as_json:
        say_json(answers)
    else:
        for hostname, answer in answers.items():
            say(f"->  {hostname}: {'ERROR' if hostname in refused else 'OK'}")
            say("\n".join(f"    {line}" for line in show(answer).splitlines()))
        say()
        say(f"{plural(len(answers), 'worker')} answered.")
    if refused:
        return exits.FAILURE
    return exits.NO_WORKER if silent or absent else exits.OK


def _absent(
    destination: str | None, answers: Mapping[str, Any], silent: Sequence[str]
) -> list[str]:
    """Workers that were named and are neither heard nor known to live."""
    named = [each.strip() for each in (destination or "").split(",") if each.strip()]
    return [each for each in named if each not in answers and each not in silent]


def _is_error(answer: Any) -> bool:
    return isinstance(answer, dict) and set(answer) == {"error"}


def shown(answer: Any) -> str:
    """An answer for people: one text, a list with stars, or JSON."""
    import json

    if isinstance(answer, dict) and len(answer) == 1 and set(answer) <= {"ok", "error"}:
        return printable(str(next(iter(answer.values()))))
    if isinstance(answer, list):
        lines = (
            each if isinstance(each, str) else json.dumps(each, ensure_ascii=False, default=str)
            for each in answer
        )
        return printable("\n".join(f"* {line}" for line in lines)) or "- empty -"
    if answer in (None, {}):
        return "- empty -"
    return printable(json.dumps(answer, indent=2, ensure_ascii=False, default=str))
