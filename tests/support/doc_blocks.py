"""Read the project's pages: code blocks, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass

from source_tree import ROOT

_FENCE = re.compile(r"^```([\w{}-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line its fence is on, from 1."""

    language: str
    text: str
    line: int


def text_of(page: str) -> str:
    """The text of a page, named by its path from the root of the project."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = text_of(page)
    found = [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]
    return [each for each in found if language is None or each.language == language]


def prose(text: str) -> str:
    """*text* without its code blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Where the links of a page go."""
    return _LINK.findall(prose(text))


def section(text: str, heading: str) -> str:
    """What stands under *heading* (written with its ``#``), up to the next of its rank or above."""
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    rank = heading.index(" ")
    end = re.search(rf"^#{{1,{rank}}} ", text[start:], re.MULTILINE)
    return text[start : start + end.start()] if end else text[start:]


def rows(text: str) -> list[list[str]]:
    """The cells of the first table in *text*, without its head."""
    lines = iter(text.splitlines())
    table: list[str] = []
    for line in lines:
        if line.startswith("|"):
            table.append(line)
        elif table:
            break
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def code(cell: str) -> str:
    """A table's cell without its backticks."""
    return cell.strip("`")
