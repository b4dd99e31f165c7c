"""What real workers log, and how: forms, files, what tasks print, other libraries."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import DEADLINE, Site, eventually, site


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, "logging_tasks.py") as found:
        yield found


def run(place: Site, name: str = "speak", *options: str, **environment: str) -> tuple[str, str]:
    """Run one task in one worker; returns its id and what the worker wrote."""
    task_id = place.send(f"tasks.{name}", "salt")[-1]  # after what is printed at import
    worker = place.worker("-c", "1", "--burst", *options, **environment)
    assert worker.process.wait(DEADLINE) == 0, worker.text()
    assert place.record(task_id).state == "succeeded", worker.text()
    return task_id, worker.text()


def test_what_a_task_says_has_its_name_and_id(place: Site) -> None:
    task_id, text = run(place)
    head = rf"executor 1\] tasks\.speak\[{task_id}\]: "
    for line in ("task logger salt", "printed salt", "in part", "written salt", "second line"):
        assert re.search(head + re.escape(line) + "$", text, re.MULTILINE), line
    assert "WARNING/executor 1] tasks.speak" in text
    assert "INFO/executor 1] shop salt" in text
    assert "WARNING/executor 1] shop warns salt" in text
    # Printed before there was a worker, and by one process alone.
    assert text.splitlines().count("printed at import") == 1


def test_coroutines_and_the_solo_pool_say_theirs(place: Site) -> None:
    task_id, text = run(place, "speak_async")
    assert f"tasks.speak_async[{task_id}]: printed async salt" in text
    assert "async salt" in text
    task_id, text = run(place, "speak", "-P", "solo")
    assert f"MainProcess] tasks.speak[{task_id}]: printed salt" in text


def test_threads_of_a_task_print_records_too(place: Site) -> None:
    _, text = run(place, "speak_in_thread")
    assert "WARNING/executor 1] printed in a thread salt" in text


def test_prints_can_be_left_alone(place: Site) -> None:
    _, text = run(place, CELERIAC_WORKER_REDIRECT_STDOUTS="false")
    assert "printed salt" in text.splitlines()
    _, text = run(place, CELERIAC_WORKER_REDIRECT_STDOUTS_LEVEL="DEBUG")
    assert "printed salt" not in text


@pytest.mark.parametrize("how", ["option", "setting"])
def test_json_lines(place: Site, how: str) -> None:
    options = ("--log-format", "json") if how == "option" else ()
    environment = {} if how == "option" else {"CELERIAC_WORKER_LOG_FORMAT": "json"}
    task_id, text = run(place, "speak", "-q", *options, **environment)
    lines = [json.loads(line) for line in text.splitlines() if line != "printed at import"]
    by_message = {line["message"]: line for line in lines}
    ready = next(line for line in lines if line["message"].endswith("ready."))
    assert "task_id" not in ready
    assert ready["logger"] == "celeriac.worker"
    for message in ("task logger salt", "shop warns salt", "printed salt", "in part"):
        line = by_message[message]
        assert (line["task_id"], line["task_name"]) == (task_id, "tasks.speak")
        assert (line["queue"], line["attempt"], line["retries"]) == ("celery", 1, 0)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    received = by_message[f"Task tasks.speak[{task_id}] received"]
    assert (received["task_id"], received["task_name"]) == (task_id, "tasks.speak")
    assert by_message["shop warns salt"]["order"] == 7
    assert by_message["shop warns salt"]["level"] == "WARNING"


def test_times_in_another_form(place: Site) -> None:
    _, text = run(
        place,
        CELERIAC_WORKER_LOG_DATEFMT="AT %H",
        CELERIAC_WORKER_TASK_LOG_DATEFMT="TASK %H",
    )
    assert re.search(r"\[AT \d\d: INFO/MainProcess\] ", text)
    assert re.search(r"\[TASK \d\d: INFO/executor 1\] tasks.speak", text)


def test_a_log_file_for_all_and_one_for_each_executor(place: Site) -> None:
    _, text = run(place, "speak", "-n", "w@h", "-f", "all-%n.log")
    file = (place.folder / "all-w.log").read_text()
    assert "ready." in file
    assert "printed salt" in file
    assert "[tasks]" in text  # the banner
    assert "salt" not in text
    _, _ = run(place, "speak", "-n", "w@h", "--logfile", "%n%I.log")
    assert "ready." in (place.folder / "w.log").read_text()
    assert "printed salt" in (place.folder / "w-1.log").read_text()
    assert "printed salt" not in (place.folder / "w.log").read_text()


def test_a_log_file_that_was_moved_is_made_anew(place: Site) -> None:
    path = place.folder / "w.log"
    worker = place.worker("-c", "1", "-f", "w.log")
    eventually(lambda: path.exists() and "ready." in path.read_text(), "ready")
    path.rename(place.folder / "w.log.1")
    place.ended(place.send("tasks.speak", "pepper")[-1:])
    eventually(lambda: path.exists() and "printed pepper" in path.read_text(), "a new file")
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        (("--no-color",), {}, False),
        ((), {"CELERIAC_WORKER_LOG_COLOR": "false"}, False),
        ((), {"NO_COLOR": "1", "CELERIAC_WORKER_LOG_COLOR": "true"}, True),
        (("-f", "w.log"), {}, False),
    ],
)
def test_colours_on_a_terminal(
    place: Site, options: tuple[str, ...], environment: dict[str, str], coloured: bool
) -> None:
    place.send("tasks.speak", "salt")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "celeriac", "-A", "tasks", "worker", "-c", "1", "--burst", *options],
        cwd=place.folder,
        env={**place.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65_536):
            written += part
    except OSError:  # a terminal whose other side is closed reads as an error
        assert process.wait(DEADLINE) == 0
    finally:
        os.close(ours)
        process.wait(DEADLINE)
    if options[:1] == ("-f",):
        written += (place.folder / "w.log").read_bytes()
    assert b"printed salt" in written
    assert (b"\x1b[33m" in written) is coloured


def test_structlog_as_people_set_it_up(place: Site) -> None:
    task_id, text = run(place, "speak_elsewhere", LOGS="structlog")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    event = next(line for line in lines if line["event"] == "an event")
    assert (event["word"], event["level"]) == ("salt", "info")
    task_id, text = run(place, "speak", LOGS="structlog")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    shop = next(line for line in lines if line["event"] == "shop warns salt")
    assert (shop["task_id"], shop["task_name"]) == (task_id, "tasks.speak")
    assert text.count("shop warns salt") == 1  # the application's handler has it, ours not


def test_structlog_without_any_set_up(place: Site) -> None:
    """It prints, and what is printed is a record of the task."""
    task_id, text = run(place, "speak_elsewhere")
    line = next(line for line in text.splitlines() if "an event" in line)
    assert f"tasks.speak_elsewhere[{task_id}]: " in line
    assert "word=salt" in line
    assert "x1b" not in line


def test_loguru_as_people_set_it_up(place: Site) -> None:
    """Its own lines, with the task put in by a patcher, and those of the standard library through
    a receiver of setup_logging: then nothing of ours is set up."""
    task_id, text = run(place, "speak_elsewhere", LOGS="loguru")
    assert f"LOGURU tasks.speak_elsewhere[{task_id}] by loguru salt" in text.splitlines()
    task_id, text = run(place, "speak", LOGS="loguru")
    assert f"LOGURU tasks.speak[{task_id}] shop warns salt" in text.splitlines()
    assert f"LOGURU tasks.speak[{task_id}] task logger salt" in text.splitlines()
    assert f"LOGURU tasks.speak[{task_id}] Task tasks.speak[{task_id}] succeeded" in text
    assert "printed salt" in text.splitlines()  # as with Celery: then nothing is redirected
    assert "/executor 1]" not in text


def test_loguru_without_any_set_up(place: Site) -> None:
    _, text = run(place, "speak_elsewhere")
    assert re.search(r"INFO.*tasks:speak_elsewhere:\d+ - by loguru salt", text)


def test_receivers_can_change_what_was_set_up(place: Site) -> None:
    _, text = run(place, "speak", LOGS="after")
    lines = text.splitlines()
    assert "AFTER 20 False task logger salt" in lines
    assert "AFTER 20 False printed salt" in lines
    assert "TASKS task logger salt" in lines


def test_the_root_loggers_handlers_are_never_touched(place: Site) -> None:
    code = place.folder / "tasks.py"
    code.write_text(
        code.read_text()
        + "\n@app.task\ndef look(word):\n"
        + "    root = logging.getLogger()\n"
        + "    assert root.handlers == [], root.handlers\n"
        + "    logging.basicConfig(format='MINE %(message)s', stream=sys.__stderr__)\n"
        + "    shop.warning('now mine')\n"
    )
    _, text = run(place, "look")
    assert "MINE now mine" in text.splitlines()
