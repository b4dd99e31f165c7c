"""Tasks that do with a secret argument all that a task should not do; copied as ``tasks.py``."""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from datetime import datetime

from celeriac import Celeriac, Task
from celeriac.exceptions import Ignore, Reject
from celeriac.utils.log import get_task_logger

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=4.0,
    heartbeat=0.5,
    lease_margin=1.0,
    crash_delay=0.1,
    max_crashes=2,
    grace=5.0,
)
log = get_task_logger(__name__)
plain = logging.getLogger("shop")


class Telling(Task):
    """A base class whose handlers tell everything they get."""

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        log.error("failed: %r %r %r %s", exc, args, kwargs, einfo)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        log.error("again: %r %r %r %s", exc, args, kwargs, einfo)


class Odd(Exception):
    """An error of the application with attributes of its own."""

    def __init__(self, message, token):
        super().__init__(message, token)
        self.token = token


@app.task(base=Telling, sensitive=["password"])
def raises(user, password):
    try:
        raise KeyError(password)
    except KeyError as cause:
        error = Odd(f"{user} cannot log in with {password!r}", password)
        error.add_note(f"tried {password}")
        raise error from cause


@app.task(base=Telling, bind=True, sensitive=["password"], max_retries=1)
def repeats(self, user, password=None):
    raise self.retry(exc=ValueError(f"not {password}"), countdown=0.1)


@app.task(base=Telling, bind=True, sensitive=["password"], autoretry_for=(ValueError,),
          retry_kwargs={"max_retries": 1, "countdown": 0.1})  # fmt: skip
def repeats_by_itself(self, user, password):
    raise ValueError({"user": user, "password": [password]})


@app.task(bind=True, sensitive=True)
def tells(self, password, more):
    log.info("with %s", password)
    plain.warning("with %(password)s", {"password": password})
    plain.warning("extra", extra={"data": {"args": [password]}})
    print("printed", password)
    print("without an end", password, end="")
    print("as an error", password, file=sys.stderr)
    warnings.warn(f"warned of {password}", stacklevel=1)
    log.info("request %r %s %s", self.request, self.request.argsrepr, self.request.kwargsrepr)
    log.info("signature %r", tells.s(password, more))
    log.info("%d is no number", password)
    try:
        raise RuntimeError(password)
    except RuntimeError:
        log.exception("caught %r", more)
    return "told"


@app.task(sensitive=["password"])
def echoes(password):
    return {"echo": password}


@app.task(base=Telling, sensitive=["password"])
def crashes(password):
    print("about to die of", password)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(base=Telling, sensitive=["password"])
def aborts(password):
    os.abort()


@app.task(base=Telling, sensitive=["password"], time_limit=0.5)
def hangs(password):
    log.info("waiting for %s", password)
    threading.Event().wait()


@app.task(base=Telling, sensitive=["moment"])
def converts(moment: datetime):
    return None


@app.task(sensitive=["password"])
def rejects(password):
    raise Reject(f"nobody wants {password}")


@app.task(sensitive=["password"])
def ignores(password):
    raise Ignore(f"nobody asked for {password}")


@app.task(sensitive=["password"])
def naps(password, seconds):
    time.sleep(seconds)


@app.task
def shows(value):
    raise ValueError(f"shown: {value}")
