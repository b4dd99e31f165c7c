"""The application of ``test_progress`` and ``test_replay``; copied into each test's folder as
``tasks.py``."""

import asyncio
import os
import signal
import time
from pathlib import Path

from celeriac import Celeriac

app = Celeriac(
    "tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0,
    crash_delay=0.1, max_crashes=1,
)  # fmt: skip


def opened(gate):
    return Path(gate).exists()


@app.task(bind=True)
def count(self, upto, gate):
    """Say *upto* numbers as fast as it goes, then wait without a word."""
    for number in range(1, upto + 1):
        self.progress(number, upto, f"number {number}")
    while not opened(gate):
        time.sleep(0.01)
    return upto


@app.task(bind=True)
async def acount(self, upto, gate):
    for number in range(1, upto + 1):
        self.progress(number, upto, f"number {number}")
        if number % 1000 == 0:
            await asyncio.sleep(0)
    while not opened(gate):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)
    return upto


@app.task(bind=True)
def stages(self, gate):
    """A state of its own, and progress beside it."""
    self.update_state(state="LOADING", meta={"file": "a.csv"})
    self.progress(1, 2)
    while not opened(f"{gate}1"):
        time.sleep(0.01)
    self.progress(2, 2)
    self.update_state(state="SAVING", meta={"file": "b.csv"})
    while not opened(f"{gate}2"):
        time.sleep(0.01)


@app.task(bind=True)
def limited(self, gate):
    """Says something in every moment in which a soft limit may come."""
    number = 0
    while True:
        number += 1
        self.progress(number, 10_000_000)


@app.task(bind=True)
def brief(self, number):
    self.progress(number, 1000)
    return number


@app.task(bind=True)
def dies(self, gate):
    self.progress(3, 10, "about to die")
    while not opened(gate):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True)
def told(self, script):
    """Say the numbers that the test writes into the file *script*; "end" and "fail" end it."""
    before = ""
    while (text := Path(script).read_text()) not in ("end", "fail"):
        if text != before:
            self.progress(int(text), 10, f"step {text}")
            before = text
        time.sleep(0.005)
    if text == "fail":
        raise ValueError("the last step")
    return f"{before} steps"


@app.task
def note(text):
    """Writes one line where the test looks."""
    with Path("notes").open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


@app.task(bind=True, sensitive=["card"], max_retries=3)
def pay(self, amount, card):
    print(f"charging {amount}")
    note(f"{self.request.id} {self.request.is_replay} {self.request.retries}")
    self.update_state(state="CHARGING", meta={"amount": amount})
    self.progress(1, 2)
    self.progress(2, 2, "charged")
    if amount == 0:
        raise ValueError(f"nothing to charge {card} with")
    if amount < 0:
        raise self.retry(exc=ValueError("below zero"), countdown=600)
    note.delay("receipt")
    return {"paid": amount}
