"""A client whose every call of a store fails, before and after it was applied; it does all that a
client can, and repeats what fails as people do. Prints what is to be held against the stores.

    python answer_client.py NAME
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import chaos_worker
import tasks
from tasks import app, insist

from celeriac import chain, chord, group
from celeriac.control.inspect import overview
from celeriac.exceptions import ResultNotFound, TaskFailed, TaskRevokedError
from celeriac.groupresult import GroupResult

chaos_worker.break_stores()  # they are opened by the first call
TIMEOUT = 120.0
#: More than are sent in one step.
STREAMED = 1100
name = sys.argv[1]
#: What is to succeed, with its value; what is to fail, or not to run.
values, failed, revoked, gone = {}, [], [], []
#: What was reopened once; bodies of chords.
reopened, bodies = [], []


def sent(result, value):
    values[result.id] = value
    return result


def got(result):
    return insist(lambda: result.get(timeout=TIMEOUT))


def failure(result):
    try:
        got(result)
    except (TaskFailed, ValueError):
        return
    raise AssertionError(f"{result.id} has not failed")


def cancelled(result):
    try:
        got(result)
    except TaskRevokedError:
        revoked.append(result.id)
        return
    raise AssertionError(f"{app.store.inspection.get([result.id])} was not revoked")


def at_last(probe, what):
    """Ask until *probe* says yes: the store of results hears of what happens to a call a moment
    later, when a worker has brought word of it."""
    until = time.monotonic() + TIMEOUT
    while not probe():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def succeeded_after_all(id):
    try:
        assert got(app.AsyncResult(id)) == "at last"
    except (TaskFailed, ValueError):
        return False
    return True


def is_forgotten(id):
    try:
        got(app.AsyncResult(id))
    except ResultNotFound:
        return True
    return False


def sends():
    """Calls, canvases, and a group that is sent in many steps."""
    for number in range(20):
        sent(tasks.same.apply_async((number,), task_id=f"{name}-same-{number}"), number)
    whole = [sent(tasks.sends.delay(3), 3), sent(tasks.shows.delay(), "shown")]
    for _ in range(30):
        sent(tasks.limited.delay(), None)
    line = chain(tasks.same.s(4), tasks.same.s()).apply_async()
    whole += [sent(line, 4), sent(line.parent, 4)]
    whole.append(sent(chord([tasks.same.s(n) for n in range(5)])(tasks.total.s()), 10))
    streamed = chord(tasks.same.s(n) for n in range(STREAMED))(tasks.total.s())
    whole.append(sent(streamed, STREAMED * (STREAMED - 1) // 2))
    bodies.extend(each.id for each in whole[-2:])
    for each in whole:
        got(each)
        insist(partial(app.store.inspection.get, [each.id]))
    assert len(insist(lambda: streamed.parent.results)) == STREAMED
    return streamed


def groups():
    made = group(tasks.same.s(n) for n in range(3)).apply_async()
    for number, each in enumerate(made.results):
        sent(each, number)
    insist(made.save)
    found = insist(lambda: GroupResult.restore(made.id, app=app))
    assert insist(lambda: found.get(timeout=TIMEOUT)) == [0, 1, 2]
    insist(made.delete)


def revokes():
    later = [tasks.same.apply_async((n,), countdown=600) for n in range(2)]
    insist(lambda: app.control.revoke([each.id for each in later]))
    stamp = {"customer": f"{name}-first"}
    stamped = tasks.same.s(1)
    stamped.stamp(**stamp)
    there = stamped.apply_async(countdown=600)
    insist(lambda: app.control.revoke_by_stamped_headers(stamp))
    # Workers hear of a stamp at once or, if that call fails, with one of their next beats.
    coming = stamped.apply_async(countdown=5)
    aside = [tasks.same.apply_async((n,), queue=f"aside-{name}") for n in range(3)]
    insist(lambda: app.control.purge([f"aside-{name}"]))
    for each in (*later, there, coming, *aside):
        cancelled(each)


def operates():
    """What people do to calls that have ended."""
    file = f"{name}-may-succeed"
    again = tasks.fails_until.apply_async((file,))
    follows = chain(tasks.fails_until.s(file), tasks.same.s()).apply_async()
    failure(again)
    failure(follows)
    for_good = tasks.fails_until.apply_async(("never",), link_error=tasks.mourns.s())
    failure(for_good)
    failed.append(for_good.id)
    Path(file).touch()
    for each in (again, follows.parent):
        insist(partial(app.control.retry, each.id))
        sent(each, "at last")
    sent(follows, "at last")
    reopened.extend(each.id for each in (again, follows.parent, follows))
    for each in (again, follows):
        at_last(partial(succeeded_after_all, each.id), f"{each.id} still shows its old end")
    away = tasks.fails_until.apply_async(("never",))
    failure(away)
    insist(lambda: app.store.inspection.discard([away.id]))
    gone.append(away.id)
    forgotten = tasks.same.apply_async((5,))
    assert got(forgotten) == 5
    insist(forgotten.forget)
    at_last(partial(is_forgotten, forgotten.id), "it was forgotten")


def looks(streamed):
    store = app.store
    insist(lambda: overview(store))
    ask = store.inspection
    for question in (
        ask.facts, ask.traps, ask.list, ask.counts, ask.workers, store.queue.revoked_stamps,
        lambda: ask.join(streamed.parent.id), lambda: ask.flow(streamed.id),
        lambda: store.results.get_many([streamed.id]),
        lambda: store.results.join_results(streamed.parent.id),
        lambda: store.queue.outgoing([streamed.id]),
    ):  # fmt: skip
        for _ in range(3):
            insist(question)
    for _ in range(5):
        insist(lambda: app.control.ping(timeout=5))


last = sends()
groups()
revokes()
operates()
looks(last)
told = {"values": values, "failed": failed, "revoked": revoked, "gone": gone}
print(json.dumps({**told, "reopened": reopened, "bodies": bodies}))
