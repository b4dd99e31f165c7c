"""Damage what decoders read for as long as one likes, guided by which code of ours is reached.

    python tests/fuzz/explore.py [--minutes 3] [--only NAME]…

Each decoder of ``tests/support/decoders.py`` gets an equal share of the time, in a process of its
own, since the engine (Atheris, which is libFuzzer) ends the process when it has found something;
to start them takes a few seconds each besides.
What was interesting is kept in ``.fuzz/NAME`` and taken up by the next run. Inputs that break a
decoder are left in ``.fuzz/found`` and printed: add them to ``tests/fuzz/test_found.py``.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PLACE = ROOT / ".fuzz"
FOUND = PLACE / "found"
#: Seconds that one input may take, and MiB that a process may grow to.
LONG = 5
MEMORY = 1024


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def explore(name: str, seconds: int) -> None:
    """Be the process of one decoder. Does not return."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests" / "support"))
    with atheris.instrument_imports(include=["celeriac"]):
        import decoders
    import harm
    from baits import MODULES

    chosen = next(each for each in decoders.DECODERS if each.name == name)
    logging.disable()
    corpus = PLACE / slug(name)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(chosen.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            with harm.watched():
                chosen.read(data)
        except chosen.errors:
            return
        finally:
            assert not MODULES & sys.modules.keys(), "imported because the bytes name it"
        assert not chosen.forged(data), "what nobody has signed was taken for signed"

    options = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-timeout={LONG}",
        f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={FOUND}/{slug(name)}-", "-max_len=8192",
        "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup(options, one)
    atheris.Fuzz()


def share_out(minutes: float, only: list[str]) -> int:
    """Run one process for each decoder; the number of those that found something."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import decoders

    names = [each.name for each in decoders.DECODERS if not only or each.name in only]
    if not names:
        sys.exit(f"there is no decoder {only!r}: {', '.join(map(str, decoders.DECODERS))}")
    FOUND.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(minutes * 60 / len(names)))
    broken = 0
    for name in names:
        command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        tried = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
        count = f"{int(tried[1]):,} inputs" if tried else "no count"
        print(f"{name}: {count}{'' if done.returncode == 0 else ', FOUND SOMETHING'}", flush=True)
        if done.returncode != 0:
            broken += 1
            told = (done.stdout + done.stderr).splitlines()
            told = [each for each in told if not each.startswith(("INFO", "WARNING", "stat::"))]
            print(*(each[:500] for each in told), sep="\n", flush=True)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="of all decoders together")
    parser.add_argument("--only", action="append", default=[], help="one decoder, by its name")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        explore(given.one, given.seconds)
    return 1 if share_out(given.minutes, given.only) else 0


if __name__ == "__main__":
    sys.exit(main())
