"""Soak every store for as long as one likes: random faults on a mixed load, judged as it goes.

    python tests/soak/run.py [--minutes 30] [--seed SEED] [--store redis]…

Each store gets an equal share of the time, one after the other. Ctrl-C ends the run early, with its
table. Exits with 1 if anything was lost, doubled, unexplained or has grown; then the logs and the
ledger are left in ``.soak`` and the seed is added to ``tests/soak/seeds.txt``, whose seeds
``test_soak.py`` tries again.

What it finds of faults that were put into the stores on purpose, and after how many minutes of that
store (seed 31, once each); what never ends is given 150 s more:

    the fence looks at the state alone            SQLite 1.1   Redis 0.8
    a member that has run twice counts twice      SQLite 0.6   Redis 0.7
    what has expired is leased all the same       SQLite 0.4   Redis 2
    what is leased is leased once more            SQLite 1.1   Redis 0.8
    a repeated exchange leases anew               SQLite 2
    nobody is released by what the reaper ends    SQLite 2
    what is handed back forgets its revoke                     Redis 2
    no beat tells of a revoke                                  Redis 2
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
KEPT = Path(__file__).parent / "seeds.txt"
PLACE = ROOT / ".soak"
sys.path.insert(0, str(ROOT / "tests" / "support"))

from soak_plan import parse_seed  # noqa: E402
from soak_play import STORES, soak  # noqa: E402
from soak_report import Report, table  # noqa: E402


class Enough:
    """Whether somebody has asked for the end. The second time it is an end at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("what is under way is waited for; once more: end now", flush=True)

    def __call__(self) -> bool:
        return self.asked


def keep(report: Report, found: str, path: Path | None = None) -> None:
    """Add the seed of *report* to those that are tried again; nothing if it is there."""
    path = path or KEPT
    line = f"{report.store} {report.seed}"
    known = [each.partition("#")[0].strip() for each in path.read_text().splitlines()]
    if line not in known:
        today = dt.datetime.now(dt.UTC).date()
        with path.open("a") as file:
            file.write(f"{line}  # {today}: {found.splitlines()[0][:150]}\n")


def run(stores: list[str], seed: str, minutes: float) -> int:
    """Soak *stores* in turn; how many of them have failed."""
    base, first = parse_seed(seed)
    enough, reports = Enough(), []
    for store in stores:
        if enough():
            break
        folder = PLACE / f"{base}-{first}-{store}"
        shutil.rmtree(folder, ignore_errors=True)
        seconds = minutes * 60 / len(stores)
        reports.append(soak(store, base, first, seconds, folder, enough=enough, tell=tell))
    print(*table(reports), sep="\n", flush=True)
    failed = [each for each in reports if each.found()]
    for report in reports:
        if report not in failed:
            shutil.rmtree(report.folder)
            continue
        found = report.found()
        print(f"\n{report.store} FAILED:", *found, sep="\n")
        print(f"logs, ledger and records: {report.folder}")
        print(f"again: make soak STORE={report.store} SEED={report.seed} MINUTES=2")
        keep(report, found[0])
    return len(failed)


def tell(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of all stores together")
    parser.add_argument("--seed", default="", help="SEED, or SEED/GENERATION to begin with")
    parser.add_argument("--store", action="append", choices=STORES, help="one store")
    given = parser.parse_args()
    seed = given.seed or str(random.SystemRandom().randrange(10**9))
    print(f"SEED={seed}", flush=True)
    return 1 if run(given.store or list(STORES), seed, given.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
