"""Logging: names and ids on every record inside a task, the worker's lines, the root left alone."""

import io
import json
import logging
import re
import sys
from contextlib import contextmanager

import pytest
from inline import drain, make_app

from celeriac import logs
from celeriac.context import Context, enter, leave
from celeriac.sensitive import Hider
from celeriac.utils.log import LOG_LEVELS, ColorFormatter, get_logger, get_task_logger, mlevel


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


def test_json_lines_hold_what_was_given_along(clean, inside):
    stream = io.StringIO()
    logs.setup("INFO", line="json", stream=stream)
    get_task_logger("shop").info("paid %d", 3, extra={"order": 7, "odd": object, "bad": Bad()})
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("celeriac.worker").exception("failed\nbadly")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], first["order"], first["level"]) == ("paid 3", 7, "INFO")
    assert (first["task_id"], first["task_name"]) == ("the-id", "mail.send")
    assert first["odd"] == "<class 'object'>"
    assert "unprintable" in first["bad"]
    assert second["message"] == "failed\nbadly"
    assert second["exception"].endswith("KeyError: 'x'")


class Bad:
    def __repr__(self):
        raise ZeroDivisionError


def test_times_have_forms_of_their_own(clean):
    stream = io.StringIO()
    logs.setup("INFO", date="D%Y", task_date="T%Y", stream=stream)
    logging.getLogger("celeriac.worker").info("a")
    get_task_logger("x").info("b")
    assert re.search(r"\[D\d{4}: .*a\n\[T\d{4}: .*b\n", stream.getvalue())


def test_no_color_is_heeded_unless_somebody_asks(clean, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("NO_COLOR", "1")
    assert not logs.colored(Terminal(), None)
    assert logs.colored(Terminal(), True)
    monkeypatch.setenv("NO_COLOR", "")
    assert logs.colored(Terminal(), None)


@pytest.mark.parametrize(
    ("pattern", "index", "path"),
    [
        ("%n.log", 0, "w1.log"),
        ("%n%I.log", 0, "w1.log"),
        ("%n%I.log", 3, "w1-3.log"),
        ("%i/%h-%d.log", 2, "2/host.example.org-example.org.log"),
        ("%p%%%x", 0, "w1@host.example.org%%x"),
    ],
)
def test_names_of_log_files(pattern, index, path):
    assert logs.node_path(pattern, "w1@host.example.org", index) == path


@contextmanager
def redirected():
    """Standard output as a task has it. Not a fixture: the test runner changes the streams between
    the making of fixtures and the test."""
    before, real = sys.stdout, io.StringIO()
    sys.stdout = real
    logs.redirect("INFO")
    try:
        yield real
    finally:
        logs.restore()
        sys.stdout = before


def test_prints_are_records_line_by_line(stream, inside):
    with redirected() as real:
        print("one", "two")
        print("\x1b[32mgreen\x1b[0m\n\n  indented")
        sys.stdout.writelines(["a", "b\n"])
        lines = [line.partition("]: ")[2] for line in stream.getvalue().splitlines()]
        assert lines == ["one two", "green", "  indented", "ab"]
        assert real.getvalue() == ""
        assert not sys.stdout.isatty()


def test_a_line_begun_is_logged_when_its_run_ends(stream):
    with redirected():
        token = enter(Context(id="a", task="t"), None)
        print("half", end="")
        assert stream.getvalue() == ""
        leave(token)
        assert stream.getvalue().endswith("t[a]: half\n")


def test_what_a_handler_prints_while_it_logs_does_not_come_back(stream):
    with redirected() as real:

        class Prints(logging.Handler):
            def emit(self, record):
                print("in the handler")

        handler = Prints()
        logger = logging.getLogger("celeriac.redirected")
        logger.addHandler(handler)
        try:
            print("once")
        finally:
            logger.removeHandler(handler)
        assert real.getvalue() == "in the handler\n"
        assert stream.getvalue().count("once") == 1


def test_restore_gives_the_streams_back(stream):
    with redirected() as real:
        print("begun", end="")
        logs.restore()
        assert sys.stdout is real
    assert "begun" in stream.getvalue()


def test_loggers_of_an_application_without_a_set_up_show(clean, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(logging, "basicConfig", logging.basicConfig)
    before = root.level
    stream = io.StringIO()
    try:
        root.setLevel(logging.WARNING)
        logs.setup("INFO", stream=stream)
        logs.adopt_homeless()
        logging.getLogger("some.shop").info("seen")
        # A function of the module sets up the root logger where nobody has.
        logging.info("of the module")  # noqa: LOG015
        logging.getLogger("some.shop").info("seen again")
        assert root.handlers == []
        lines = stream.getvalue().splitlines()
        logging.basicConfig(level="INFO", stream=io.StringIO(), format="own %(message)s")
        logging.info("form")  # noqa: LOG015
        assert root.handlers[0].stream.getvalue() == "own form\n"
    finally:
        root.setLevel(before)
    for line, text in zip(lines, ("seen", "of the module", "seen again"), strict=True):
        assert re.fullmatch(rf"\[.*: INFO/.*\] {text}", line)


def test_hidden_arguments_are_in_no_record_whoever_writes_it(clean):
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(logging.Formatter().format(record) + repr(vars(record)))

    logs.mark_records()
    logger = logging.getLogger("somebody.elses")
    handler = Keep()
    logger.addHandler(handler)
    token = enter(Context(id="a", task="t", hider=Hider(["hunter2"])), None)
    inner = enter(Context(id="b", task="u"), None)  # called directly by the first
    try:
        logger.warning("with %s", "hunter2", extra={"data": ["hunter2"]})
        logger.warning("%d", "hunter2")
        try:
            raise ValueError("hunter2")
        except ValueError:
            logger.exception("caught")
    finally:
        leave(inner)
        leave(token)
        logger.removeHandler(handler)
    assert len(records) == 3
    assert "hunter2" not in "".join(records)
    assert "ValueError: ***" in records[2]


def test_names_of_celerys_module():
    assert mlevel("info") == mlevel(20) == LOG_LEVELS["INFO"] == 20
    record = logging.makeLogRecord({"levelno": logging.ERROR, "levelname": "ERROR", "msg": "x"})
    assert ColorFormatter().format(record) == "\x1b[31mERROR: x\x1b[0m"
    assert ColorFormatter("%(message)s", use_color=False).format(record) == "x"
