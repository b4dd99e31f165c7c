"""Workflows of many parts with a real worker, on SQLite and on Redis: what they cost the sender.

Larger ones, and how long they take, are in ``make bench-workflows``.
"""

import json

import pytest
from servers import server
from workers import site

#: MiB that the sender may need at most, the interpreter and all that it imported included; and what
#: a hundred times as many members may add to that.
MOST = 150
GROWTH = 30

HEAD = """
import json, re
from celeriac import chain, chord, group
from tasks import *

def peak():
    # Not ru_maxrss: what the process that started this one once needed is counted in there.
    text = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", text)[1]) / 1024

"""


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request):
    if request.param == "sqlite":
        with site(tmp_path, "flow_tasks.py") as made:
            yield made
        return
    with server("redis") as found, site(tmp_path, "flow_tasks.py", broker=found.url) as made:
        yield made


def run(place, code):
    """What *code* prints as JSON in its last line."""
    return json.loads(place.python(HEAD + code, deadline=250).splitlines()[-1])


def test_a_chord_of_twenty_thousand_from_a_generator(place):
    place.worker("-c", "2").ready()
    told = run(
        place,
        "def send(many):\n"
        "    return chord(analyze_data.s([n]) for n in range(many))(echo.s())\n"
        "send(200).get(timeout=200)\n"
        "before = peak()\n"
        "result = send(20_000)\n"
        "sent = peak()\n"
        "same = result.get(timeout=200) == list(range(20_000))\n"
        "print(json.dumps([before, sent, same]))\n",
    )
    before, sent, same = told
    assert same
    assert sent < MOST
    assert sent - before < GROWTH


def test_a_header_that_is_a_literal_costs_little_beside_itself(place):
    """Nobody runs them: what is measured is what the sender needs besides its own list."""
    before, sent, known, size = run(
        place,
        "def send(members):\n"
        "    return chord(members)(echo.s())\n"
        "send([analyze_data.s([n]) for n in range(2000)])\n"
        "members = [analyze_data.s([n]) for n in range(50_000)]\n"
        "before = peak()\n"
        "result = send(members)\n"
        "sent = peak()\n"
        "join = app.store.inspection.join(result.parent.id)\n"
        "print(json.dumps([before, sent, len(result.parent), join.size]))\n",
    )
    assert (known, size) == (50_000, 50_000)
    assert sent - before < GROWTH


def test_a_group_of_fifty_thousand_from_a_generator_is_not_held(place):
    """Nobody runs them: what is measured is the sender."""
    before, sent, read = run(
        place,
        "def send(many):\n"
        "    return group(analyze_data.s([n]) for n in range(many))()\n"
        "send(500)\n"
        "before = peak()\n"
        "result = send(50_000)\n"
        "sent = peak()\n"
        "page = app.store.inspection.flow(result.id, limit=1000)\n"
        "print(json.dumps([before, sent, len(page)]))\n",
    )
    assert read == 1000
    assert sent < MOST
    assert sent - before < GROWTH


def test_long_chains_and_chains_side_by_side(place):
    place.worker("-c", "2").ready()
    told = run(
        place,
        "long = chain(count_on.s(0), *[count_on.s() for _ in range(999)])\n"
        "one = long.delay()\n"
        "joined = count_on.s(0)\n"
        "for _ in range(299):\n"
        "    joined = joined | count_on.s()\n"
        "other = joined.delay()\n"
        "many = chord(\n"
        "    [chain(count_on.s(n), *[count_on.s() for _ in range(9)]) for n in range(300)],\n"
        "    echo.s(),\n"
        ")()\n"
        "print(json.dumps([one.get(timeout=200), other.get(timeout=200),\n"
        "                  many.get(timeout=200) == list(range(10, 310))]))\n",
    )
    assert told == [1000, 300, True]


def test_a_hundred_thousand_calls_in_chunks(place):
    place.worker("-c", "2").ready()
    told = run(
        place,
        "pairs = zip(range(100_000), range(100_000))\n"
        "result = plus.chunks(pairs, 1000)()\n"
        "found = result.get(timeout=200)\n"
        "flat = [each for some in found for each in some]\n"
        "print(json.dumps([len(found), flat == list(range(0, 200_000, 2))]))\n",
    )
    assert told == [100, True]
