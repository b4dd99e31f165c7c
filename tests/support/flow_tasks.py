"""The application of the workflow tests; copied into each test's folder as ``tasks.py``."""

import os
import signal
import time
from pathlib import Path

from celeriac import Celeriac, group

app = Celeriac("tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(event, request):
    os.write(_ledger, f"{event} {request.id} {request.attempt} {os.getpid()} 0\n".encode())


@app.task
def resize_image(url):
    return f"small {url}"


@app.task
def download_file(url):
    return f"bytes of {url}"


@app.task
def process_file(data):
    return data.upper()


@app.task
def upload_result(data):
    return f"stored {data}"


@app.task
def analyze_data(chunk):
    return sum(chunk)


@app.task
def generate_report(results):
    return {"total": sum(results), "parts": len(results)}


@app.task
def count_on(number):
    return number + 1


@app.task
def plus(x, y):
    return x + y


@app.task(bind=True)
def ask_again(self, before, value=0):
    if not self.request.retries:
        raise self.retry(kwargs={"value": 5}, countdown=0)
    return [before, value]


@app.task(sensitive=["card"])
def pay(amount, card):
    raise ValueError(f"refused: {card}")


@app.task
def fail(*args):
    raise ValueError("no such file")


@app.task(bind=True)
def on_error(self, request, exc, traceback):
    note(f"error:{type(exc).__name__}:{request.task}", self.request)


@app.task(bind=True)
def old_error(self, task_id):
    note(f"old:{task_id}", self.request)


@app.task(bind=True)
def split(self, text):
    raise self.replace(group(resize_image.s(each) for each in text.split()))


@app.task(bind=True)
def grow(self, number):
    if number:
        self.add_to_chord(grow.s(number - 1))
    return [1]


@app.task(bind=True)
def crash_once(self, value):
    """Take the process along in the first attempt."""
    note("start", self.request)
    if self.request.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@app.task(bind=True)
def held(self, gate):
    """Say that it is half done, and wait for the test."""
    self.progress(1, 2)
    while not Path(gate).exists():
        time.sleep(0.01)
    return gate


@app.task
def sends():
    resize_image.delay("sent")


@app.task
def echo(value):
    return value


@app.task(bind=True)
def looks_ahead(self, *args):
    """What it knows of what comes after it."""
    run = self.request
    body = run.chord and [run.chord["task"], run.chord["options"]["task_id"]]
    named = [[each["task"] for each in of] for of in (run.chain, run.callbacks, run.errbacks)]
    return [*named, body]
