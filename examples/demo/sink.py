"""A mail server that takes letters and keeps none: the other end of the newsletter.

    python sink.py LEDGER --refuse 0.05 --seed 7

It prints the port it listens on, and then, whenever the numbers have changed, ``LETTERS ARRIVED
REFUSED``: different letters, arrivals, refusals. Every arrival and every refusal is a line of the
ledger: ``arrived|refused``, Message-ID without its domain, recipient. It ends with its standard
input.
"""

import argparse
import asyncio
import random
import re
import sys
from pathlib import Path
from typing import IO

from aiosmtpd.smtp import SMTP, Envelope, Session

#: What a busy server says, RFC 5321 section 4.2.3. The first one makes the client hang up.
REFUSALS = (
    "421 4.3.2 shutting down for maintenance, try again",
    "450 4.7.1 greylisted, try again",
    "451 4.3.0 local error, try again",
    "452 4.2.2 mailbox full, try again",
)
REPORT_EVERY = 0.05  # seconds
MESSAGE_ID = re.compile(rb"^Message-ID: <([^@>]+)@[^>]+>\r$", re.MULTILINE)
PARTS = (b"multipart/alternative", b"text/plain", b"text/html")


class Sink:
    """Takes each letter, or refuses it for now, and counts."""

    def __init__(self, ledger: IO[str], refuse: float, seed: int) -> None:
        self._ledger = ledger
        self._refuse = refuse
        self._random = random.Random(seed)
        self._letters: set[str] = set()
        self._arrived = 0
        self._refused = 0
        self._reporting = False

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        found = MESSAGE_ID.search(content)
        if found is None or any(b"Content-Type: " + part not in content for part in PARTS):
            return "554 5.6.0 not a newsletter: no Message-ID, or not text and HTML"
        id = found[1].decode("ascii")
        refused = self._random.random() < self._refuse
        if refused:
            self._refused += 1
        else:
            self._arrived += 1
            self._letters.add(id)
        what = "refused" if refused else "arrived"
        print(what, id, envelope.rcpt_tos[0], sep="\t", file=self._ledger)
        if not self._reporting:
            self._reporting = True
            asyncio.get_running_loop().call_later(REPORT_EVERY, self.report)
        return self._random.choice(REFUSALS) if refused else "250 2.0.0 taken"

    def report(self) -> None:
        """Say the numbers, once the ledger holds what they count."""
        self._reporting = False
        self._ledger.flush()
        print(len(self._letters), self._arrived, self._refused, flush=True)


async def serve(sink: Sink) -> None:
    """Listen on a free port of this machine alone until standard input ends."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(
        lambda: SMTP(sink, hostname="localhost", loop=loop), host="127.0.0.1", port=0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), done.set)
    await done.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()
    sink.report()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--refuse", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with options.ledger.open("w", encoding="utf-8") as ledger:
        asyncio.run(serve(Sink(ledger, options.refuse, options.seed)))
