"""What the processes of a soak write, read as it grows and forgotten once it has been judged."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from chaos_oracle import Ran, gather, put_back
from noting_worker import Judged, parse
from soak_plan import generation_of

from celeriac.testing import ledger

#: Seconds after which lines are forgotten that nobody has asked for: of runs that went on, in an
#: executor whose worker was stopped, after their record had been judged.
STALE = 300.0


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
        #: pid → what it began last.
        self._last: dict[int, ledger.Line] = {}
        #: Pids of executors whose worker was told to stop.
        self.leaving: set[int] = set()
        self.broken = 0

    def read(self, logs: Iterable[Path]) -> None:
        """Take in what is new; *logs* are those that may have grown."""
        for text in self._tails["lines"].news():
            line = ledger._parse(text)
            self._lines[line.id].append(line)
            if line.event == "start":
                self._last[line.pid] = line
        for text in self._tails["parts"].news():
            self._parts[text.split()[1]].append(text)
        for text in self._tails["swaps"].news():
            self._swaps[text.split()[0]].append(text)
        for each in parse(self._tails["verdicts"].news()):
            self._verdicts[each.id].append(each)
        self.broken += len(self._tails["broken"].news())
        for path in logs:
            tail = self._logs.setdefault(path, Tail(path))
            self._put_back.update(put_back("\n".join(tail.news())))

    def close_log(self, path: Path) -> None:
        self.read([path])
        self._logs.pop(path, None)

    def take(self, attempts: dict[str, int], names: Collection[str]) -> Ran:
        """What ran of the records in *attempts* (id → its last attempt), and of the workflows with
        these names. It is not kept."""
        ran = gather(
            [line for id in attempts for line in self._lines.pop(id, ())],
            [line for name in names for line in self._parts.pop(name, ())],
            [line for id in attempts for line in self._swaps.pop(id, ())],
        )
        for id in attempts:
            ran.put_back[id] = self._put_back.pop(id, 0)
            ran.verdicts += self._verdicts.pop(id, ())
        ran.interrupted.update(self._interrupted(attempts))
        return ran

    def _interrupted(self, attempts: dict[str, int]) -> Iterator[str]:
        """An executor runs one task at a time: if its worker was told to stop it is the last one
        that may have been interrupted and handed back, if it began again."""
        for pid in self.leaving:
            last = self._last.get(pid)
            if last is not None and last.attempt < attempts.get(last.id, 0):
                yield last.id

    def forget(self, oldest: int) -> None:
        """Drop what is left of generations before *oldest*, and what is stale."""
        now = time.monotonic()
        for kept in (self._parts, self._swaps, self._put_back, self._lines, self._verdicts):
            for id in [id for id in kept if _before(id, oldest)]:
                del kept[id]
        for id in [id for id, lines in self._lines.items() if lines[-1].time < now - STALE]:
            del self._lines[id]
            self._swaps.pop(id, None)
        for pid in [pid for pid, line in self._last.items() if line.time < now - STALE]:
            del self._last[pid]
            self.leaving.discard(pid)


_BESIDE = ("parts", "swaps", "broken", "verdicts")


def _before(id: str, oldest: int) -> bool:
    number = generation_of(id)
    return number is not None and number < oldest
