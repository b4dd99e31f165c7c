"""The command line of a worker that writes down what the store said to each outcome it handed in.

The same arguments as ``celeriac``. The lines stand beside the ledger, and :func:`read` reads them;
they are what an oracle needs to know whether two runs of one task decided it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from celeriac import states, stores


@dataclass(frozen=True)
class Judged:
    """The store's verdict on one outcome: whose lease handed it in, and the state that it asked
    for."""

    id: str
    attempt: int
    nonce: str
    state: str
    verdict: str

    @property
    def decides(self) -> bool:
        """Whether the store took it as the end of its record, now or when it came before."""
        return self.state in states.TERMINAL and self.verdict in ("ok", "already")


class Noting:
    """The queue of a store, whose verdicts are appended to *path*, one line in one write each."""

    def __init__(self, queue, path):
        self._queue, self._path = queue, path

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def exchange(self, owner, lane, seq, commits, *rest):
        answer = self._queue.exchange(owner, lane, seq, commits, *rest)
        # One that is refused as a whole has no verdicts.
        text = "".join(
            f"\n{each.fence.id}\t{each.fence.attempt}\t{each.fence.nonce}\t{each.outcome.state}"
            f"\t{verdict.value}\t."
            for each, verdict in zip(commits, answer.verdicts, strict=False)
        )
        if text:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, text.encode())
            os.close(descriptor)
        return answer


def beside(ledger):
    """Where the verdicts are that belong to the ledger at that path."""
    return Path(f"{ledger}.verdicts")


def read(ledger):
    """The verdicts beside the ledger at that path; none if there were none."""
    path = beside(ledger)
    return parse(path.read_text().split("\n") if path.exists() else ())


def parse(lines):
    """The verdicts in these lines."""
    found = []
    for line in lines:
        fields = line.split("\t")
        # A kill may tear a line that crosses a page of the file; its last field is then not there.
        if len(fields) == 6 and fields[5] == ".":
            found.append(Judged(fields[0], int(fields[1]), *fields[2:5]))
    return found


def noted(connect, path):
    """*connect*, whose stores write down their verdicts."""

    def connected(*args, **more):
        store = connect(*args, **more)
        return msgspec.structs.replace(store, queue=Noting(store.queue, path))

    return connected


if __name__ == "__main__":
    stores.connect = noted(stores.connect, beside(os.environ["LEDGER"]))
    from celeriac.cli import main

    main()
