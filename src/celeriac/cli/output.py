"""How the command line prints: aligned text for people, JSON for programs.

Colour only on a terminal, and not if ``NO_COLOR`` is set (click takes escapes out of what goes
into a pipe; ``NO_COLOR`` and ``--no-color`` set ``ctx.color``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from celeriac.control.phrases import printable


def say(text: str = "") -> None:
    """Print what was asked for."""
    click.echo(text)


def note(text: str) -> None:
    """Print something about what is going on, beside what was asked for."""
    click.echo(text, err=True)


def say_json(data: object) -> None:
    """Print one JSON value, indented."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def heading(text: str) -> None:
    """Print the line that matters most."""
    click.secho(printable(text), bold=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, numbers to the right; nothing else around them."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(_is_number(row[column]) for row in cells) for column in range(len(headings))]
    widths = [max(len(text) for text in column) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        parts = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, right, strict=True)
        ]
        say("  ".join(parts).rstrip())


def facts(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> None:
    """Print names and values, one pair on a line."""
    known = list(pairs)
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"{indent}{name.ljust(width)}  {printable(value)}")


def block(text: str, indent: str = "    ") -> None:
    """Print a text of several lines, set in."""
    for line in printable(text).splitlines():
        say(f"{indent}{line}".rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return " ".join(printable(str(value)).split()) or "-"


def _is_number(text: str) -> bool:
    return text.replace(",", "").isdigit()


def confirm(question: str, otherwise: str) -> bool:
    """Ask; where nobody can answer, say which option answers beforehand."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as aborted:
        if isinstance(aborted.__context__, EOFError):
            note("")
            raise click.UsageError(f"Nobody answered. {otherwise}") from None
        raise
