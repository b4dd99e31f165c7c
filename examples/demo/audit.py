"""Is every count right? The mail server's ledger against the store's records. No IO but the
reading of the ledger."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from celeriac import states
from celeriac.records import Record


@dataclass
class Ledger:
    """What the mail server saw: arrivals and refusals by Message-ID, Message-IDs by reader."""

    arrivals: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    by_reader: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Read the file that ``sink.py`` wrote."""
        ledger = cls()
        for line in path.read_text(encoding="utf-8").splitlines():
            what, id, reader = line.split("\t")
            if what == "arrived":
                ledger.arrivals[id] += 1
                ledger.by_reader.setdefault(reader, set()).add(id)
            else:
                ledger.refusals[id] += 1
        return ledger


@dataclass(frozen=True)
class Check:
    """One count: what it must be and what it is."""

    name: str
    wanted: int
    found: int

    @property
    def right(self) -> bool:
        return self.wanted == self.found

    def row(self) -> tuple[str, str, str, str]:
        return self.name, f"{self.wanted:,}", f"{self.found:,}", "ok" if self.right else "WRONG"


@dataclass(frozen=True)
class Double:
    """A letter that arrived more than once, and the deaths its record shows."""

    id: str
    arrivals: int
    crashes: int
    losses: int

    @property
    def explained(self) -> bool:
        """Each arrival beyond the first needs a death of its own."""
        return self.arrivals - 1 <= self.crashes + self.losses

    def __str__(self) -> str:
        deaths = [f"{self.crashes} executor"] * bool(self.crashes)
        deaths += [f"{self.losses} worker"] * bool(self.losses)
        why = " and ".join(deaths) or "NOTHING"
        return f"{self.id}  arrived {self.arrivals} times; died while it ran: {why}"


def doubles(ledger: Ledger, records: Mapping[str, Record]) -> list[Double]:
    """The letters that arrived more than once."""
    found = []
    for id, arrivals in sorted(ledger.arrivals.items()):
        if arrivals > 1:
            record = records.get(id)
            crashes, losses = (record.crashes, record.losses) if record else (0, 0)
            found.append(Double(id, arrivals, crashes, losses))
    return found


def newsletter(
    ordered: Iterable[str], readers: int, ledger: Ledger, records: Mapping[str, Record]
) -> list[Check]:
    """Every count of the newsletter. *ordered* are the ids that the campaign returned."""
    ids = set(ordered)
    return [
        Check("letters ordered", readers, len(ids)),
        Check("tasks that succeeded", readers, _succeeded(records.values())),
        Check("their Message-IDs at the mail server", readers, len(ids & ledger.arrivals.keys())),
        Check("Message-IDs that are no task's", 0, len(ledger.arrivals.keys() - ids)),
        Check("readers with just one Message-ID", readers, _single(ledger)),
        Check(
            "doubles without a death on record",
            0,
            sum(not each.explained for each in doubles(ledger, records)),
        ),
        Check("tasks whose retries do not match", 0, len(_odd_retries(ledger, records))),
    ]


def facts(ledger: Ledger, records: Mapping[str, Record]) -> list[tuple[str, int]]:
    """What happened on the way to the counts."""
    return [
        ("refused for now by the mail server", ledger.refusals.total()),
        ("retries on record", sum(record.retries for record in records.values())),
        ("died while an executor ran them", sum(r.crashes > 0 for r in records.values())),
        ("lost with the worker that held them", sum(r.losses > 0 for r in records.values())),
        ("letters that arrived more than once", len(doubles(ledger, records))),
    ]


def _succeeded(records: Iterable[Record]) -> int:
    return sum(record.state == states.SUCCEEDED for record in records)


def _single(ledger: Ledger) -> int:
    return sum(len(ids) == 1 for ids in ledger.by_reader.values())


def _odd_retries(ledger: Ledger, records: Mapping[str, Record]) -> list[str]:
    """Each refusal makes one retry, unless a death came between the two."""
    odd = []
    for id, record in records.items():
        unanswered = ledger.refusals[id] - record.retries
        if not 0 <= unanswered <= record.crashes + record.losses:
            odd.append(id)
    return odd
