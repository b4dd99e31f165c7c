"""The demo in small: it counts right, notices what is wrong, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest
from workers import eventually

from celeriac import states
from celeriac.records import Record

DEMO = Path(__file__).parents[2] / "examples" / "demo"


class Run:
    """One run of the demo, its temporary files below *folder*."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder / "temporary"
        self.folder.mkdir()
        self.report = folder / "report.html"
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(DEMO / "run.py"), "--report", str(self.report), *arguments],
            env={**os.environ, "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def read_to(self, text: str) -> None:
        """Read what it prints until *text* comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"it ended without printing {text!r}:\n{self.output}")

    def finish(self) -> int:
        """Read to its end; returns its exit status."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            self.output += stdout.read()
        return self.process.wait()

    def processes(self) -> list[int]:
        """Living processes that know this run's store."""
        return [each.pid for each in psutil.process_iter() if self._is_ours(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            store = process.environ().get("DEMO_STORE", "")
            return str(self.folder) in store and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


@pytest.fixture
def start(tmp_path):
    runs = []

    def start(*arguments):
        runs.append(Run(tmp_path, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
        run.process.stdout.close()
        run.process.wait()
        eventually(lambda run=run: not run.processes(), "every process of the demo has ended")


def test_small_run_with_kills_counts_right_and_leaves_nothing(start):
    run = start("--messages", "300", "--files", "30")
    assert run.finish() == 0, run.output
    assert "every count is right" in run.output
    assert "SIGKILL to executor" in run.output
    assert "SIGKILL to the worker" in run.output
    assert "WRONG" not in run.output
    rows = {line[2:].split("  ")[0]: line.split() for line in run.output.splitlines()}
    for name, count in [
        ("letters ordered", "300"),
        ("their Message-IDs at the mail server", "300"),
        ("files in the report", "31"),
        ("of them run again", "1"),
    ]:
        assert rows[name][-3:] == [count, count, "ok"]
    assert not run.processes()
    assert not list(run.folder.iterdir())


def test_the_pipeline_fails_is_mended_and_goes_on(start):
    run = start("--messages", "20", "--files", "10")
    assert run.finish() == 0, run.output
    said = iter(run.output.splitlines())
    for wanted in [
        "1 of 11 failed, so there is no page yet:",
        "tree ",
        "FAILURE: 12 tasks: 10 SUCCESS, 2 FAILURE;",
        "readers.py')[",
        'source.py", line ',
        "10: FAILURE tasks.analyse[",
        "then FAILURE tasks.write_report[",
        'readers.py", "latin-1"]',
        "Reopened 2 parts: tasks.analyse[",
        "result ",
        str(run.report),
        f"The report: {run.report.as_uri()}",
    ]:
        assert any(wanted in line for line in said), f"{wanted!r} does not come:\n{run.output}"
    text = run.report.read_text("utf-8")
    assert '<data class="files" value="11">11</data>' in text
    for foreign in ("<script", "http:", "https:", "src=", "@import", "url("):
        assert foreign not in text
    assert sorted(each.name for each in run.report.parent.iterdir()) == ["report.html", "temporary"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_its_processes_and_removes_its_folder(start, number):
    run = start("--messages", "3000", "--files", "1")
    run.read_to("newsletter  [")
    run.process.send_signal(number)
    assert run.finish() == 130, run.output
    assert not run.processes()
    assert not list(run.folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_killed_it_leaves_no_process(start):
    run = start("--messages", "3000", "--files", "1")
    run.read_to("newsletter  [")
    assert run.processes()
    run.process.kill()
    run.finish()
    eventually(lambda: not run.processes(), "every process of the demo has ended")


def test_keep_keeps_the_folder(start):
    run = start("--messages", "20", "--files", "1", "--keep")
    assert run.finish() == 0, run.output
    [kept] = run.folder.iterdir()
    assert {"demo.sqlite3", "ledger.txt"} <= {each.name for each in kept.iterdir()}


# -- what it would notice ----------------------------------------------------------------------


@pytest.fixture
def audit(monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO))
    import audit

    return audit


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO))
    import page

    return page


@pytest.fixture
def source(monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO))
    import source

    return source


def record(id, state=states.SUCCEEDED, **more):
    return Record(id=id, state=state, task="tasks.send_letter", queue="celery", **more)


def judge(audit, tmp_path, lines, records, readers=2):
    """The names of the checks that fail; ids are the records'."""
    path = tmp_path / "ledger.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    by_id = {each.id: each for each in records}
    checks = audit.newsletter(list(by_id), readers, audit.Ledger.read(path), by_id)
    return {check.name for check in checks if not check.right}


ANN, BOB = "arrived\ta\tann@x", "arrived\tb\tbob@x"


@pytest.mark.parametrize(
    ("lines", "records", "wrong"),
    [
        ([ANN, BOB], [record("a"), record("b")], set()),
        (
            [ANN],
            [record("a"), record("b")],
            {"their Message-IDs at the mail server", "readers with just one Message-ID"},
        ),
        (
            [ANN, BOB],
            [record("a"), record("b", states.FAILED)],
            {"tasks that succeeded"},
        ),
        (
            [ANN, BOB, "arrived\tc\tbob@x"],
            [record("a"), record("b")],
            {"Message-IDs that are no task's", "readers with just one Message-ID"},
        ),
        ([ANN, BOB, BOB], [record("a"), record("b")], {"doubles without a death on record"}),
        ([ANN, BOB, BOB], [record("a"), record("b", crashes=1)], set()),
        ([ANN, BOB, BOB], [record("a"), record("b", losses=1)], set()),
        (
            [ANN, BOB, BOB, BOB],
            [record("a"), record("b", losses=1)],
            {"doubles without a death on record"},
        ),
        (["refused\ta\tann@x", ANN, BOB], [record("a", retries=1), record("b")], set()),
        (["refused\ta\tann@x", ANN, BOB], [record("a", crashes=1), record("b")], set()),
        (
            ["refused\ta\tann@x", ANN, BOB],
            [record("a"), record("b")],
            {"tasks whose retries do not match"},
        ),
        ([ANN, BOB], [record("a", retries=1), record("b")], {"tasks whose retries do not match"}),
    ],
)
def test_the_audit_finds_what_is_wrong(audit, tmp_path, lines, records, wrong):
    assert judge(audit, tmp_path, lines, records) == wrong


def test_a_double_is_named_with_the_deaths_that_explain_it(audit):
    double = audit.Double("some-id", arrivals=3, crashes=1, losses=1)
    assert double.explained
    assert str(double) == "some-id  arrived 3 times; died while it ran: 1 executor and 1 worker"


# -- the page ------------------------------------------------------------------------------------


def measure(path, lines, functions=1, **more):
    return {"path": path, "lines": lines, "functions": functions, "classes": 0, **more}


def test_the_page_adds_up_packages_and_can_be_read_again(source, page, tmp_path):
    measures = [
        measure("/lib/abc.py", 10, longest=[7, "big", 1], imports={"sys": 3}),
        measure("/lib/ast.py", 5, imports={"sys": 1, "re": 1}),
        measure("/lib/json/tool.py", 40, longest=[30, "bigger", 2]),
        {"path": "/elsewhere/old.py", "lines": 2, "unreadable": "SyntaxError: no"},
    ]
    summary = source.summary(measures, Path("/lib"))
    assert [(each.name, each.files, each.lines) for each in summary.packages] == [
        ("json", 1, 40),
        ("single modules", 3, 17),
    ]
    assert summary.longest == [("json/tool.py: bigger", 30), ("abc.py: big", 7)]
    assert summary.imported == [("sys", 2), ("re", 1)]
    page.write(summary, tmp_path / "page.html")
    shown = page.read(tmp_path / "page.html")
    assert (shown["files"], shown["lines"], shown["functions"]) == (4, 57, 3)
    assert (shown["package-files"], shown["package-lines"]) == (4, 57)
    assert "old.py" in (tmp_path / "page.html").read_text("utf-8")


def test_charts_are_well_formed_in_proportion_and_lose_nothing(source, page):
    sizes = {f"p{number}": 100 - number for number in range(page.BARS + 5)}
    measures = [measure(f"/lib/{name}/a.py", lines) for name, lines in sizes.items()]
    text = page.render(source.summary(measures, Path("/lib")))
    first = text[text.index("<svg") : text.index("</svg>") + len("</svg>")]
    drawing = ET.fromstring(first)
    bars = [float(each.get("width").removesuffix("%")) for each in drawing.iter("rect")]
    figures = [int(each.text) for each in drawing.iter("text") if each.get("class") == "figure"]
    assert sum(figures) == sum(sizes.values())
    assert len(bars) == len(figures) == page.BARS + 1
    for width, figure in zip(bars, figures, strict=True):
        assert width == pytest.approx(100 * figure / max(figures), abs=0.01)


def test_names_on_the_page_are_text(source, page):
    hostile = measure("/lib/a<b>&/x.py", 3, longest=[2, "f<script>", 1])
    text = page.render(source.summary([hostile], Path("/lib")))
    assert "<b>" not in text
    assert "<script>" not in text
    assert "a&lt;b&gt;&amp;" in text


def test_a_file_that_is_not_what_it_says_raises(source, tmp_path):
    path = tmp_path / "old.py"
    path.write_text("\n\nx = 'é'\n", encoding="latin-1")
    with pytest.raises(UnicodeDecodeError):
        source.measure(path)
    assert source.measure(path, "latin-1")["lines"] == 3
    path.write_text("x = 'é'\n", encoding="latin-1")
    with pytest.raises(SyntaxError):
        source.measure(path)
    path.write_text("# coding: latin-1\nx = 'é'\n", encoding="latin-1")
    assert source.measure(path)["lines"] == 2
    path.write_text("x = (\n", encoding="utf-8")
    assert source.measure(path)["unreadable"].startswith("SyntaxError")
