"""What the processes of a soak write, read as it grows and forgotten once it has been judged."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from chaos_oracle import Ran, gather, put_back
from noting_worker import Judged, handed_back, parse
from soak_plan import generation_of

from celeriac.testing import ledger

#: Seconds after which lines are forgotten that nobody has asked for: of runs that went on, in an
#: executor whose worker was stopped, after their record had been judged.
STALE = 300.0
#: What a worker says whose shared process died: all that ran in it runs again, under its lease.
_FALLEN = re.compile(r"executor (\d+) .*; it ran \d+ tasks, which run again one by one")


class Tail:
    """A file that others append lines to."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0

    def news(self) -> list[str]:
        """The whole lines since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.decode(errors="replace").splitlines()


class Book:
    """The ledger at *path*, what is written beside it, and the workers' logs."""

    def __init__(self, path: Path) -> None:
        beside = {name: path.with_name(f"{path.name}.{name}") for name in _BESIDE}
        self._tails = {name: Tail(each) for name, each in {"lines": path, **beside}.items()}
        self._logs: dict[Path, Tail] = {}
        self._lines: dict[str, list[ledger.Line]] = defaultdict(list)
        self._parts: dict[str, list[str]] = defaultdict(list)
        self._swaps: dict[str, list[str]] = defaultdict(list)
        self._verdicts: dict[str, list[Judged]] = defaultdict(list)
        self._put_back: Counter[str] = Counter()
        #: Pids of executors that died with several tasks in them, and when that was read.
        self._fallen: dict[int, float] = {}
        self.broken = 0

    def read(self, logs: Iterable[Path]) -> None:
        """Take in what is new; *logs* are those that may have grown."""
        for text in self._tails["lines"].news():
            line = ledger._parse(text)
            self._lines[line.id].append(line)
        for text in self._tails["parts"].news():
            self._parts[text.split()[1]].append(text)
        for text in self._tails["swaps"].news():
            self._swaps[text.split()[0]].append(text)
        for each in parse(self._tails["verdicts"].news()):
            self._verdicts[each.id].append(each)
        self.broken += len(self._tails["broken"].news())
        for path in logs:
            tail = self._logs.setdefault(path, Tail(path))
            text = "\n".join(tail.news())
            self._put_back.update(put_back(text))
            for pid in _FALLEN.findall(text):
                self._fallen[int(pid)] = time.monotonic()

    def just_begun(self, ids: Iterable[str], seconds: float) -> list[int]:
        """Pids that run one of *ids*, begun no longer ago than that."""
        then = time.monotonic() - seconds
        last = [self._lines[id][-1] for id in ids if self._lines.get(id)]
        return [each.pid for each in last if each.event == "start" and each.time > then]

    def close_log(self, path: Path) -> None:
        self.read([path])
        self._logs.pop(path, None)

    def take(self, attempts: dict[str, int], names: Collection[str]) -> Ran:
        """What ran of the records in *attempts* (id → its last attempt), and of the workflows with
        these names. It is not kept."""
        lines = [line for id in attempts for line in self._lines.pop(id, ())]
        ran = gather(
            self._without_the_fallen(lines),
            [line for name in names for line in self._parts.pop(name, ())],
            [line for id in attempts for line in self._swaps.pop(id, ())],
        )
        for id in attempts:
            ran.put_back[id] = self._put_back.pop(id, 0)
            ran.verdicts += self._verdicts.pop(id, ())
        for id, returned in handed_back(ran.verdicts).items():
            ran.interrupted[id] = len(returned)
        return ran

    def _without_the_fallen(self, lines: list[ledger.Line]) -> list[ledger.Line]:
        """*lines* without those of runs in processes that died with several tasks in them, where
        the same lease began again elsewhere, as it must, or could not and was put back."""
        last: dict[object, int] = {}
        for line in lines:
            if line.event == "start":
                last[line.id, line.attempt] = last[line.id] = line.pid
        return [line for line in lines if not self._repeated(line, last)]

    def _repeated(self, line: ledger.Line, last: Mapping[object, int]) -> bool:
        if line.pid not in self._fallen:
            return False
        of_lease = last.get((line.id, line.attempt), line.pid)
        put_back = self._put_back[line.id] > 0 and last.get(line.id, line.pid) != line.pid
        return of_lease != line.pid or put_back

    def forget(self, oldest: int) -> None:
        """Drop what is left of generations before *oldest*, and what is stale."""
        now = time.monotonic()
        for kept in (self._parts, self._swaps, self._put_back, self._lines, self._verdicts):
            for id in [id for id in kept if _before(id, oldest)]:
                del kept[id]
        for id in [id for id, lines in self._lines.items() if lines[-1].time < now - STALE]:
            del self._lines[id]
            self._swaps.pop(id, None)
        for pid in [pid for pid, since in self._fallen.items() if since < now - STALE]:
            del self._fallen[pid]


_BESIDE = ("parts", "swaps", "broken", "verdicts")


def _before(id: str, oldest: int) -> bool:
    number = generation_of(id)
    return number is not None and number < oldest
