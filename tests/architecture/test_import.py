"""Importing Celeriac is cheap: a web application pays for it at every start."""

import json
import subprocess
import sys

import architecture_rules as rules
import pytest
from layers import CONCRETE_STORES
from source_tree import PACKAGE, SourceTree, within

HEAVY = {"asyncio", "click", "apsw", "psutil", "setproctitle", "cronsim"}
MOST_MILLISECONDS = 60

CHEAP = [
    name
    for name in SourceTree.of_package().modules
    if name == PACKAGE
    or (
        ((layer := rules.layer_of(name)) is not None and layer <= 4)
        and not any(within(name, f"{PACKAGE}.stores.{store}") for store in CONCRETE_STORES)
    )
]


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("name", CHEAP)
def test_what_a_client_imports_loads_nothing_heavy(name):
    program = f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run(program)))
    assert name in loaded
    assert loaded & HEAVY == set()


def test_a_heavy_module_would_be_seen():
    program = "import json, sys, asyncio; print(json.dumps(sorted(sys.modules)))"
    assert set(json.loads(run(program))) & HEAVY == {"asyncio"}


def test_import_time():
    """The best of some runs: how long it takes, not how busy the machine is."""
    program = (
        "from time import perf_counter as now; start = now(); from celeriac import Celeriac; "
        "print((now() - start) * 1000)"
    )
    best = float("inf")
    for _ in range(20):
        best = min(best, float(run(program)))
        if best < MOST_MILLISECONDS:
            break
    assert best < MOST_MILLISECONDS
