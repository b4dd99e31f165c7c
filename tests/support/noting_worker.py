"""The command line of a worker that writes down what the store said to each outcome it handed in,
and what it handed back although it had begun.

The same arguments as ``celeriac``. The lines stand beside the ledger, and :func:`read` reads them;
they are what an oracle needs to know whether two runs of one task decided it, and why there were
two.

With :data:`UNTOLD` in its environment it dies by SIGKILL once the store has applied that many
exchanges with ends of tasks, before anybody is told of the last.
"""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from celeriac import states, stores
from celeriac.worker.pools.shared import BESIDE

#: The state of what was handed back after it had begun, and the verdict while there is no answer:
#: the call may be applied though its worker is not told, or dies as it is.
RETURNED, ASKED = "returned", "asked"
#: The variable that says at which exchange with ends it dies.
UNTOLD = "UNTOLD"


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

    @property
    def returns(self) -> bool:
        """Whether the store was asked to take it back, uncharged, although it had begun."""
        return self.state == RETURNED


def handed_back(judged):
    """Id → attempts that the store has taken back uncharged after they had begun, or may have.

    FENCED says that it has not, but for one case: the first call was applied, its answer was lost,
    and before it was made again another worker had the task and handed something in for it. The
    fence that would have read ALREADY is gone by then (protocol section 3).
    """
    found, refused, asked = {}, set(), {}
    for each in judged:
        key = each.id, each.attempt, each.nonce
        if each.verdict == "ok":
            for other in [key for key in asked if key[0] == each.id and key[1] < each.attempt]:
                asked[other] = True  # another had it before there was an answer
        if not each.returns:
            continue
        found.setdefault(each.id, {})[each.attempt] = key
        if each.verdict == ASKED:
            asked.setdefault(key, False)
        elif each.verdict == "fenced" and not asked.get(key):
            refused.add(key)
    taken = {id: {n for n, key in of.items() if key not in refused} for id, of in found.items()}
    return {id: attempts for id, attempts in taken.items() if attempts}


class Noting:
    """The queue of a store, whose verdicts are appended to *path*, one line in one write each."""

    def __init__(self, queue, path):
        self._queue, self._path = queue, path
        self._left, self._lock = int(os.environ.get(UNTOLD, "0")), threading.Lock()

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def exchange(self, owner, lane, seq, commits, *rest):
        self._note((each.fence, RETURNED, ASKED) for each in commits if _returns(each.outcome))
        answer = self._queue.exchange(owner, lane, seq, commits, *rest)
        if any(each.outcome.state in states.TERMINAL for each in commits):
            self._strike()
        # One that is refused as a whole has no verdicts.
        self._note(
            (each.fence, RETURNED if _returns(each.outcome) else each.outcome.state, verdict.value)
            for each, verdict in zip(commits, answer.verdicts, strict=False)
        )
        return answer

    def release(self, owner, fences, started=False, delay=0.0):
        if not started:
            return self._queue.release(owner, fences, started, delay)
        self._note((each, RETURNED, ASKED) for each in fences)
        verdicts = self._queue.release(owner, fences, started, delay)
        self._note(
            (each, RETURNED, verdict.value) for each, verdict in zip(fences, verdicts, strict=True)
        )
        return verdicts

    def _strike(self):
        """Die, if this exchange is the one."""
        with self._lock:  # of those that are applied later, none is noted
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, lines):
        text = "".join(
            f"\n{fence.id}\t{fence.attempt}\t{fence.nonce}\t{state}\t{verdict}\t."
            for fence, state, verdict in lines
        )
        if text:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, text.encode())
            os.close(descriptor)


def _returns(outcome):
    """Whether it takes back, uncharged, what ran in a process that died with its neighbours."""
    return BESIDE in outcome.reason and not outcome.charge


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
