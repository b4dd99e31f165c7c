"""What a soak sends and what must come of it: a pure function of its seed and a number.

Orders come in generations: one is sent, struck while it runs, judged and forgotten. The generation
with a number is the same whenever the seed is, so that a run can begin where another one failed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from random_canvases import UNSERVED, Maker, hasten, revoked_ids

from celeriac import states

#: Crashes that put a task aside.
MAX_CRASHES = 3
#: The queues that the workers of a soak take from.
QUEUES = ("celery", "mail", "reports")
#: Pools of workers, and how much each runs at once; a worker has one of them.
SHAPES = (
    ("prefork", 2), ("prefork", 3), ("prefork", 4), ("threads", 2), ("threads", 6),
    ("asyncio", 3), ("asyncio", 8),
)  # fmt: skip
#: A task that no worker knows.
STRANGER = "soak.stranger"
SUCCEEDED = frozenset({states.SUCCEEDED})
FAILED = frozenset({states.FAILED})
#: Seconds from the sending of an order that is revoked to the revoke.
BEFORE = -1.0
#: Seconds that a task takes that will be ended by its revoke, and within which that must be.
LONGEST, OBEYED = 32.0, 25.0


@dataclass(frozen=True)
class Order:
    """One call, or one workflow (*tree*), and what may come of it.

    *ends* are the states that it may end in if nobody whom a fault met decides otherwise; for one
    that is never to begin *starts* is 0. *retries* must be on its record. *later* is for how many
    seconds it must not begin. *revoke* is when it is revoked, in seconds after it was sent, or
    ``BEFORE``; *ending* with which signal.
    """

    id: str
    kind: str
    task: str = "soak.work"
    args: tuple = ()
    options: dict = field(default_factory=dict)
    ends: frozenset = SUCCEEDED
    starts: int | None = None
    retries: int = 0
    later: float = 0.0
    revoke: float | None = None
    ending: str | None = None
    tree: dict | None = None

    @property
    def last(self) -> str:
        """The id of what ends last: of a workflow the last part."""
        return f"{self.id}.{self.tree['of'][-1]['n']}" if self.tree else self.id

    @property
    def hasty(self) -> bool:
        """What comes of this workflow depends on how soon it runs."""
        return self.kind == "hasty flow"

    @property
    def revoked_first(self) -> list[str]:
        """What is revoked before it is sent."""
        if self.tree:
            return revoked_ids(self.tree, self.id)
        return [self.id] if self.revoke == BEFORE else []


def rng(seed: str, number: int, what: str) -> random.Random:
    """What chooses *what* of the generation with that number."""
    return random.Random(f"{seed} {number} {what}")


def batch(seed: str, number: int) -> list[Order]:
    """The orders of a generation, in the order in which they are sent."""
    pick = rng(seed, number, "load")
    kinds = [kind for kind, (count, _) in KINDS.items() for _ in range(_count(pick, count))]
    pick.shuffle(kinds)
    return [KINDS[kind][1](f"g{number}.{at}", kind, pick) for at, kind in enumerate(kinds)]


def generation_of(id: str) -> int | None:
    """The number of the generation that *id* says it belongs to."""
    number = id.partition(".")[0].removeprefix("g")
    return int(number) if number.isdecimal() else None


def long_ones(orders: Iterable[Order]) -> list[str]:
    """Ids of those of *orders* that take long enough to be outlived."""
    return [each.id for each in orders if each.kind in _TIMED and each.args[0] >= LONG]


#: Kinds whose first argument is how long they take.
_TIMED = frozenset({"long", "coroutine"})


def _count(pick: random.Random, mean: float) -> int:
    """*mean* on average, so that what is rare is in some generations alone."""
    return int(mean) + (pick.random() < mean % 1)


def _options(pick: random.Random, **more: object) -> dict:
    return {"queue": pick.choice(QUEUES), "priority": pick.randrange(10), **more}


def _short(id: str, kind: str, pick: random.Random) -> Order:
    options = _options(pick, ignore_result=True) if kind == "unread" else _options(pick)
    return Order(id, kind, args=(pick.choice([0, 0, 0.001, 0.01, 0.02]),), options=options)


def _long(id: str, kind: str, pick: random.Random) -> Order:
    return Order(id, kind, args=(round(pick.uniform(1, 6), 2),), options=_options(pick))


def _coroutine(id: str, kind: str, pick: random.Random) -> Order:
    seconds = pick.choice([0, 0.01, round(pick.uniform(0.5, 4), 2)])
    return Order(id, kind, "soak.coroutine", (seconds,), _options(pick))


def _retry(id: str, kind: str, pick: random.Random) -> Order:
    """Repeats itself as often as it says, then succeeds, or has asked too often."""
    times = pick.randint(1, 3)
    ends = FAILED if kind == "gives up" else SUCCEEDED
    args = (times, kind == "gives up", round(pick.choice([0, 0.05, 0.3]), 2))
    return Order(
        id, kind, "soak.again", args, _options(pick), ends, retries=times
    )  # fmt: skip


def _backoff(id: str, kind: str, pick: random.Random) -> Order:
    times = pick.randint(1, 2)
    return Order(id, kind, "soak.backoff", (times,), _options(pick), retries=times)


def _later(id: str, kind: str, pick: random.Random) -> Order:
    seconds = round(pick.uniform(0.2, 4), 2)
    return Order(id, kind, args=(0,), options=_options(pick), later=seconds)


def _failing(task: str, ends: frozenset, *args: object):
    def make(id: str, kind: str, pick: random.Random) -> Order:
        return Order(id, kind, task, args, _options(pick), ends)

    return make


def _poison(id: str, kind: str, pick: random.Random) -> Order:
    how = pick.choice(["exit", "SIGSEGV", "SIGABRT", "SIGKILL"])
    return Order(id, kind, "soak.poison", (how,), _options(pick), frozenset({states.DEAD}))


def _expiring(id: str, kind: str, pick: random.Random) -> Order:
    seconds = round(pick.uniform(0.1, 1.5), 2)
    if kind == "expires":  # nobody serves it
        options = _options(pick, queue=UNSERVED, expires=seconds)
        return Order(
            id, kind, args=(0,), options=options, ends=frozenset({states.EXPIRED}), starts=0
        )
    ends = SUCCEEDED | {states.EXPIRED}
    return Order(id, kind, args=(0.1,), options=_options(pick, expires=seconds), ends=ends)


def _revoked(id: str, kind: str, pick: random.Random) -> Order:
    ending = pick.choice([None, "SIGTERM", "SIGKILL"])
    revoked = frozenset({states.CANCELLED})
    if kind == "revoked unknown":
        return Order(
            id, kind, args=(0,), options=_options(pick), ends=revoked, starts=0,
            revoke=BEFORE, ending=ending,
        )  # fmt: skip
    after = round(pick.uniform(0, 2), 2)
    if kind == "revoked queued":
        options = _options(pick, queue=UNSERVED)
        return Order(
            id, kind, args=(0,), options=options, ends=revoked, starts=0,
            revoke=after, ending=ending,
        )  # fmt: skip
    return Order(
        id, kind, args=(round(pick.uniform(0.5, 3), 2),), options=_options(pick),
        ends=revoked | SUCCEEDED, revoke=after, ending=ending,
    )  # fmt: skip


def _revoked_long(id: str, kind: str, pick: random.Random) -> Order:
    """Runs for longer than a revoke may take to reach it, or repeats itself for ever."""
    after = round(pick.uniform(0, 3), 2)
    revoked = frozenset({states.CANCELLED})
    if kind == "revoked repeating":
        args, ending = (10_000, False, 0.3), pick.choice([None, "SIGTERM"])
        return Order(
            id, kind, "soak.again", args, _options(pick), revoked, revoke=after, ending=ending
        )  # fmt: skip
    ending = pick.choice(["SIGTERM", "SIGKILL"])
    return Order(
        id, kind, args=(LONGEST,), options=_options(pick), ends=revoked | SUCCEEDED,
        revoke=after, ending=ending,
    )  # fmt: skip


def _fragile(task: str):
    """At most once, or not again once its executor has died: whoever dies decides."""

    def make(id: str, kind: str, pick: random.Random) -> Order:
        seconds = round(pick.choice([0, 0.1, 1.0]), 2)
        return Order(id, kind, task, (seconds,), _options(pick), SUCCEEDED | FAILED)

    return make


def _stranger(id: str, kind: str, pick: random.Random) -> Order:
    return Order(id, kind, STRANGER, options=_options(pick), ends=frozenset(), starts=0)


def _flow(id: str, kind: str, pick: random.Random) -> Order:
    """A chain of chains, groups and chords, some of whose parts fail."""
    tree = Maker(pick, id, processes=True, ill=pick.choice([0.0, 0.04, 0.12])).tree()
    return Order(id, kind, tree=hasten(tree, pick) if kind == "hasty flow" else tree)


#: Kind → how many of it a generation has on average, and what makes one.
KINDS = {
    "short": (16, _short),
    "unread": (2, _short),
    "long": (4, _long),
    "coroutine": (3, _coroutine),
    "retries": (2, _retry),
    "gives up": (1, _retry),
    "backs off": (1, _backoff),
    "later": (3, _later),
    "fails": (1, _failing("soak.fail", FAILED)),
    "ignored": (0.5, _failing("soak.ignore", frozenset({states.SKIPPED}))),
    "rejected": (0.5, _failing("soak.reject", frozenset({states.REFUSED}))),
    "soft limit": (0.5, _failing("soak.soft", FAILED)),
    "hard limit": (0.5, _failing("soak.hard", FAILED)),
    "poison": (0.7, _poison),
    "hungry": (0.5, _failing("soak.hungry", SUCCEEDED)),
    "starved": (0.5, _failing("soak.starved", FAILED)),
    "expires": (1, _expiring),
    "hasty": (1, _expiring),
    "revoked unknown": (1, _revoked),
    "revoked queued": (1, _revoked),
    "revoked running": (1, _revoked),
    "revoked long": (2, _revoked_long),
    "revoked repeating": (0.5, _revoked_long),
    "at most once": (1.5, _fragile("soak.once")),
    "not if lost": (0.5, _fragile("soak.frail")),
    "stranger": (0.5, _stranger),
    "flow": (2, _flow),
    "hasty flow": (0.5, _flow),
}  # fmt: skip
AT_MOST_ONCE = frozenset({"at most once"})


# -- strikes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strike:
    """Harm of one *kind* to come *pause* seconds after the one before. *at* (0 up to 1) says to
    whom, *seconds* for how long; *amount* is whatever number the kind needs, 0 up to 1."""

    kind: str
    pause: float
    at: float
    seconds: float
    amount: float


#: Kind → how often. Those of servers are for Redis and Valkey.
WORKERS = {
    "executor": 12, "supervisor": 2, "zygote": 1, "everybody": 0.5, "client": 2, "stop": 1.5,
    "outlive": 2, "freeze": 0.7, "deploy": 2,
}  # fmt: skip
SERVERS = {
    "restart": 0.7, "pause": 0.5, "full": 1, "cut": 1, "reset": 1, "half": 0.5, "forsake": 0.7,
    "unheard": 0.7, "black hole": 0.7, "slow": 1, "late": 1.5, "reply": 2, "request": 1,
}  # fmt: skip
FILES = {"lock": 1.5, "full": 1}
#: Mean seconds between two strikes.
PAUSE = 0.7
#: How long what lasts does: half of it shorter than a lease, which is 3 s, and half long enough for
#: others to have begun anew what is held.
BRIEF, LASTING = (0.2, 2.5), (4.0, 8.0)
#: Seconds that a task takes whose supervisor is stopped so that its end comes when another worker
#: runs it, for how long that is, and for how long the strike waits for such a task to begin.
LONG, OUTLIVED, WANTED = 3.0, (5.0, 7.0), 10.0


def strikes(seed: str, number: int, store: str) -> Iterator[Strike]:
    """The strikes while the generation with that number is the latest, without end."""
    pick = rng(seed, number, "strikes")
    kinds = WORKERS | (FILES if store == "sqlite" else SERVERS)
    while True:
        yield Strike(
            kind=pick.choices([*kinds], [*kinds.values()])[0],
            pause=pick.expovariate(1 / PAUSE),
            at=pick.random(),
            seconds=pick.uniform(*pick.choice((BRIEF, LASTING))),
            amount=pick.random(),
        )


# -- seeds -----------------------------------------------------------------------------------------


def parse_seed(text: str) -> tuple[str, int]:
    """``SEED`` or ``SEED/GENERATION``: the seed, and the generation to begin with."""
    seed, _, first = text.strip().partition("/")
    if not seed or (first and not first.isdecimal()):
        raise ValueError(f"a seed is SEED or SEED/GENERATION, not {text!r}")
    return seed, int(first or 0)


def kept_seeds(text: str) -> list[tuple[str, str]]:
    """The seeds of a file of lines ``STORE SEED  # what was found``."""
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    found = [(line[0], line[1]) for line in lines if line]
    for _, seed in found:
        parse_seed(seed)
    return found
