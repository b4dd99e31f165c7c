"""What counts as a change of the application's code, and that none is missed whatever the system
tells of it."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.worker.duties.changes import Code, Watcher, wait_for_change

DEADLINE = 60.0
LONG_AGO = 1_000_000_000.0


class Hints:
    """Stands for ``watchfiles.watch``: tells what the test says, when the test says it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.told: queue.SimpleQueue[set[tuple[int, str]]] = queue.SimpleQueue()
        self.error: Exception | None = None

    def watch(self, *folders: str, stop_event: threading.Event, **options: object) -> Iterator[set]:
        self.begun.set()
        if self.error is not None:
            raise self.error
        while not stop_event.is_set():
            try:
                yield self.told.get(timeout=0.05)
            except queue.Empty:
                continue


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> Hints:
    made = Hints()
    monkeypatch.setattr("watchfiles.watch", made.watch)
    return made


class Watched:
    """A folder with one module, and what a watcher told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = folder / "tasks.py"
        self.module.write_text("answer = 1\n")
        os.utime(self.module, (LONG_AGO, LONG_AGO))
        self.told: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self.watcher: Watcher | None = None

    def watch(self, since: float | None = None) -> None:
        """Begin; *since* is when the code was read, by default: just now."""
        if since is None:
            time.sleep(0.05)  # beyond what the clock for files may be behind
            since = time.time()
        self.watcher = Watcher([str(self.folder)], since, self.told.put)

    def next(self) -> list[str]:
        return [os.path.relpath(each, self.folder) for each in self.told.get(timeout=DEADLINE)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    if made.watcher is not None:
        made.watcher.stop()


def put(place: Watched, text: str, date: float | None = None) -> str:
    """Put another module in place of the first: in one step, so that no half is seen."""
    fresh = place.folder / "tasks.py.new"
    fresh.write_text(text)
    if date is not None:
        os.utime(fresh, (date, date))
    fresh.replace(place.module)
    return "tasks.py"


def rewrite(place: Watched) -> str:
    return put(place, "answer = 2\n")


def rewrite_with_the_same_date(place: Watched) -> str:
    """As archives and version control do: another size is all that tells."""
    with place.module.open("a") as file:
        file.write("more = 1\n")
    os.utime(place.module, (LONG_AGO, LONG_AGO))
    return "tasks.py"


def put_an_older_one_in_its_place(place: Watched) -> str:
    return put(place, "answer = 0\n", LONG_AGO)


def rewrite_with_the_same_size_and_date(place: Watched) -> str:
    """Nothing that programs can set tells of it."""
    place.module.write_text("begun = None\n")
    os.utime(place.module, (LONG_AGO, LONG_AGO))
    return "tasks.py"


def remove(place: Watched) -> str:
    place.module.unlink()
    return "tasks.py"


def make_a_package(place: Watched) -> str:
    (place.folder / "shop").mkdir()
    (place.folder / "shop" / "__init__.py").touch()
    return "shop/__init__.py"


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        rewrite_with_the_same_date,
        rewrite_with_the_same_size_and_date,
        put_an_older_one_in_its_place,
        remove,
        make_a_package,
    ],
)
def test_a_change_that_the_system_does_not_tell_of_is_seen(
    place: Watched, hints: Hints, change: Callable[[Watched], str]
) -> None:
    place.watch()
    assert hints.begun.wait(DEADLINE)
    seen: list[str] = []
    put(place, "begun = True\n", LONG_AGO)  # once this is told, the watching has begun
    assert place.next() == ["tasks.py"]
    expected = change(place)
    while expected not in seen:
        seen += place.next()
    assert set(seen) == {expected}


def test_a_change_between_the_reading_and_the_watching_is_seen(
    place: Watched, hints: Hints
) -> None:
    read = time.time()
    put_an_older_one_in_its_place(place)
    place.watch(since=read)
    assert place.next() == ["tasks.py"]


def test_what_was_there_before_the_reading_is_no_change(place: Watched, hints: Hints) -> None:
    place.watch()
    (place.folder / "later.py").touch()
    assert place.next() == ["later.py"]


def test_a_change_is_told_once_however_often_the_system_tells_of_it(
    place: Watched, hints: Hints
) -> None:
    place.watch()
    assert hints.begun.wait(DEADLINE)
    rewrite(place)
    for _ in range(5):
        hints.told.put({(2, str(place.module))})
    assert place.next() == ["tasks.py"]
    for _ in range(5):
        hints.told.put({(2, str(place.module))})
    (place.folder / "later.py").touch()
    assert place.next() == ["later.py"]


def test_a_system_without_watches_left_costs_a_second_and_is_told(
    place: Watched, hints: Hints, caplog: pytest.LogCaptureFixture
) -> None:
    hints.error = OSError("OS file watch limit reached")
    with caplog.at_level(logging.WARNING, "celeriac.worker"):
        place.watch()
        assert hints.begun.wait(DEADLINE)
        rewrite(place)
        assert place.next() == ["tasks.py"]
        end = time.monotonic() + DEADLINE
        while "OS file watch limit reached" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert "New code is loaded all the same" in caplog.text


def test_a_save_before_the_waiting_begins_is_a_change(place: Watched, hints: Hints) -> None:
    before = time.time()
    rewrite(place)
    assert wait_for_change(str(place.folder), before) == [str(place.module)]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("tasks.py", True),
        ("shop/orders/mail.py", True),
        ("tasks.pyc", False),
        ("celeriac.db", False),
        ("celeriac.db-wal", False),
        ("README.md", False),
        ("__pycache__/tasks.py", False),
        (".git/hooks/x.py", False),
        (".venv/lib/x.py", False),
        ("venv/lib/x.py", False),
        ("env-of-mine/lib/x.py", False),
        ("node_modules/x.py", False),
    ],
)
def test_which_files_count(tmp_path: Path, path: str, counts: bool) -> None:
    (tmp_path / "env-of-mine").mkdir()
    (tmp_path / "env-of-mine" / "pyvenv.cfg").touch()
    code = Code([str(tmp_path)])
    assert code(None, str(tmp_path / path)) is counts
    assert not code(None, "/elsewhere/tasks.py")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    assert list(code.stamps()) == ([str(tmp_path / path)] if counts else [])
