"""Apps for unit tests, and a worker without processes: it runs what is due, here, and returns."""

import socket
import uuid

from celeriac import Celeriac
from celeriac.ids import new_owner_id
from celeriac.records import Commit, Manifest, Want
from celeriac.runner import Runner

HOSTNAME = f"inline@{socket.gethostname()}"


def make_app(main="tasks", **settings):
    """An app with a store of its own in memory, not the current one unless asked for."""
    settings.setdefault("broker", f"memory://{uuid.uuid4().hex}")
    settings.setdefault("set_as_current", False)
    return Celeriac(main, **settings)


def drain(app, queues=("celery",), most=1000):
    """Run every delivery that is due now, one after the other; return (delivery, outcome)s."""
    store = app.store
    owner = new_owner_id()
    store.queue.register(owner, Manifest(tasks=app.facts(), hostname=HOSTNAME))
    runner = Runner(app, HOSTNAME, update=store.queue.update)
    ran = []
    commits = []
    try:
        for seq in range(1, most):
            got = store.queue.exchange(owner, 1, seq, commits, (), queues, Want(free=1))
            if not got.deliveries:
                return ran
            ran += [(each, runner.run(each)) for each in got.deliveries]
            commits = [Commit(each.fence, outcome) for each, outcome in ran[-len(got.deliveries) :]]
    finally:
        runner.close()
        store.queue.close_owner(owner)
    raise AssertionError(f"still not drained after {most} exchanges")


def stored(app, id):
    """The record of a task."""
    return app.store.inspection.get([id])[0]


def count(app):
    """How many records the store holds."""
    return len(app.store.inspection.list(limit=10_000))


def steps_of(app, monkeypatch):
    """A list that fills with the messages of each step in which *app* stores some from now on."""
    steps = []
    enqueue = app.store.queue.enqueue

    def noted(messages, **more):
        steps.append(list(messages))
        return enqueue(messages, **more)

    monkeypatch.setattr(app.store.queue, "enqueue", noted)
    return steps
