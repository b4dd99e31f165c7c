"""The application of the tests of routes and rate limits; copied as ``tasks.py``."""

import os
import time

from celeriac import Celeriac, Queue

app = Celeriac("tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)

if os.environ.get("DECLARED"):
    app.conf.task_queues = [Queue(name) for name in os.environ["DECLARED"].split(",")]
if os.environ.get("STRICT"):
    app.conf.task_create_missing_queues = False
if os.environ.get("ROUTES"):
    app.conf.task_routes = {
        "tasks.send_email": {"queue": "emails"},
        "tasks.report*": {"queue": "reports", "priority": 7},
    }


def route(name, args, kwargs, options, task=None, **kw):
    return {"queue": f"to-{kwargs['to']}"} if "to" in kwargs else None


def note(event, request):
    """Append one line; a single write with O_APPEND is atomic."""
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


@app.task(bind=True)
def send_email(self, to=None):
    note("email", self.request)


@app.task(bind=True)
def report(self):
    note("report", self.request)


@app.task(bind=True)
def traced(self):
    note("traced", self.request)


@app.task(bind=True, priority=9)
def urgent(self):
    note("traced", self.request)


@app.task(bind=True, rate_limit="10/s")
def slow(self):
    note("slow", self.request)


@app.task(bind=True, rate_limit="2/h")
def rare(self):
    note("rare", self.request)


@app.task(bind=True, rate_limit="10/s", acks_late=False)
def slow_once(self):
    note("once", self.request)


@app.task(bind=True)
def quick(self):
    note("quick", self.request)


@app.task(bind=True)
def sends(self, to):
    """Sends another one from within a worker."""
    return [send_email.apply_async(kwargs={"to": to}).id, report.delay().id]
