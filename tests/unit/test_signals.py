"""Signals: connecting, sending, letting go; and that the list of names is Celery's."""

import gc
import logging
import re
from pathlib import Path

import pytest
from tests.support.inline import make_app

from celeriac import Celeriac, shared_task, signals
from celeriac.app import current
from celeriac.exceptions import CeleryWarning, NotInThisVersion
from celeriac.signals import Signal

#: Every signal of Celery's, and what is sent along.
CELERY = {
    "before_task_publish": "body exchange routing_key headers properties declare retry_policy",
    "after_task_publish": "body headers exchange routing_key",
    "task_prerun": "task_id task args kwargs",
    "task_postrun": "task_id task args kwargs retval state",
    "task_success": "result runtime",
    "task_failure": "task_id exception args kwargs traceback einfo",
    "task_retry": "request reason einfo",
    "task_internal_error": "task_id args kwargs request exception traceback einfo",
    "task_received": "request",
    "task_revoked": "request terminated signum expired",
    "task_unknown": "name id message exc",
    "task_rejected": "message exc",
    "task_sent": "task_id task args kwargs eta taskset",
    "celeryd_init": "instance conf options",
    "celeryd_after_setup": "instance conf",
    "worker_init": "",
    "worker_before_create_process": "",
    "worker_process_init": "",
    "worker_process_shutdown": "pid exitcode",
    "worker_ready": "",
    "worker_shutting_down": "sig how exitcode",
    "worker_shutdown": "",
    "heartbeat_sent": "",
    "import_modules": "",
    "setup_logging": "loglevel logfile format colorize",
    "after_setup_logger": "logger loglevel logfile format colorize",
    "after_setup_task_logger": "logger loglevel logfile format colorize",
    "beat_init": "",
    "beat_embedded_init": "",
    "user_preload_options": "app options",
}
REFUSED = [
    "eventlet_pool_started",
    "eventlet_pool_preshutdown",
    "eventlet_pool_postshutdown",
    "eventlet_pool_apply",
]
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "signals.md"


@pytest.fixture
def signal():
    return Signal({"number"}, name="something")


def hear(**kwargs):
    return kwargs


# -- the list ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELERY)
def test_every_signal_of_celery_is_there_with_its_arguments(name):
    found = getattr(signals, name)
    assert isinstance(found, Signal)
    assert found.name == name
    assert found.providing_args == set(CELERY[name].split())
    assert name in signals.__all__


def test_no_signal_is_there_that_celery_does_not_have():
    ours = {name for name in signals.__all__ if isinstance(getattr(signals, name), Signal)}
    assert ours - set(CELERY) == {"celeriacd_init"}
    assert signals.celeriacd_init is signals.celeryd_init


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_is_refused_by_name(name):
    with pytest.raises(NotInThisVersion, match=name):
        getattr(signals, name)
    with pytest.raises(AttributeError, match="nonsense"):
        signals.nonsense  # noqa: B018 - the look-up is the test


def test_a_signal_that_nobody_sends_says_so_when_it_is_connected_to():
    with pytest.warns(CeleryWarning, match="beat_init: periodic tasks are not in this version"):
        signals.beat_init.connect(hear)
    signals.beat_init.disconnect(hear)


def test_the_door_of_utils():
    from celeriac.utils.dispatch import Signal as Other

    assert Other is Signal


# -- connecting --------------------------------------------------------------------------------


def test_sending_calls_the_receivers_with_signal_and_sender(signal):
    signal.connect(hear)
    assert signal.send("me", number=1) == [
        (hear, {"signal": signal, "sender": "me", "number": 1}),
    ]
    assert signal.send_robust("me", number=1) == signal.send("me", number=1)


def test_a_signal_without_receivers_is_false_and_sends_nothing(signal):
    assert not signal.receivers
    assert not signal.has_listeners()
    assert signal.send("me") == []


def test_decorators_with_and_without_arguments_leave_the_function_as_it_is(signal):
    @signal.connect
    def one(**kwargs):
        return 1

    @signal.connect(sender="me")
    def two(**kwargs):
        return 2

    @signal.connect("you")
    def three(**kwargs):
        return 3

    @signal.connect(weak=False, dispatch_uid="four")
    def four(sender=None, **kwargs):
        return 4

    assert (one(), two(), three(), four()) == (1, 2, 3, 4)
    assert [response for _, response in signal.send("me")] == [1, 2, 4]
    assert [response for _, response in signal.send("you")] == [1, 3, 4]
    assert signal.has_listeners("me")


def test_a_receiver_is_connected_once(signal):
    signal.connect(hear)
    signal.connect(hear)
    signal.connect(hear, sender="me")
    assert len(signal.send("me")) == 2
    assert len(signal.send("you")) == 1


def test_dispatch_uid_makes_two_functions_one_connection(signal):
    def again(**kwargs):
        return "second"

    signal.connect(hear, dispatch_uid="key")
    signal.connect(again, dispatch_uid="key")
    assert [receiver for receiver, _ in signal.send(None)] == [hear]
    assert signal.disconnect(dispatch_uid="key")
    assert not signal.receivers


def test_disconnecting(signal):
    signal.connect(hear, sender="me")
    assert not signal.disconnect(hear)
    assert signal.disconnect(hear, sender="me")
    assert not signal.disconnect(hear, sender="me")
    assert signal.send("me") == []


def test_receivers_are_held_weakly_unless_told_otherwise(signal):
    def weak(**kwargs):
        return "weak"

    def strong(**kwargs):
        return "strong"

    signal.connect(weak)
    signal.connect(strong, weak=False)
    del weak, strong
    gc.collect()
    assert [response for _, response in signal.send(None)] == ["strong"]
    assert len(signal.receivers) == 1


def test_methods_are_held_weakly_by_their_object(signal):
    class Counter:
        heard = 0

        def hear(self, **kwargs):
            self.heard += 1

    counter, other = Counter(), Counter()
    signal.connect(counter.hear)
    signal.connect(other.hear)
    signal.send(None)
    assert (counter.heard, other.heard) == (1, 1)
    assert signal.disconnect(other.hear)
    del counter
    gc.collect()
    assert signal.send(None) == []
    assert not signal.has_listeners()


def test_the_version_grows_when_receivers_come_and_go(signal):
    seen = [signals.version()]

    def local(**kwargs):
        pass

    signal.connect(local)
    seen.append(signals.version())
    signal.connect(local)
    assert signals.version() == seen[-1]
    del local
    gc.collect()
    seen.append(signals.version())
    signal.connect(hear)
    seen.append(signals.version())
    signal.disconnect(hear)
    seen.append(signals.version())
    assert seen == sorted(set(seen))


def test_a_receiver_must_take_keywords_and_be_callable(signal):
    with pytest.raises(ValueError, match=r"narrow takes no \*\*kwargs"):

        @signal.connect
        def narrow(sender):
            pass

    with pytest.raises(TypeError, match="a receiver of a signal is a function, not 3"):
        signal.connect(3)


def test_a_receiver_that_raises_is_logged_and_the_others_are_called(signal, caplog):
    def bad(**kwargs):
        raise ValueError("no")

    signal.connect(bad)
    signal.connect(hear)
    with caplog.at_level(logging.ERROR, "celeriac.signals"):
        (first, error), (second, _) = signal.send("me")
    assert first is bad
    assert second is hear
    assert isinstance(error, ValueError)
    assert "bad of the signal something raised" in caplog.text
    assert "ValueError: no" in caplog.text


def test_retry_calls_again_until_it_does_not_raise(signal, monkeypatch):
    pauses = []
    monkeypatch.setattr("celeriac.signals.time.sleep", pauses.append)
    tries = []

    @signal.connect(retry=True)
    def shaky(**kwargs):
        tries.append(kwargs)
        if len(tries) < 20:
            raise OSError("away")
        return "there"

    assert [response for _, response in signal.send("me")] == ["there"]
    assert pauses[:3] == [2.0, 4.0, 6.0]
    assert pauses[-1] == 30.0
    assert signal.disconnect(shaky)


# -- senders -----------------------------------------------------------------------------------


def test_a_task_as_sender_is_that_task_alone(signal):
    app = make_app()

    @app.task
    def one():
        pass

    @app.task
    def two():
        pass

    signal.connect(hear, sender=one)
    assert signal.has_listeners(one)
    assert not signal.has_listeners(two)
    assert not signal.has_listeners("tasks.one")


def test_text_as_sender_is_compared_by_what_it_says(signal):
    signal.connect(hear, sender=str(b"tasks.add", "ascii"))
    assert signal.has_listeners("tasks.add")


@pytest.fixture
def shared_tasks():
    """Shared tasks belong to the process: that of the test goes with it."""
    before = list(current.shared)
    yield
    current.shared[:] = before


@pytest.mark.usefixtures("shared_tasks")
def test_a_shared_task_as_sender_is_the_task_of_the_app(signal):
    @shared_task(name="tests.signals.shared")
    def shared():
        pass

    signal.connect(hear, sender=shared)
    with Celeriac("x", broker="memory://signals") as app:
        assert signal.has_listeners(app.tasks["tests.signals.shared"])
        assert signal.has_listeners(shared)


# -- the page ----------------------------------------------------------------------------------


def test_the_page_has_a_row_for_every_signal_with_its_arguments():
    rows = {
        name: set(re.findall(r"`(\w+)`", args))
        for name, args in re.findall(
            r"^\| `(\w+)` \|[^|]*\|[^|]*\|([^|]*)\|", PAGE.read_text(), re.MULTILINE
        )
    }
    assert rows == {name: set(args.split()) for name, args in CELERY.items()}
