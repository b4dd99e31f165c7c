"""Random workflows on real worker processes that are killed, and whose store breaks meanwhile.

Each graph (``random_canvases.py``) is held against its direct evaluation and against the edges of
its records (``chaos_oracle.py``). ``FLOW_SEEDS`` is how many there are for each store,
``FLOW_FIRST`` the first seed, ``FLOW_STRIKES`` the seed of what is done to them. What is chosen can
be repeated by these; when it happens cannot.
"""

import os
import random
from contextlib import ExitStack
from functools import partial

import pytest
from chaos_scene import Scene
from random_canvases import Maker, hasten
from servers import server
from soak_faults import locked, paused
from workers import EVERY_STORE, site

SEEDS = int(os.environ.get("FLOW_SEEDS", "30"))
FIRST = int(os.environ.get("FLOW_FIRST", "0"))
#: Graphs that share workers.
TOGETHER = 15
#: How often a part fails by itself, in turn: what fails early cuts off what would run behind it.
ILL = (0.0, 0.04, 0.12)
#: Of so many graphs, parts of one are revoked as they run, or expire if they do not run soon.
UNCERTAIN = 5


def is_uncertain(seed):
    return seed % UNCERTAIN == UNCERTAIN - 1


def tree(seed, name):
    """The workflow of that seed."""
    pick = random.Random(seed)
    made = Maker(pick, name, processes=True, ill=ILL[seed % len(ILL)]).tree()
    return hasten(made, pick) if is_uncertain(seed) else made


@pytest.fixture(params=EVERY_STORE)
def scene(tmp_path, request):
    seed = int(os.environ.get("FLOW_STRIKES", random.randrange(1 << 30)))
    print(f"FLOW_STRIKES={seed}")
    with ExitStack() as stack:
        broker, stall = "", partial(locked, tmp_path / "celeriac.db")
        if request.param != "sqlite":
            redis = stack.enter_context(server(request.param))
            broker, stall = redis.url, partial(paused, redis)
        place = stack.enter_context(site(tmp_path, "chaos_tasks.py", broker, noting=True))
        made = Scene(place, seed, stall)
        made.start()
        yield made


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
def test_every_workflow_ends_as_it_must_whoever_dies(scene, first, request, record_property):
    seeds = range(first, min(first + TOGETHER, FIRST + SEEDS))
    print(f"FLOW_FIRST={first} FLOW_SEEDS={len(seeds)}")
    names = {seed: f"g{seed}" for seed in seeds}
    counts, problems = scene.check(
        [(name, tree(seed, name)) for seed, name in names.items()],
        uncertain=[name for seed, name in names.items() if is_uncertain(seed)],
    )
    print(dict(counts), dict(scene.struck))
    record_property("tally", (request.node.callspec.params["scene"], dict(counts)))
    if problems:
        print(scene.logs())
    assert not problems, "\n".join(problems)
