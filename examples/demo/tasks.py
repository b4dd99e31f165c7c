"""The demo's application: a newsletter, and an analysis of source code.

    celeriac -A tasks worker

The environment names the store (``DEMO_STORE``) and the mail server (``DEMO_SMTP``).
"""

import csv
import logging
import os
from pathlib import Path
from typing import Any

import mail
import page
import source

from celeriac import Celeriac, Task
from celeriac.exceptions import DuplicateTask

logger = logging.getLogger(__name__)

app = Celeriac("demo", broker=os.environ.get("DEMO_STORE", "sqlite:///demo.sqlite3"))


@app.task(bind=True)
def send_newsletter(self: Task[..., Any], issue: str, readers: str) -> list[str]:
    """Order one letter for each reader in the CSV file *readers*; return the letters' ids.

    A task may run twice: its process can die between the work and the commit. So the letters'
    ids follow from this task's own, and to order them again is refused as a whole.
    """
    with Path(readers).open(newline="", encoding="utf-8") as lines:
        letters = [
            send_letter.s(issue, name, address).set(task_id=f"{self.request.id}.{number}")
            for number, (name, address) in enumerate(csv.reader(lines), start=1)
        ]
    try:
        app.enqueue_many(letters)
    except DuplicateTask:
        logger.warning("the letters are ordered already: an earlier run did so and then died")
    return [str(letter.id) for letter in letters]


@app.task(
    bind=True,
    autoretry_for=mail.TRY_AGAIN,
    max_retries=20,
    retry_backoff=True,
    retry_backoff_max=1,  # seconds
)
def send_letter(self: Task[..., Any], issue: str, name: str, address: str) -> str:
    """Write one letter and hand it to the mail server. Its Message-ID is this task's id, so that
    a letter which went out twice (the process died between the server's "250 OK" and the commit)
    is known by its id, to the reader's mail program, too."""
    letter = mail.write(issue, name, address, str(self.request.id))
    mail.outgoing.deliver(letter, address)
    return address


@app.task
def analyse(path: str, encoding: str | None = None) -> dict[str, Any]:
    """Measure one Python source file. Fails if its bytes are not what *encoding* says."""
    return source.measure(Path(path), encoding)


@app.task
def write_report(measures: list[dict[str, Any]], root: str, path: str) -> str:
    """Write the page *path* about the files that were measured; return its path."""
    page.write(source.summary(measures, Path(root)), Path(path))
    return path
