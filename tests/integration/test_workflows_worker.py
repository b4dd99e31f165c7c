"""Workflows with a real prefork worker, on SQLite and on Redis."""

import json

import pytest
from servers import server
from workers import eventually, site

from celeriac import states


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request):
    if request.param == "sqlite":
        with site(tmp_path, "flow_tasks.py") as made:
            yield made
        return
    with server("redis") as found, site(tmp_path, "flow_tasks.py", broker=found.url) as made:
        yield made


def run(place, code):
    """What *code* says of itself with ``say(…)``."""
    head = (
        "import json\n"
        "from celeriac import chain, chord, group\n"
        "from tasks import *\n"
        "def say(value): print(json.dumps(value))\n"
    )
    return [json.loads(line) for line in place.python(head + code).splitlines()]


def test_the_snippets_people_write(place):
    place.worker("-c", "2").ready()
    assert run(
        place,
        "image_urls = ['a.png', 'b.png', 'c.png']\n"
        "result = group(resize_image.s(url) for url in image_urls)()\n"
        "say(result.get(timeout=50))\n"
        "url = 'http://x'\n"
        "workflow = download_file.s(url) | process_file.s() | upload_result.s()\n"
        "say(workflow.delay().get(timeout=50))\n"
        "say(chain(download_file.s(url), process_file.s())().get(timeout=50))\n"
        "data_chunks = [[1, 2], [3], [4, 5, 6]]\n"
        "say(chord([analyze_data.s(chunk) for chunk in data_chunks])(generate_report.s())"
        ".get(timeout=50))\n"
        "say((group(analyze_data.s(c) for c in data_chunks) | generate_report.s()).delay()"
        ".get(timeout=50))\n",
    ) == [
        ["small a.png", "small b.png", "small c.png"],
        "stored BYTES OF HTTP://X",
        "BYTES OF HTTP://X",
        {"total": 21, "parts": 3},
        {"total": 21, "parts": 3},
    ]


def test_nested_groups_maps_replacements_and_added_members(place):
    place.worker("-c", "2").ready()
    assert run(
        place,
        "inner = download_file.s('y') | group(process_file.s(), upload_result.s())\n"
        "say((group(inner, download_file.s('z')) | echo.s()).delay().get(timeout=50))\n"
        "say(resize_image.map(['a', 'b']).delay().get(timeout=50))\n"
        "say((split.s('a b') | echo.s()).delay().get(timeout=50))\n"
        "say(len((group(grow.s(3), grow.s(0)) | echo.s()).delay().get(timeout=50)))\n",
    ) == [
        [["BYTES OF Y", "stored bytes of y"], "bytes of z"],
        ["small a", "small b"],
        ["small a", "small b"],
        5,
    ]


def test_errbacks_and_what_get_raises(place):
    place.worker("-c", "2").ready()
    first, second = run(
        place,
        "a = (download_file.s('x') | fail.s() | upload_result.s()).on_error(on_error.s()).delay()\n"
        "b = chord([analyze_data.s([1]), fail.s()])(generate_report.s().on_error(old_error.s()))\n"
        "for each in (a, b):\n"
        "    try:\n"
        "        each.get(timeout=50)\n"
        "    except Exception as error:\n"
        "        say([type(error).__name__, str(error), each.id, each.parent.id])\n",
    )
    assert first[:2] == ["ValueError", "no such file"]
    assert second[0] == "ChordError"
    assert "member 1 of the header, tasks.fail()[" in second[1]
    events = eventually(
        lambda: len(found := place.ledger()) == 2 and {each.event for each in found},
        "both errbacks ran",
    )
    assert events == {"error:ValueError:tasks.fail", f"old:{second[2]}"}


def test_what_takes_a_result_may_be_repeated_and_hides_the_same(place):
    worker = place.worker("-c", "2").ready()
    *values, id = run(
        place,
        "say((plus.s(1, 2) | ask_again.s() | echo.s()).delay().get(timeout=50))\n"
        "say((group(plus.s(1, 2)) | ask_again.s()).delay().get(timeout=50))\n"
        "result = (plus.s(1, 2) | pay.s('4111-1111')).delay()\n"
        "result.get(timeout=50, propagate=False)\n"
        "say(result.id)\n",
    )
    assert values == [[3, 5], [[3], 5]]
    assert place.record(id).reason == "ValueError: refused: ***"
    eventually(lambda: "refused: ***" in worker.text(), "the worker logs the failure")
    assert "4111" not in worker.text()


def test_a_crash_in_the_middle_of_a_chord_is_run_again(place):
    place.worker("-c", "2").ready()
    (value,) = run(
        place,
        "say((group(crash_once.s(1), analyze_data.s([2])) | generate_report.s()).delay()"
        ".get(timeout=50))\n",
    )
    assert value == {"total": 3, "parts": 2}
    assert len(place.ledger("start")) == 2


def test_a_stream_of_members(place):
    place.worker("-c", "2").ready()
    (value,) = run(
        place,
        "header = (analyze_data.s([n]) for n in range(2500))\n"
        "result = chord(header)(generate_report.s())\n"
        "say([result.get(timeout=50), len(result.parent)])\n",
    )
    assert value == [{"total": sum(range(2500)), "parts": 2500}, 2500]


def test_a_task_knows_what_comes_after_it(place):
    place.worker("-c", "1").ready()
    step, (member, body) = run(
        place,
        "first = looks_ahead.s().on_error(on_error.s()); first.link(echo.s())\n"
        "result = (first | echo.s() | generate_report.si([1])).delay()\n"
        "result.get(timeout=50)\n"
        "say(result.parent.parent.get(timeout=50))\n"
        "result = chord([looks_ahead.s()], echo.s()).delay()\n"
        "say([result.get(timeout=50), result.id])\n",
    )
    assert step == [
        ["tasks.generate_report", "tasks.echo"],
        ["tasks.echo"],
        ["tasks.on_error"],
        None,
    ]
    assert member == [[[], [], [], ["tasks.echo", body]]]


def test_errbacks_of_a_chord_for_each_member_that_fails(place):
    place.worker("-c", "2").ready()
    ((body, *members),) = run(
        place,
        "app.conf.task_allow_error_cb_on_chord_header = True\n"
        "made = chord([fail.s(), analyze_data.s([1]), fail.s()], generate_report.s())\n"
        "made.link_error(old_error.s())\n"
        "result = made.delay()\n"
        "try: result.get(timeout=50)\n"
        "except Exception: pass\n"
        "say([result.id, *[each.id for each in result.parent]])\n",
    )
    eventually(
        lambda: all(
            each.state in states.TERMINAL for each in place.store.inspection.flow(body, limit=100)
        ),
        "all parts have ended",
    )
    assert sorted(each.event for each in place.ledger()) == sorted(
        f"old:{id}" for id in (body, members[0], members[2])
    )
