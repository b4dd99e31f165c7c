"""Progress from real workers: every pool, on SQLite and on Redis."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workers import DEADLINE, Site, eventually, site

from celeriac import Celeriac

POOLS = ["prefork", "threads", "asyncio", "solo"]
UPTO = 30_000


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path: Path, request: pytest.FixtureRequest, shared: Any) -> Iterator[Site]:
    broker, namespace = "", ""
    if request.param == "redis":
        broker, namespace = shared.url("redis"), shared.namespace()
    with site(tmp_path, "progress_tasks.py", broker, namespace) as made:
        yield made


@pytest.fixture
def app(place: Site) -> Celeriac:
    return Celeriac(
        "client", broker=place.broker, namespace=place.options.namespace, set_as_current=False
    )


def begin(place: Site, pool: str, *options: str) -> None:
    place.worker("-P", pool, "-c", "1" if pool == "solo" else "2", *options).ready()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["count", "acount"])
def test_the_last_word_arrives_though_nothing_follows_it(
    place: Site, app: Celeriac, pool: str, name: str
) -> None:
    begin(place, pool)
    gate = place.folder / "gate"
    (id,) = place.send(f"tasks.{name}", UPTO, str(gate))
    result = app.AsyncResult(id)
    seen = []

    def last() -> bool:
        said = result.progress
        if said is not None:
            seen.append(said.current)
        return said is not None and said.current == UPTO

    eventually(last, "the last word")
    assert seen == sorted(seen)
    said = result.progress
    assert said is not None
    assert (said.total, said.message, said.fraction) == (UPTO, f"number {UPTO}", 1.0)
    eventually(lambda: result.state == "STARTED", "its start is known")  # told by itself
    assert result.info is None
    gate.touch()
    assert result.get(timeout=DEADLINE) == UPTO
    assert result.progress == said


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_states_of_ones_own_stay(place: Site, app: Celeriac, pool: str) -> None:
    begin(place, pool)
    gate = place.folder / "gate"
    (id,) = place.send("tasks.stages", str(gate))
    result = app.AsyncResult(id)

    def seen() -> tuple[str, Any, float | None]:
        said = result.progress
        return result.state, result.info, None if said is None else said.fraction

    eventually(lambda: seen() == ("LOADING", {"file": "a.csv"}, 0.5), "the first stage")
    Path(f"{gate}1").touch()
    eventually(lambda: seen() == ("SAVING", {"file": "b.csv"}, 1.0), "the second stage")
    Path(f"{gate}2").touch()
    assert result.get(timeout=DEADLINE) is None
    assert seen() == ("SUCCESS", None, 1.0)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_soft_limit_in_the_middle_of_a_word_does_no_harm(
    place: Site, app: Celeriac, pool: str
) -> None:
    begin(place, pool)
    gate = place.folder / "gate"
    ids = [place.send("tasks.limited", str(gate), soft_time_limit=0.5)[0] for _ in range(4)]
    for id in ids:
        result = app.AsyncResult(id)
        error = result.get(timeout=DEADLINE, propagate=False)
        assert "SoftTimeLimitExceeded" in type(error).__name__, error
        said = result.progress
        assert said is not None
        assert said.current > 100
    # The process is as good as before.
    (after,) = place.send("tasks.count", 10, str(place.folder / "tasks.py"))
    assert app.AsyncResult(after).get(timeout=DEADLINE) == 10
    assert [each for each in place.workers[0].text().splitlines() if "not shown" in each] == []


def test_a_thousand_brief_tasks_keep_theirs(place: Site, app: Celeriac) -> None:
    begin(place, "prefork")
    ids = place.python(
        "import tasks\n"
        "for each in tasks.app.enqueue_many(tasks.brief.s(n) for n in range(1000)):\n"
        "    print(each.id)\n"
    ).split()
    place.ended(ids)
    told = [app.AsyncResult(id).progress for id in ids]
    assert [each and each.current for each in told] == list(range(1000))


def test_how_far_a_task_was_whose_process_was_killed(place: Site, app: Celeriac) -> None:
    begin(place, "prefork")
    gate = place.folder / "gate"
    (id,) = place.send("tasks.dies", str(gate))
    result = app.AsyncResult(id)
    eventually(lambda: result.progress, "its word")
    gate.touch()
    (record,) = place.ended([id])
    assert record.state == "dead", record.reason
    said = result.progress
    assert said is not None
    assert (said.current, said.message) == (3, "about to die")


# -- result --follow -------------------------------------------------------------------------------


class Told:
    """A task that runs and says what the test tells it to."""

    def __init__(self, place: Site) -> None:
        self.script = place.folder / "script"
        self.says("1")
        begin(place, "prefork")
        (self.id,) = place.send("tasks.told", str(self.script))
        eventually(lambda: place.record(self.id).state == "running", "its start is known")

    def says(self, text: str) -> None:
        draft = self.script.with_suffix(".new")
        draft.write_text(text)
        draft.rename(self.script)


def follow(place: Site, *args: str, **more: Any) -> subprocess.Popen[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "celeriac", "-A", "tasks", "result", "--follow", *args],
        cwd=place.folder, env={**place.environment, "TERM": "xterm"}, text=True, **given,
    )  # fmt: skip


def test_follow_prints_lines_and_the_result(place: Site) -> None:
    task = Told(place)
    following = follow(place, task.id)
    assert following.stderr is not None
    lines: list[str] = []
    for number in (1, 2, 3):
        task.says(str(number))
        while not lines or f"step {number}" not in lines[-1]:
            lines.append(following.stderr.readline())
    task.says("end")
    out, err = following.communicate(timeout=DEADLINE)
    assert (following.returncode, out) == (0, "3 steps\n")
    assert err == "SUCCESS 3 of 10 (30 %): step 3\n"
    assert [line for line in lines if line.startswith("STARTED 2 of 10 (20 %), ")]


def test_follow_as_json_is_one_object_a_change(place: Site) -> None:
    task = Told(place)
    following = follow(place, task.id, "--json")
    assert following.stdout is not None
    found: list[Any] = []
    for number in (1, 2, 3):
        task.says(str(number))
        while not found or (found[-1]["progress"] or {}).get("current") != number:
            found.append(json.loads(following.stdout.readline()))
    task.says("fail")
    out, err = following.communicate(timeout=DEADLINE)
    assert (following.returncode, err) == (5, "")
    (end,) = map(json.loads, out.splitlines())
    assert {each["id"] for each in (*found, end)} == {task.id}
    assert [each["progress"]["current"] for each in found if each["progress"]] == [1, 2, 3]
    assert not any(each["ready"] for each in found)
    assert (end["ready"], end["state"], end["progress"]["current"]) == (True, "FAILURE", 3)
    assert end["error"] == "ValueError: the last step"


def test_ctrl_c_leaves_the_task_running_and_says_so(place: Site, app: Celeriac) -> None:
    begin(place, "prefork")
    gate = place.folder / "gate"
    (id,) = place.send("tasks.count", 10, str(gate))
    eventually(lambda: app.AsyncResult(id).progress, "it runs")
    following = follow(place, id, "--json")
    assert following.stdout is not None
    assert following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=DEADLINE)
    assert following.returncode == 130
    assert f"Task {id} was left alone and goes on. To stop it: celeriac -A tasks revoke" in err
    gate.touch()
    assert app.AsyncResult(id).get(timeout=DEADLINE) == 10


def test_follow_draws_a_bar_on_a_terminal(place: Site) -> None:
    task = Told(place)
    master, slave = os.openpty()
    following = follow(place, task.id, stderr=slave)
    os.close(slave)
    drawn = b""
    try:
        for number, shown in ((2, b"[####-----"), (5, b"[############-----")):
            task.says(str(number))
            while shown not in drawn:
                drawn += os.read(master, 65536)
        task.says("end")
        while True:
            drawn += os.read(master, 65536)
    except OSError:  # all is read, and nobody writes any more
        os.close(master)
    out, _ = following.communicate(timeout=DEADLINE)
    assert (following.returncode, out) == (0, "5 steps\n")
    text = drawn.decode()
    assert "\rSTARTED [############------------] 5 of 10 (50 %)" in text
    assert text.rstrip(" \r\n").endswith(
        "\rSUCCESS [############------------] 5 of 10 (50 %): step 5"
    )
    assert text.endswith("\n")


def test_why_tells_how_far_it_is(place: Site, app: Celeriac) -> None:
    begin(place, "prefork")
    gate = place.folder / "gate"
    (id,) = place.send("tasks.count", 200, str(gate))
    eventually(lambda: (said := app.AsyncResult(id).progress) and said.current == 200, "counted")
    command = [sys.executable, "-m", "celeriac", "-A", "tasks", "why", id]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environment, text=True, capture_output=True,
        timeout=DEADLINE, check=True,
    )  # fmt: skip
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("  progress ")]
    assert "200 of 200 (100 %)" in line
    assert "number 200" in line
    gate.touch()
