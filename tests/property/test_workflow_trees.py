"""Random workflows, parts of which fail, repeat, expire, are revoked, replaced and added to: what
runs, how often, and what comes of it is what a direct evaluation says (``random_canvases.py``)."""

import logging
import random
import uuid
from ast import literal_eval
from collections import Counter

import pytest
from chaos_tasks import make
from random_canvases import FAILED, Maker, as_code, build, evaluate, parts_of, revoked_ids

from celeriac import states
from celeriac.testing.harness import using

SEEDS = range(60)
#: Ends that need a worker beside, or time to pass: an eager run has neither.
NOT_EAGER = {"expire", "revoke"}


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "ledger.parts").touch()
    return tmp_path / "ledger"


def application(ledger):
    return make(f"memory://{uuid.uuid4().hex}", ledger, set_as_current=False)


def check(tree, name, ledger, get):
    """Each part that must run did so, under one id; no other one did; and the value is right."""
    expected = evaluate(tree)
    lines = (ledger.parent / "ledger.parts").read_text().splitlines()
    ids = {tuple(line.split()) for line in lines}
    ran = Counter(int(number) for _, _, number in ids)
    assert ran == dict.fromkeys(expected.ran, 1), as_code(tree, name)
    if expected.value is not FAILED:
        assert get() == expected.value, as_code(tree, name)
        return
    with pytest.raises(Exception) as raised:
        get()
    assert not issubclass(raised.type, TimeoutError | AssertionError), as_code(tree, name)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_runs_what_must_run_and_nothing_waits_for_ever(seed, ledger):
    name = f"g{seed}"
    tree = Maker(random.Random(seed), name).tree()
    app = application(ledger)
    with using(app) as harness:
        harness.store.queue.revoke(revoked_ids(tree, name))
        result = build(app, tree, name).apply_async()
        for _ in range(20):  # what expires does so in a queue that nobody takes from
            harness.run_pending(["celery"], throw=False, most=5000)
            harness.clock.advance(2)
            harness.store.queue.reap()
        left = [
            each
            for each in harness.store.inspection.list(limit=10_000)
            if each.state not in states.TERMINAL
        ]
        assert not left, as_code(tree, name)
        check(tree, name, ledger, lambda: result.get(timeout=0.1))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_eager_run_comes_to_the_same(seed, ledger):
    name = f"e{seed}"
    tree = Maker(random.Random(seed), name).tree()
    for each in parts_of(tree):
        each["do"] = "fail" if each["do"] in NOT_EAGER else each["do"]
    result = build(application(ledger), tree, name).apply(throw=False)
    check(tree, name, ledger, result.get)


def test_the_trees_are_of_all_kinds():
    """Guards the guard."""
    found = Counter()
    for seed in SEEDS:
        tree = Maker(random.Random(seed), "t").tree()
        found.update(each["do"] for each in parts_of(tree))
        found["succeeds"] += evaluate(tree).value is not FAILED
        code = as_code(tree, "t")
        found.update(kind for kind in ("swap", "grow", "chunks", "chord") if f"'{kind}'" in code)
        assert literal_eval(code.partition("TREE = ")[2].partition("\n\ndef")[0]) == tree
    for kind in ("retry", "give_up", "soft", "swap", "grow", "chunks", "chord", *NOT_EAGER):
        assert found[kind], kind
    assert found["succeeds"] > 5
