"""The report as a page: one HTML file with charts in SVG. It loads nothing and runs no script.

Each number stands in a ``<data>`` element beside the text that people read, so that a program can
read it, too: :func:`read`.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from source import Package, Summary

BARS = 14  # of a chart; what does not get one of its own is in the last
LINE = 26  # height of a bar and the space around it, in pixels
COUNTS = ("files", "lines", "functions", "classes")

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2320; --faint: #5f6b65;
  --rule: #dde2de; --bar: #2f7d5b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #151917; --ink: #e6ebe8; --faint: #98a59e; --rule: #2e3632; --bar: #4fae84; }
}
body { margin: 0 auto; max-width: 46rem; padding: 2.5rem 1.25rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.1rem; }
p, caption, summary { color: var(--faint); }
dl { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.5rem 0; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0; font-size: 1.6rem; font-weight: 600; }
svg { --label: 9rem; --figure: 4rem; display: block; overflow: visible;
  margin-left: var(--label); width: calc(100% - var(--label) - var(--figure)); }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .figure { fill: var(--faint); font-variant-numeric: tabular-nums; }
rect { fill: var(--bar); }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 0; border-bottom: 1px solid var(--rule); text-align: right; }
th + th, td + td { padding-left: .6rem; }
th { color: var(--faint); font-weight: 400; font-size: .85rem; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
summary { cursor: pointer; margin-top: 1rem; }
@media (max-width: 30rem) {
  body { padding: 1.5rem 1rem; }
  dl { display: grid; grid-template-columns: 1fr 1fr; }
  svg { --label: 7.75rem; --figure: 3.5rem; }
  svg text { font-size: 12px; }
  table { font-size: .8rem; }
  th { font-size: .75rem; }
}
"""


def write(summary: Summary, path: Path) -> None:
    """Write the page, whole or not at all: a process may die in the middle of it."""
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(render(summary), encoding="utf-8")
    draft.replace(path)


def render(summary: Summary) -> str:
    """The page as text."""
    python = ".".join(map(str, sys.version_info[:3]))
    title = f"The standard library of Python {python}"
    largest = [(each.name, each.lines) for each in summary.packages]
    rest = sum(lines for _, lines in largest[BARS:])
    bars = [*largest[:BARS], (f"{len(largest) - BARS} other packages", rest)]
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
<h1>{title}</h1>
<p>Each file was measured by a task of its own; this page was written by the one that got all their
results.</p>
<dl>{"".join(_headline(name, getattr(summary.whole, name)) for name in COUNTS)}</dl>
<h2>Lines of code in each package</h2>
{_chart("Lines of code in each package", bars if rest else largest)}
<details><summary>All packages as a table</summary>{_packages(summary.packages)}</details>
<h2>Modules that most files import</h2>
{_chart("How many files import a module", summary.imported[:BARS])}
<h2>The longest functions</h2>
{_longest(summary.longest[:10])}
{_unreadable(summary.unreadable)}</html>
"""


def read(path: Path) -> Counter[str]:
    """The page's numbers, those of one class added up: ``lines`` is the number at the top,
    ``package-lines`` the sum of the table."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.sums


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sums = Counter[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            found = dict(attrs)
            self.sums[str(found["class"])] += int(found["value"] or 0)


def _data(kind: str, number: int) -> str:
    return f'<data class="{kind}" value="{number}">{number:,}</data>'


def _headline(name: str, number: int) -> str:
    return f"<div><dt>{name}</dt><dd>{_data(name, number)}</dd></div>"


def _chart(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """Bars from the left, the name before each and its number behind it.

    The drawing is as wide as its longest bar and bars are shares of that, so that they shrink with
    the window and the text does not; names and numbers stand outside, in the margins.
    """
    longest = max((number for _, number in bars), default=0) or 1
    drawn = []
    for row, (name, number) in enumerate(bars):
        top, share = row * LINE, f"{number / longest:.2%}"
        middle = top + LINE / 2
        drawn.append(
            f'<text x="-10" y="{middle}" dy=".35em" text-anchor="end">{escape(name)}</text>'
            f'<rect y="{top + 4}" width="{share}" height="{LINE - 8}" rx="3"/>'
            f'<text class="figure" x="{share}" y="{middle}" dx="8" dy=".35em">{number:,}</text>'
        )
    opening = f'<svg height="{len(bars) * LINE}" role="group" aria-label="{title}">'
    return "\n".join([opening, *drawn, "</svg>"])


def _packages(packages: Sequence[Package]) -> str:
    rows = [
        [each.name, *(_data(f"package-{name}", getattr(each, name)) for name in COUNTS)]
        for each in packages
    ]
    return _table(["package", *COUNTS], rows)


def _longest(functions: Sequence[tuple[str, int]]) -> str:
    return _table(["function", "lines"], [[name, f"{lines:,}"] for name, lines in functions])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is text, the others are numbers."""
    lines = ["".join(f"<th>{each}</th>" for each in head)]
    for name, *numbers in rows:
        lines.append(f"<td>{escape(name)}</td>" + "".join(f"<td>{each}</td>" for each in numbers))
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>"


def _unreadable(names: Sequence[str]) -> str:
    shown = ", ".join(map(escape, names))
    return f"<p>No valid Python, counted in lines only: {shown}.</p>\n" if names else ""
