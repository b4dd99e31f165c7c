"""What must be true once everything should have ended."""

from types import SimpleNamespace

from edge_rules import check_as_the_edges_say

from celeriac import states
from celeriac.testing import ledger


def judge(simulation):
    """Everything that is wrong, as text; most of it was seen on the way."""
    watch, store = simulation.watch, simulation.store
    ids = list(watch.headers)
    records = {each.id: each for each in store.inspection.get(ids) if each is not None}
    found = [f"{id}: discarded, and it is there again" for id in watch.gone.keys() & records.keys()]
    records = {**records, **watch.gone}
    acknowledged = [id for client in simulation.clients for id in client.acknowledged]
    report = ledger.check(
        acknowledged,
        watch.lines,
        records.values(),
        interrupted={
            id: watch.interrupted[id]
            + watch.replaced[id]
            + watch.generations.explained(id)
            + watch.suspected[id]
            for id in {
                *watch.interrupted,
                *watch.replaced,
                *watch.generations.number,
                *watch.suspected,
            }
        },
        workers=[each.owner for each in store.inspection.workers()],
    )
    found += [*watch.problems, *report.problems]
    found += [
        f"{id}: has not ended, it is {each.state}"
        for id, each in records.items()
        if each.state not in states.TERMINAL and id not in acknowledged
    ]
    found += _starts(watch, records)
    found += _charged(watch, records)
    if any(each.state not in states.TERMINAL for each in records.values()):
        return found
    found += _ends(watch, records)
    found += _views(simulation, records)
    found += _edges(watch, records)
    found += _mirror(simulation, records)
    found += [
        f"{client.name} was refused {text}"
        for client in simulation.clients
        for text in client.refused
    ]
    counts = store.inspection.counts()
    left = {state for by_state in counts.states.values() for state in by_state} - states.TERMINAL
    if left or counts.parked:
        found.append(f"the counts say that something is {left or counts.parked}")
    return found


def _ends(watch, records):
    """The record says what the one commit said that ended it."""
    for id, (state, body) in watch.ends.items():
        record = records[id]
        if (record.state, record.body) != (state, body):
            yield f"{id}: {state} with {body} was committed, it is {record.state} {record.body}"
    for id, fence in watch.leases.items():
        if records[id].state not in states.TERMINAL:
            yield f"{id}: still leased under {fence.nonce}"
    for id, count in watch.released.items():
        if count > 1 + watch.replaced[id]:
            yield f"{id}: released {count} times"


def _charged(watch, records):
    """Who died alone is charged, and nobody else but what must not run twice: it fails by it."""
    for id, record in records.items():
        once = watch.headers[id].task in ("once", "frail")
        if record.crashes > watch.convicted[id] + (watch.suspected[id] if once else 0):
            alone = watch.convicted[id]
            yield f"{id}: charged {record.crashes} crashes, it died alone {alone} times"


def _starts(watch, records):
    """A task that may start once at most, and was not asked to repeat, starts once."""
    generations = watch.generations
    for (id, number), count in generations.starts.items():
        last = id in records and number == generations.number[id]
        if last and watch.headers[id].task == "once" and count > 1 + records[id].retries:
            yield f"{id}: at most once, and started {count} times"
    for id, number in generations.number.items():
        if id in records and records[id].generation != number:
            yield f"{id}: reopened {number} times, its generation is {records[id].generation}"


def _views(simulation, records):
    """What clients were told is what the store says now."""
    for client in simulation.clients:
        last = {id: found for (id, number), found in client.seen.items()
                if number == simulation.watch.generations.number[id]
                and id not in simulation.watch.gone}  # fmt: skip
        for id, result in zip(last, simulation.results.get_many([*last]), strict=True):
            if last[id] != (result.state, result.body):
                yield f"{id}: {client.name} read {last[id]}, it is {result.state}"


def _mirror(simulation, records):
    """The store of results says what the records say."""
    far = simulation.network.far
    if far is None:
        return
    generations = simulation.watch.generations.number
    records = {id: each for id, each in records.items() if id not in simulation.watch.gone}
    for id, result in zip(records, far.store.results.get_many([*records]), strict=True):
        record = records[id]
        if result is None:
            # A relay that was held up may forget there, late, what was reopened and has ended
            # again; it is read from the record then.
            if not generations[id]:
                yield f"{id}: the store of results does not have it"
            continue
        # Left open: which of two ends is the later one is told by the clock alone.
        unsure = generations[id] and simulation.clock.set_back
        if not unsure and (result.state, result.body) != (record.state, record.body):
            yield f"{id}: the store of results says {result.state}, it is {record.state}"


def _edges(watch, records):
    """Bodies, successors and errbacks ran, or did not, as what they hang on ended."""
    joins = {id: join for id, join in watch.joins.items() if id in watch.sealed}
    run = SimpleNamespace(headers=watch.headers, joins=joins, runs=watch.generations.delivered())
    try:
        check_as_the_edges_say(run, records)
    except AssertionError as wrong:
        yield f"edges: {wrong}"
