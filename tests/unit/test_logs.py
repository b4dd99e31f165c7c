"""Logging: names and ids on every record inside a task, the worker's lines, the root left alone."""

import io
import logging
import re

import pytest
from inline import drain, make_app

from celeriac import logs
from celeriac.context import Context, enter, leave
from celeriac.utils.log import get_logger, get_task_logger


@pytest.fixture
def clean():
    """Undo what setup() does."""
    base = logging.getLogger("celeriac")
    before = (list(base.handlers), base.level, base.propagate, logging.Logger.makeRecord)
    yield base
    base.handlers[:], level, base.propagate, logging.Logger.makeRecord = before
    base.setLevel(level)


@pytest.fixture
def stream(clean):
    stream = io.StringIO()
    logs.setup("INFO", stream=stream)
    return stream


@pytest.fixture
def inside():
    token = enter(Context(id="the-id", task="mail.send"), None)
    yield
    leave(token)


def test_the_workers_lines(stream):
    logging.getLogger("celeriac.worker").info("ready.")
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/MainProcess\] ready\.\n", stream.getvalue()
    )


def test_lines_of_a_task_name_it(stream, inside):
    get_task_logger("shop.mail").warning("no %s", "letter")
    assert stream.getvalue().endswith(": WARNING/MainProcess] mail.send[the-id]: no letter\n")


def test_lines_of_a_task_logger_outside_a_task(stream):
    get_task_logger("shop.mail").warning("x")
    assert "???[???]: x" in stream.getvalue()


def test_lines_about_a_task_do_not_name_it_twice(stream, inside):
    logging.getLogger("celeriac.task").info("Task mail.send[the-id] succeeded in 1s: None")
    assert stream.getvalue().count("the-id") == 1


def test_every_logger_has_the_task_on_its_records(stream, inside):
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record)

    handler = Keep()
    for name in ("somebody.elses", ""):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        try:
            logger.warning("x")
        finally:
            logger.removeHandler(handler)
    assert [(each.task_id, each.task_name) for each in records] == [("the-id", "mail.send")] * 2


def test_an_extra_of_the_same_name_is_left_as_it_is(stream, inside):
    get_task_logger("t").warning("x", extra={"task_id": "mine"})
    assert "mail.send[mine]" in stream.getvalue()


def test_outside_a_task_records_are_as_ever(clean):
    logs.mark_records()
    record = logging.getLogger("x").makeRecord("x", 20, "f", 1, "m", (), None)
    assert not hasattr(record, "task_id")


def test_the_root_logger_is_left_alone(clean):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    logs.setup("DEBUG", stream=io.StringIO())
    assert (list(root.handlers), root.level) == before
    assert clean.propagate is False
    assert clean.level == logging.DEBUG


def test_setup_twice_writes_once(stream):
    again = io.StringIO()
    logs.setup("info", stream=again)
    logging.getLogger("celeriac.worker").info("x")
    assert stream.getvalue() == ""
    assert again.getvalue().count("x") == 1


def test_handlers_of_the_application_are_kept(clean):
    own = logging.NullHandler()
    clean.addHandler(own)
    logs.setup("INFO", stream=io.StringIO())
    assert own in clean.handlers


def test_the_level_counts(clean):
    stream = io.StringIO()
    logs.setup("ERROR", stream=stream)
    logging.getLogger("celeriac.worker").warning("x")
    assert stream.getvalue() == ""


def test_colours_follow_the_level_where_they_are_asked_for(clean):
    stream = io.StringIO()
    logs.setup("INFO", color=True, stream=stream)
    for level in ("info", "error"):
        getattr(logging.getLogger("celeriac.worker"), level)("x")
    first, second = stream.getvalue().splitlines()
    assert "\x1b" not in first
    assert second.startswith("\x1b[31m")
    assert second.endswith("\x1b[0m")


def test_a_terminal_is_coloured_by_itself(clean):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    logs.setup("INFO", stream=stream)
    logging.getLogger("celeriac").error("x")
    assert "\x1b[31m" in stream.getvalue()


def test_control_characters_are_shown_and_not_sent(stream):
    logging.getLogger("celeriac.worker").info("a\x1b[2Jb\rc\x00d\x9be\tf\ng")
    assert "a\\x1b[2Jb\\x0dc\\x00d\\x9be\tf\ng" in stream.getvalue()


def test_formats_can_be_set(clean):
    stream = io.StringIO()
    logs.setup("INFO", line="W %(message)s", task_line="T %(task_id)s %(message)s", stream=stream)
    logging.getLogger("celeriac.worker").info("a")
    get_task_logger("x").info("b")
    assert stream.getvalue() == "W a\nT ??? b\n"


def test_names_of_loggers():
    assert get_task_logger("shop").name == "celeriac.task.shop"
    assert get_task_logger("celeriac.task.shop").name == "celeriac.task.shop"
    assert get_logger("x").name == "celeriac.x"
    assert get_logger("celeriac.x").name == "celeriac.x"


def test_inside_a_real_task(stream):
    app = make_app()
    log = get_task_logger(__name__)

    @app.task(name="t")
    def t():
        log.info("working")

    result = t.delay()
    drain(app)
    assert f"t[{result.id}]: working" in stream.getvalue()
    assert f"Task t[{result.id}] succeeded in " in stream.getvalue()
