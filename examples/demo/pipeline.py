"""The demo's second part: a pipeline that fails, is mended, and goes on where it stopped.

A *chord*: one task for each source file of the standard library, side by side, and then one task
that gets all results and writes a page. One more file is there whose encoding nobody told, so its
task fails, and the page is not written. ``celeriac tree`` shows where that was; ``celeriac retry``
runs the task again with the argument that was missing, and then what had failed only because of
it, and nothing else.
"""

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import page
import source
from audit import Check
from processes import celeriac
from screen import Progress

from celeriac import group
from celeriac.cli import exits
from celeriac.records import Record

#: A module as an old editor saved it: Latin-1, and no line that says so.
OLD = '''"""Readers of the first hour."""

NAMES = ("Béla", "Chloé", "Iñigo")


def greeting(name):
    return f"¡Hola, {name}!"
'''


class Pipeline:
    """Measures the files *paths* below *root*, and the old module in *folder*; the page goes to
    *report*."""

    def __init__(self, tasks: Any, root: Path, paths: Sequence[Path], folder: Path) -> None:
        self.tasks = tasks
        self.root = root
        self.old = folder / "readers.py"
        self.old.write_text(OLD, encoding="latin-1")
        self.paths = [*paths, self.old]
        self.found: list[dict[str, Any]] = []  # what each file's task returned

    def run(self, report: Path, patience: float) -> Path:
        """Send it, watch one task fail, mend that; returns the page's path. Raises TimeoutError
        if nothing happens for *patience* seconds."""
        measure = group(self.tasks.analyse.s(str(path)) for path in self.paths)
        result = (measure | self.tasks.write_report.s(str(self.root), str(report))).delay()

        failed = self._watch(result.parent, patience)
        print(f"{len(failed)} of {len(self.paths):,} failed, so there is no page yet:")
        show("tree", result.id, expect=exits.TASK_FAILED)
        print(
            f"{self.old.name} is Latin-1. Its task is told so and runs again; what is done stays:"
        )
        show("retry", *failed, "--with-args", json.dumps([str(self.old), "latin-1"]))
        path = self.tasks.app.AsyncResult(result.id).get(timeout=patience)
        self.found += [self.tasks.app.AsyncResult(id).get() for id in failed]
        print("What had failed because of it went on from there, and returned the page's path:")
        show("result", result.id)
        return Path(path)

    def _watch(self, members: Any, patience: float) -> list[str]:
        """Return once every file's task has ended; the ids of those that failed."""
        bar = Progress("analysis", len(self.paths))
        failed = []
        for done, (id, found) in enumerate(members.iter_native(timeout=patience), start=1):
            if found["status"] == "SUCCESS":
                self.found.append(found["result"])
            else:
                failed.append(id)
            bar.show(done, f"{len(failed)} failed")
        bar.finish()
        return failed

    def checks(self, report: Path, records: Callable[[str], dict[str, Record]]) -> list[Check]:
        """Hold the page against the files, and the records against what was to run."""
        shown = page.read(report)
        lines = sum(source.count_lines(path.read_bytes()) for path in self.paths)
        measured = records(self.tasks.analyse.name)
        return [
            Check("files in the report", len(self.paths), shown["files"]),
            Check("lines in them", lines, shown["lines"]),
            Check(
                "functions in them, by their tasks",
                sum(each.get("functions", 0) for each in self.found),
                shown["functions"],
            ),
            *(
                Check(f"{name} in its table of packages", shown[name], shown[f"package-{name}"])
                for name in page.COUNTS
            ),
            Check("tasks that measured them", len(self.paths), len(measured)),
            Check("of them run again", 1, sum(each.generation > 0 for each in measured.values())),
            Check("reports written", 1, len(records(self.tasks.write_report.name))),
        ]


def show(*command: str, expect: int = 0) -> None:
    """Run a command of celeriac's, which ends with *expect*, and show what it says."""
    print(textwrap.indent(celeriac(*command, expect=expect).rstrip(), "    "), flush=True)
