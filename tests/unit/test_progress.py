"""Progress: the value, what a task may say, and how what it says is coalesced."""

import math
import os
import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from inline import drain, make_app
from workers import eventually

from celeriac import showing, states
from celeriac.bodies import unseal
from celeriac.cli.follow import Follower
from celeriac.context import Context, enter, leave
from celeriac.control.progress import bar, cut, told, width
from celeriac.exceptions import CeleryWarning, OperationalError
from celeriac.outcome import Outcome
from celeriac.progress import MESSAGE_MAX, Progress, reported, total
from celeriac.records import Commit, Fence, Manifest, Want

FENCE = Fence("a", 1, "n")


@pytest.fixture
def app():
    return make_app()


def said(*steps, message=""):
    """The progress after these (current, total, moment)."""
    last = None
    for current, of, now in steps:
        last = reported(current, of, message, last, now)
    return last


# -- the value -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "of", "fraction"),
    [(0, 4, 0.0), (1, 4, 0.25), (4, 4, 1.0), (5, 4, 1.0), (0, 0, 1.0), (3, None, None)],
)
def test_fraction(current, of, fraction):
    assert said((current, of, 0.0)).fraction == fraction


def test_rate_and_remaining_are_of_all_that_was_done_since_the_first_word():
    assert (said((0, 10, 100.0)).rate, said((0, 10, 100.0)).remaining) == (None, None)
    later = said((0, 10, 100.0), (1, 10, 101.0), (4, 10, 102.0))
    assert (later.rate, later.remaining) == (2.0, 3.0)
    assert later.updated_at.timestamp() == 102.0
    # One that begins in the middle is not credited with what was there.
    assert said((50, 100, 0.0), (60, 100, 5.0)).rate == 2.0
    assert said((1, None, 0.0), (2, None, 1.0)).remaining is None
    assert said((0, 2, 0.0), (3, 2, 1.0)).remaining == 0.0
    assert said((1, 2, 0.0), (1, 2, 1.0)).rate is None


def test_a_clock_that_steps_back_gives_no_rate():
    assert said((0, 10, 100.0), (5, 10, 50.0)).rate is None


def test_going_back_counts_anew():
    again = said((0, 10, 0.0), (10, 10, 1.0), (0, 100, 50.0), (10, 100, 60.0))
    assert (again.rate, again.remaining) == (1.0, 90.0)


def test_it_is_frozen_and_plain():
    last = said((1, 4, 0.0), message="page 1")
    with pytest.raises(AttributeError):
        last.current = 2
    assert last.as_dict() == {
        "current": 1,
        "total": 4,
        "fraction": 0.25,
        "message": "page 1",
        "updated_at": "1970-01-01T00:00:00.000+00:00",
        "rate": None,
        "remaining": None,
    }


class Indexed:
    """A whole number of another library."""

    def __index__(self):
        return 7


@pytest.mark.parametrize(
    ("given", "kept"),
    [(3, 3), (0.5, 0.5), (Decimal("1.5"), 1.5), (Fraction(1, 2), 0.5), (Indexed(), 7),
     (1 << 80, float(1 << 80)), ((1 << 63) - 1, (1 << 63) - 1)],
)  # fmt: skip
def test_numbers_of_any_kind_are_taken(given, kept):
    found = reported(given, given, "", None, 0.0)
    assert (found.current, found.total) == (kept, kept)
    assert (type(found.current), type(found.total)) == (type(kept), type(kept))


@pytest.mark.parametrize("value", ["3", b"3", True, [1], 1j, object()])
@pytest.mark.parametrize("name", ["current", "total"])
def test_what_is_no_number_is_refused(name, value):
    given = {"current": 1, "total": 2, name: value}
    with pytest.raises(TypeError, match=rf"progress\(\): {name} is .*it must be a number"):
        reported(given["current"], given["total"], "", None, 0.0)


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["current", "total"])
def test_what_is_negative_or_not_finite_is_refused(name, value):
    given = {"current": 1, "total": 2, name: value}
    with pytest.raises(ValueError, match=rf"{name} is .*finite and not below 0"):
        reported(given["current"], given["total"], "", None, 0.0)


def test_current_has_to_be_said():
    with pytest.raises(TypeError, match="current is None"):
        reported(None, 2, "", None, 0.0)


def test_messages():
    with pytest.raises(TypeError, match="message is 3, of type int; it must be text"):
        reported(1, 2, 3, None, 0.0)
    long = reported(1, 2, "x" * 10_000, None, 0.0).message
    assert (len(long), long[-1]) == (MESSAGE_MAX, "…")
    assert reported(1, 2, "caf\u00e9 \udc80", None, 0.0).message == "caf\u00e9 ?"


# -- the sum ---------------------------------------------------------------------------------------


def test_a_sum_of_nothing_is_none():
    assert total([]) is None
    assert total([None, None]) is None


def test_a_sum_adds_up_and_tells_the_newest_message():
    one = said((0, 10, 100.0), (4, 10, 102.0), message="one")
    two = said((0, 30, 101.0), (6, 30, 105.0), message="two")
    both = total([two, one])
    assert (both.current, both.total, both.fraction) == (10, 40, 0.25)
    assert (both.message, both.reported) == ("two", 105.0)
    assert (both.rate, both.remaining) == (2.0, 15.0)


def test_parts_that_have_not_begun_count_as_the_others_do():
    one, two = said((5, 10, 0.0)), said((5, 30, 0.0))
    assert total([one, two, None, None]).total == 80
    assert total([one, two, said((25, None, 0.0))]).total == 65
    assert total([one, said((2, None, 0.0))]).total == 20


def test_without_any_total_there_is_none():
    summed = total([said((5, None, 0.0)), None])
    assert (summed.current, summed.total, summed.fraction) == (5, None, None)


# -- in words --------------------------------------------------------------------------------------


def test_in_words():
    last = said((0, 100, 100.0), (40, 100, 110.0), message="page 40\x1b[2J")
    assert told(last, 110.0) == "40 of 100 (40 %), 4/s, 15 s left: page 40\\x1b[2J"
    assert told(last, 200.0).startswith("40 of 100 (40 %), said 1 min 30 s ago: ")
    assert told(last, 110.0, ended=True).startswith("40 of 100 (40 %): page")
    assert told(said((1234567, None, 0.0)), 1.0) == "1,234,567"
    fast = told(said((0.5, 2, 0.0), (1999, 2000, 1.0)), 1.0)
    assert fast == "1,999 of 2,000 (99 %), 1,998/s, 0 s left"
    assert told(said((12, 10, 0.0)), 1.0) == "12 of 10 (100 %)"


def test_as_a_bar():
    last = said((3, 4, 0.0))
    assert bar(last, 1.0) == "[##################------] 3 of 4 (75 %)"
    assert bar(said((3, None, 0.0)), 1.0) == "3"
    assert bar(said((9, 4, 0.0)), 1.0).startswith("[########################] ")


def test_a_line_fits_its_terminal():
    assert cut("short", 5) == "short"
    assert cut("too long", 5) == "too …"
    assert width(cut("\u65e5\u672c\u8a9e", 4)) <= 4


def test_who_follows_on_a_pipe_looks_once_a_second_and_a_program_more_often(app):
    pending = app.AsyncResult("any")
    assert Follower(pending, as_json=False).interval == 1.0
    assert Follower(pending, as_json=True).interval < 1.0


# -- in a run --------------------------------------------------------------------------------------


@pytest.fixture
def writes(app):
    """A run with a worker that is only a list; each write as (state, body)."""

    class Writes(list):
        pass

    @app.task(name="counts", bind=True)
    def counts(self):
        pass

    found = Writes()
    run = Context(id="a", task="counts", called_directly=False, fence=FENCE)
    run.write = lambda fence, state, data: found.append((state, unseal(data, fence.id, None)))
    token = enter(run, counts)
    found.task, found.run = counts, run
    yield found
    leave(token)


def test_the_first_word_is_written_at_once_and_the_last_one_always(writes):
    began = time.monotonic()
    for number in range(20_001):
        writes.task.progress(number, 20_000, "on")
    took = time.monotonic() - began
    eventually(lambda: writes and writes[-1][1].progress.current == 20_000, "the last word")
    numbers = [body.progress.current for _, body in writes]
    assert numbers == sorted(numbers)
    assert len(numbers) <= 3 + took / showing.INTERVAL
    assert {state for state, _ in writes} == {states.STARTED}
    assert writes.run.progress.current == 20_000


def test_a_state_and_progress_do_not_undo_each_other(writes):
    task = writes.task
    task.update_state(state="LOADING", meta={"file": 1})
    task.progress(1, 3)
    eventually(lambda: writes[-1][1].progress, "the first word")
    task.update_state(state="SAVING", meta=None)
    task.progress(2, 3)
    eventually(lambda: writes[-1][1].progress.current == 2, "the second word")
    told = [(state, body.value, body.progress and body.progress.current) for state, body in writes]
    assert told == [
        ("LOADING", b'{"file":1}', None),
        ("LOADING", b'{"file":1}', 1),
        ("SAVING", b"null", 1),
        ("SAVING", b"null", 2),
    ]


def test_many_threads_of_one_run_end_with_the_newest(writes):
    from contextvars import copy_context

    def count(here):
        for number in range(500):
            here.run(writes.task.progress, number)

    threads = [threading.Thread(target=count, args=(copy_context(),)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    newest = writes.run.progress
    eventually(lambda: writes and writes[-1][1].progress == newest, "the newest")


def test_who_has_ended_writes_no_more_and_is_not_kept(writes):
    from weakref import ref

    run = Context(id="b", task="counts", called_directly=False, fence=FENCE, args=("large",))
    told = []
    run.write = lambda *_: told.append(1)
    writes.task.progress(1)
    eventually(lambda: writes, "the line has been worked off, and rests")
    token = enter(run, writes.task)
    writes.task.progress(1)
    leave(token)
    kept = ref(run)
    del run
    assert kept() is None
    writes.task.progress(2)
    eventually(lambda: writes[-1][1].progress.current == 2, "the next run in line")
    assert told == []


def test_a_store_that_is_away_is_tried_again(writes, monkeypatch):
    write, left = writes.run.write, [1, 2]

    def away(*given):
        if left:
            left.pop()
            raise OperationalError("away")
        write(*given)

    writes.run.write = away
    writes.task.progress(5)
    eventually(lambda: writes, "written in the end")
    assert writes[0][1].progress.current == 5


def test_one_that_cannot_be_written_does_not_stop_the_others(writes, caplog):
    write, left = writes.run.write, [1]

    def broken(*given):
        if left:
            left.pop()
            raise RuntimeError("a bug")
        write(*given)

    writes.run.write = broken
    writes.task.progress(5)
    eventually(lambda: not left, "tried")
    writes.task.progress(6)
    eventually(lambda: writes, "the next one is written")
    assert "Progress of task a was not shown" in caplog.text


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_the_task_forks_shows_progress_itself(writes):
    writes.task.progress(1)
    eventually(lambda: writes, "the thread runs")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            writes.clear()
            writes.task.progress(2)
            eventually(lambda: writes[-1:] and writes[-1][1].progress.current == 2, "in the child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_direct_call_keeps_it_on_the_request(app, recwarn):
    @app.task(name="direct", bind=True)
    def direct(self):
        self.progress(1, 2, "half")
        return self.request.progress

    found = direct()
    assert (found.current, found.total, found.message) == (1, 2, "half")
    assert [each for each in recwarn if each.category is CeleryWarning] == []


def test_outside_of_any_run_it_is_lost_and_says_so(app):
    @app.task(name="bare", bind=True)
    def bare(self):
        pass

    with pytest.warns(CeleryWarning, match=r"bare is known here: progress\(\) is lost.*copy_cont"):
        bare.progress(1)


def test_an_eager_run_keeps_it(app):
    @app.task(name="eager", bind=True, max_retries=1)
    def eager(self):
        self.progress(1 + self.request.retries, 2)
        if not self.request.retries:
            raise self.retry(countdown=0)

    assert eager.apply().progress.current == 2

    @app.task(name="silent")
    def silent():
        pass

    assert silent.apply().progress is None


def test_a_worker_shows_it_and_keeps_the_last_word_with_the_result(app):
    seen = []

    @app.task(name="shows", bind=True)
    def shows(self, fail):
        result = app.AsyncResult(self.request.id)
        seen.append(result.progress)
        self.progress(1, 4, "begun")
        eventually(lambda: result.progress, "shown")
        seen.append((result.state, result.info, result.progress.current))
        self.progress(3, 4, "most")
        if fail:
            raise ValueError("lost the rest")
        return "done"

    well, ill = shows.delay(False), shows.delay(True)
    assert well.progress is None
    drain(app)
    assert seen == [None, ("STARTED", None, 1)] * 2
    assert (well.state, well.result, well.progress.current) == ("SUCCESS", "done", 3)
    assert (ill.state, ill.progress.message, ill.progress.fraction) == ("FAILURE", "most", 0.75)
    assert app.AsyncResult("never").progress is None


def test_a_repeat_begins_anew(app):
    @app.task(name="again", bind=True, max_retries=1)
    def again(self):
        if self.request.retries:
            return self.request.progress
        self.progress(5, 10)
        raise self.retry(countdown=0)

    sent = again.delay()
    drain(app)
    assert (sent.get(timeout=5), sent.progress) == (None, None)


def shown(app, task):
    """A call of *task* that has shown how far it is and runs on, and its delivery."""
    queue = app.store.queue
    queue.register("w", Manifest(tasks=app.facts()))
    sent = task.delay()
    (delivery,) = queue.exchange("w", 1, 1, [], (), ["celery"], Want(free=1)).deliveries
    run = Context(id=sent.id, fence=delivery.fence, write=queue.update, called_directly=False)
    token = enter(run, task)
    task.progress(7, 9)
    eventually(lambda: sent.progress, "shown")
    leave(token)
    return sent, delivery


def test_the_last_word_of_a_task_whose_worker_was_lost_is_what_was_shown(app):
    @app.task(name="killer", bind=True)
    def killer(self):
        pass

    sent, delivery = shown(app, killer)
    queue = app.store.queue
    dead = Commit(delivery.fence, Outcome(states.DEAD, reason="WorkerLostError: gone"))
    queue.exchange("w", 1, 2, [dead], (), ["celery"], Want())
    assert (sent.state, sent.progress.current) == ("FAILURE", 7)


def test_a_state_set_from_elsewhere_leaves_the_progress(app):
    @app.task(name="long", bind=True)
    def long(self):
        eventually(lambda: app.AsyncResult(self.request.id).progress, "shown")

    sent, _ = shown(app, long)
    long.update_state(sent.id, "PAUSED", {"by": "an operator"})
    assert (sent.state, sent.info, sent.progress.current) == ("PAUSED", {"by": "an operator"}, 7)


def test_what_a_task_hides_is_not_in_its_messages(app):
    @app.task(name="pays", bind=True, sensitive=["card"])
    def pays(self, card):
        self.progress(1, 2, f"charging {card}")
        eventually(lambda: app.AsyncResult(self.request.id).progress, "shown")
        assert "4711" not in app.AsyncResult(self.request.id).progress.message

    sent = pays.delay("4711-0815")
    drain(app)
    assert sent.get(timeout=5) is None
    assert sent.progress.message == "charging ***"


def test_signed_progress_is_verified():
    app = make_app(security_key="a key that nobody else has, long enough")

    @app.task(name="signs", bind=True)
    def signs(self):
        self.progress(1, 2)
        eventually(lambda: app.AsyncResult(self.request.id).progress, "shown")

    sent = signs.delay()
    drain(app)
    assert sent.progress == Progress(1, 2, "", sent.progress.reported, 1, sent.progress.since)


def test_an_ignored_result_keeps_no_progress(app):
    @app.task(name="ignored", bind=True, ignore_result=True)
    def ignored(self):
        self.progress(1, 2)

    sent = ignored.delay()
    drain(app)
    assert (sent.state, sent.progress) == ("SUCCESS", None)
