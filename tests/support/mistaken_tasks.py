"""Tasks that ask for what cannot be; copied into a test's folder as ``tasks.py``."""

import os
from datetime import timedelta

from celeriac import Celeriac
from celeriac.exceptions import Retry

app = Celeriac("tasks", broker=os.environ["BROKER"], crash_delay=0.3)


@app.task
def pid():
    return os.getpid()


@app.task
def again(when):
    raise Retry("later", when=timedelta(0) if when is None else when)


@app.task(bind=True)
def show(self, what):
    if what == "state":
        self.update_state(state=5)
    else:  # past every check, as a task that reaches into the request could
        self.request.write(self.request.fence, ["a"], b"")
