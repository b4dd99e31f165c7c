"""The chart of the benchmark as SVG: a panel of bars for each figure, drawn from the raw results.

No library draws it, so that anybody can draw it again. Its colours change with what the reader's
system asks for, light or dark; its background is its own, so that it can be read on a page that has
been switched to the other. Bars start at nought and none is cut; where one is too short to be seen,
the number of times beside it says what the bar cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from results import NOT_PEERS, OURS, Results, called, middle, number, sides_in, times, when, where


@dataclass(frozen=True)
class Panel:
    """One group of bars: a figure of a row, and which way is better."""

    title: str
    row: str
    figure: str
    unit: str
    lower: bool = False


PANELS = (
    Panel("Tasks run, results kept", "drain", "rate, results kept", "/s"),
    Panel("Tasks run, results ignored", "drain", "rate, results ignored", "/s"),
    Panel("Sent one by one", "enqueue", "one by one", "/s"),
    Panel("Sent in bulk", "enqueue", "in bulk", "/s"),
    Panel("Send to result, idle, median", "latency", "result p50", "ms", lower=True),
    Panel("Idle worker, 8 executors", "memory", "8 executors", "MiB", lower=True),
)

WIDTH, COLUMN, GAP, MARGIN = 880, 420, 40, 18
LABEL, VALUE, BAR, STEP, HEAD = 136, 104, 13, 21, 34

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
  text { fill: #3d444d; }
  .title { font-weight: 600; font-size: 13px; fill: #1f2328; }
  .note { font-size: 11px; font-weight: 400; fill: #6e7781; }
  .ours { font-weight: 600; fill: #1f2328; }
  .bar { fill: #9aa7b5; } .bar-ours { fill: #4b9e3f; } .bar-bare { fill: #d3b26a; }
  .card { fill: #ffffff; stroke: #d0d7de; }
  .axis { stroke: #8c959f; stroke-opacity: .5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #c3ccd6; } .title, .ours { fill: #f0f6fc; } .note { fill: #9198a1; }
    .card { fill: #0d1117; stroke: #30363d; }
    .bar { fill: #66717f; } .bar-ours { fill: #63b955; } .bar-bare { fill: #a98b45; }
  }
"""


def draw(results: Results) -> str:
    """The chart as an SVG document."""
    panels = [(panel, bars) for panel in PANELS if (bars := _bars(results, panel))]
    parts: list[str] = []
    top = 8
    for index in range(0, len(panels), 2):
        pair = panels[index : index + 2]
        for column, (panel, bars) in enumerate(pair):
            parts += _panel(panel, bars, column * (COLUMN + GAP), top)
        top += HEAD + STEP * max(len(bars) for _, bars in pair) + 22
    note = f"{where(results)}; {when(results)}; medians"
    about = "×: how many times more Celeriac does on the same server, or less it takes"
    for line, text in enumerate((about, note)):
        parts.append(f'<text class="note" x="0" y="{top + 6 + 16 * line}">{escape(text)}</text>')
    wide, high = WIDTH + 2 * MARGIN, top + 22 + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {wide} {high}" '
        f'width="{wide}" height="{high}" role="img" '
        f'aria-label="Celeriac beside other task queues">\n<style>{STYLE}</style>\n'
        f'<rect class="card" x="{0.5 - MARGIN}" y="{0.5 - MARGIN}" width="{wide - 1}" '
        f'height="{high - 1}" rx="8"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(results: Results, panel: Panel) -> list[tuple[str, float]]:
    """Names and values, best first."""
    found = [
        (name, value)
        for name in sides_in(results, panel.row)
        if (value := middle(results, panel.row, name, panel.figure)) is not None
    ]
    return sorted(found, key=lambda bar: bar[1], reverse=not panel.lower)


def _panel(panel: Panel, bars: list[tuple[str, float]], left: float, top: float) -> list[str]:
    way = "less is better" if panel.lower else "more is better"
    title = f"{escape(panel.title)}, {panel.unit}"
    hint = f'<tspan class="note" dx="8">{way}</tspan>'
    lines = [f'<text class="title" x="{left}" y="{top + 12}">{title}{hint}</text>']
    most = max(value for _, value in bars)
    room = COLUMN - LABEL - VALUE
    base = top + HEAD - 8
    own = dict(bars).get("celeriac")
    for line, (name, value) in enumerate(bars):
        y = base + line * STEP
        long = max(2.0, value / most * room)
        ours = name in OURS
        note = "" if own is None or name in NOT_PEERS else _note(panel, own, value)
        kind = "bar-ours" if ours else "bar-bare" if name in NOT_PEERS else "bar"
        text = ' class="ours"' if ours else ""
        x = left + LABEL
        lines += [
            f'<text{text} x="{x - 8}" y="{y + 11}" text-anchor="end">{escape(called(name))}</text>',
            f'<rect class="{kind}" x="{x}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2"/>',
            f'<text{text} x="{x + long + 6:.1f}" y="{y + 11}">{number(value)}{note}</text>',
        ]
    end = base + len(bars) * STEP - (STEP - BAR) + 3
    lines.append(
        f'<line class="axis" x1="{left + LABEL}" x2="{left + LABEL}" y1="{base - 3}" y2="{end}"/>'
    )
    return lines


def _note(panel: Panel, own: float, value: float) -> str:
    """How many times better Celeriac is, as a note behind a peer's value."""
    better, worse = (value, own) if panel.lower else (own, value)
    return f'<tspan class="note" dx="6">{times(better, worse)}</tspan>' if worse else ""
