"""What `make test-faults` counted and measured: gathered, printed, kept, and put into the docs.

    run → {"date", "commit", "machine"}
    tests → {"passed": how many, "failed": [names]}
    stores → store → {what is counted (tallies.COUNTED): how many}
    recoveries → [[store, fault, promised seconds, [seconds of each strike]]]

With FAULTS_JSON a test run leaves this in that file. Run as a script (`make faults-publish`) this
writes ``docs/benchmarks/faults.json`` and, between two marks, ``docs/faults.md``; a test draws the
page again and compares. It refuses a run that is no whole (:data:`WHOLE`, :data:`KINDS`), one of
code that is not committed, and one in which something was not as promised: a test failed, anything
is counted that must be none, work went on later than it may.
"""

import json
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import recoveries
import tallies

ROOT = Path(__file__).parents[2]
RAW, PAGE = "docs/benchmarks/faults.json", "docs/faults.md"
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
NOTHING = "Nothing is published yet: `make test-faults` counts, `make faults-publish` writes it.\n"
#: Of how many tests, of workflows on each store, and strikes of each fault, a whole run is. There
#: are about 1,090 tests: with fewer than this a file of them was left out, or one was cut short.
WHOLE = {"tests": 1050, "workflows": 500, "strikes": 10}
#: What a store is called where people read it.
CALLED = {"sqlite": "SQLite", "redis": "Redis", "valkey": "Valkey"}
#: Faults after which it is measured how soon work goes on, and on which stores. Each has been there
#: with a short lease and with the one that workers have by default.
KINDS = {
    "an executor is killed": (*CALLED,),
    "a worker is killed, another is on its host": (*CALLED,),
    "a worker of another host goes silent": (*CALLED,),
    "a worker of another host is cut off by the network": ("redis",),
    "the store is killed and started again": ("redis", "valkey"),
    "all connections are black-holed": ("redis", "valkey"),
}


def gather(reports):
    """What tests have noted in their *reports*; of a test that ran in another process, too."""
    passed, failed, stores, measured, order = 0, [], {}, [], [*CALLED]
    for each in reports:
        if getattr(each, "when", "") != "call" and getattr(each, "outcome", "") != "failed":
            continue
        passed += each.outcome == "passed"
        if each.outcome == "failed":
            failed.append(each.nodeid)
        for name, value in each.user_properties:
            if name == "tally":
                store, counts = value
                stores.setdefault(store, Counter()).update(counts)
            elif name == "recovery":
                *fault, seconds = value
                measured.append([*fault, [round(each, 3) for each in seconds]])
    return {
        "tests": {"passed": passed, "failed": sorted(failed)},
        "stores": {
            store: {name: stores[store][name] for name in tallies.COUNTED}
            for store in CALLED if store in stores
        },
        "recoveries": sorted(measured, key=lambda each: (each[2], each[1], order.index(each[0]))),
    }  # fmt: skip


def tables(found):
    """Title → lines of Markdown; only those of which there is something."""
    made = {
        "faults: what became of acknowledged tasks": tallies.table(found["stores"]),
        "faults: seconds until work goes on": recoveries.table(found["recoveries"]),
    }
    shown = (found["stores"], found["recoveries"])
    return {title: list(made[title]) for title, any in zip(made, shown, strict=True) if any}


def save(found, path):
    """Keep what was *found* just now, with when and on what that was."""
    results = _results()
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": results.commit("src", "tests", "pyproject.toml"),
        "machine": results.machine(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump({"run": run, **found}), "utf-8")


def _results():
    """The module of the benchmarks that knows machine and commit; it lives in a folder of
    scripts."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import results
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return results


def dump(kept):
    """As JSON, the seconds of a fault on one line."""
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    lists = re.compile(r"\[\s+([^][{}]*?)\s+\]")
    return lists.sub(lambda found: "[" + re.sub(r",\s+", ", ", found[1]) + "]", text) + "\n"


def refused(kept):
    """Why it is no run to publish; empty if it is one."""
    found = [f"{name} failed" for name in kept["tests"]["failed"]]
    if kept["tests"]["passed"] < WHOLE["tests"]:
        found.append(f"{kept['tests']['passed']} tests passed, not {WHOLE['tests']}")
    if not kept["run"]["commit"] or kept["run"]["commit"].endswith("+"):
        found.append("it ran on code that is not committed")
    for store, name in CALLED.items():
        found += [f"{name}: {why}" for why in _miscounted(kept["stores"].get(store, {}))]
        measured = {fault: each for at, fault, *each in kept["recoveries"] if at == store}
        kinds = [fault for fault, stores in KINDS.items() if store in stores]
        found += [f"{name}: {why}" for why in _mismeasured(measured, kinds)]
    return found


def _miscounted(counts):
    """What is wrong with the *counts* of a store."""
    if not all(counts.get(each) for each in ("faults", "workflows", "acknowledged")):
        yield "no workflows or no faults"
    if counts.get("workflows", 0) < WHOLE["workflows"]:
        yield f"{counts.get('workflows', 0)} workflows, not {WHOLE['workflows']}"
    for each in tallies.MUST_BE_NONE:
        if counts.get(each):
            yield f"{each}: {counts[each]:,}, and it must be none"


def _mismeasured(measured, kinds):
    """What is wrong with what was *measured* on a store (fault → promise, seconds), on which faults
    of these *kinds* have to strike."""
    for fault in (kind + pace for kind in kinds for pace in ("", recoveries.BY_DEFAULT)):
        if fault not in measured:
            yield f"no figures of how soon work goes on when {fault}"
    for fault, (limit, seconds) in measured.items():
        least = 1 if fault.endswith(recoveries.BY_DEFAULT) else WHOLE["strikes"]
        if len(seconds) < least:
            yield f"{fault}: {len(seconds)} strikes, not {least}"
        if max(seconds, default=0.0) >= limit:
            yield f"{fault}: {max(seconds):.2f} s until work went on, promised are {limit:g}"


def page(text, kept):
    """The page *text* with what was *kept* between its marks; None: nothing yet."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:start] + "\n" + (NOTHING if kept is None else _block(kept)) + text[end:]


def _block(kept):
    run = kept["run"]
    host = run["machine"]
    counted, measured = (_titled(lines) for lines in tables(kept).values())
    return (
        f"{run['date'][:10]}, commit `{run['commit']}`: {host['processor']}, {host['cores']} "
        f"cores, {host['memory']}, {host['system']}, Python {host['python']}. "
        f"{kept['tests']['passed']:,} tests passed. The figures are also in "
        f"[faults.json](benchmarks/faults.json).\n\n"
        f"### What became of acknowledged tasks\n\n{counted}\n\n"
        f"### How soon work goes on\n\n{measured}\n"
    )


def _titled(lines):
    """A table whose columns have the stores' names."""
    head, *rest = lines
    return "\n".join([re.sub(r"\w+", lambda word: CALLED.get(word[0], word[0]), head), *rest])


def main():
    source = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "benchmarks/results/faults.json"
    if not source.exists():
        raise SystemExit(f"nothing in {source}: `make test-faults` leaves it there")
    kept = json.loads(source.read_text("utf-8"))
    why = refused(kept)
    if why:
        raise SystemExit("This run cannot be published:\n  " + "\n  ".join(why))
    (ROOT / RAW).write_text(dump(kept), "utf-8")
    whole = (ROOT / PAGE).read_text("utf-8")
    (ROOT / PAGE).write_text(page(whole, kept), "utf-8")
    print(f"wrote {RAW} and {PAGE}")


if __name__ == "__main__":
    main()
