"""An operator's retry of parts of workflows, with a real worker, on SQLite and on Redis."""

import json
import subprocess
import sys

import pytest
from retry_sites import retry_site, run
from workers import DEADLINE, eventually

from celeriac import states


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request):
    with retry_site(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def broken(place):
    """Something is broken until this is called."""
    file = place.folder / "broken"
    file.touch()
    return file.unlink


def get(place, id):
    """The value of *id*, waited for."""
    (value,) = run(place, f"say(app.AsyncResult({id!r}).get(timeout=50))\n")
    return value


def celeriac(place, *args, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *args],
        cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done


def retry(place, *args, code=0):
    return json.loads(celeriac(place, "retry", *args, "--json", code=code).stdout)


def all_ended(place, flow):
    """Wait until every part of a workflow has."""
    eventually(
        lambda: all(
            each.state in states.TERMINAL for each in place.store.inspection.flow(flow, limit=1000)
        ),
        "all parts have ended",
    )


CHAIN = (
    "result = chain(member.s(1), add.s(2, 'broken'), add.s(3)).on_error(on_error.s()).delay()\n"
    "assert failed(result) == 'ValueError'\n"
    "say(ids(result))\n"
)


@pytest.mark.parametrize("named", [1, 2])
def test_a_chain_goes_on_from_the_part_that_failed(place, broken, named):
    place.worker("-c", "2").ready()
    ((first, second, third),) = run(place, CHAIN)
    asked = (first, second, third)[named]
    all_ended(place, third)  # the errback, too: one that is queued still is not reopened
    # Broken still: it fails once more, in another generation, and the errback runs once more.
    again = retry(place, asked)
    assert again["runs"] == [second]
    assert {second, third} < set(again["reopened"])
    assert run(place, f"say(failed(app.AsyncResult({third!r})))\n") == ["ValueError"]
    errback = next(id for id in again["reopened"] if id not in {second, third})
    place.wait_ledger("error:ValueError", errback, 2)
    all_ended(place, third)
    broken()
    said = celeriac(place, "retry", asked).stdout
    assert said.startswith("Reopened 3 parts: ")
    assert ("What runs again is what had failed: tasks.add" in said) == (asked == third)
    assert get(place, third) == 6
    assert len(place.ledger("member:1", first)) == 1
    assert len(place.ledger("add", second)) == 3
    assert len(place.ledger("error:ValueError", errback)) == 2
    # To repeat it does nothing.
    repeated = celeriac(place, "retry", asked)
    assert repeated.stdout == "Nothing was reopened.\n"
    assert "it has succeeded; there is nothing to retry" in repeated.stderr


def test_nothing_runs_again_while_an_errback_runs(place, broken):
    """It is called once for each failure: the second one waits until it can be called again."""
    place.worker("-c", "2").ready()
    ((_, second, third),) = run(
        place,
        "steps = chain(member.s(1), add.s(2, 'broken'), add.s(3))\n"
        "result = steps.on_error(slow_error.s()).delay()\n"
        "assert failed(result) == 'ValueError'\n"
        "say(ids(result))\n",
    )
    (begun,) = eventually(lambda: place.ledger("slow_error"), "the errback runs")
    errback = begun.id
    for args in ([third], [third, "--all-failed"]):
        refused = celeriac(place, "retry", *args, code=1)
        assert refused.stdout == "Nothing was reopened.\n"
        assert f"its errback tasks.slow_error[{errback}] has not ended" in refused.stderr
        assert f"celeriac revoke {errback}" in refused.stderr
    (place.folder / "go").touch()
    all_ended(place, third)
    again = retry(place, third)
    assert again["runs"] == [second]
    assert errback in again["reopened"]
    place.wait_ledger("slow_error", errback, 2)
    all_ended(place, third)
    broken()
    retry(place, third)
    assert get(place, third) == 6
    assert len(place.ledger("slow_error")) == 2


def test_arguments_are_mended(place, broken):
    place.worker("-c", "2").ready()
    ((first, second, third),) = run(place, CHAIN)
    all_ended(place, third)
    refused = celeriac(place, "retry", third, "--with-args", "[5]", code=2)
    assert f"it ended because of {second}" in refused.stderr
    wrong = celeriac(place, "retry", second, "--with-args", "[5, '']".replace("'", '"'),
                     "--with-kwargs", '{"nonsense": 1}', code=2)  # fmt: skip
    assert "nonsense" in wrong.stderr
    retry(place, second, "--with-args", '[5, ""]')
    assert get(place, third) == 9
    assert len(place.ledger("member:1", first)) == 1


def test_mended_arguments_are_what_annotations_say(place):
    (place.folder / "2026-01-31").touch()
    place.worker("-c", "1").ready()
    (id,) = run(
        place, "r = on_day.delay(date(2026, 1, 31))\nassert failed(r) == 'ValueError'\nsay(r.id)\n"
    )
    wrong = celeriac(place, "retry", id, "--with-args", '["soon"]', code=2)
    assert "argument 'day' must be" in wrong.stderr
    retry(place, id, "--with-args", '["2026-02-01"]')
    assert get(place, id) == "2026-02-01"


@pytest.mark.parametrize("how", ["member", "body", "all"])
def test_a_chord_runs_its_body_once_with_all_results_in_order(place, broken, how):
    place.worker("-c", "2").ready()
    (found,) = run(
        place,
        "made = group(member.s(n, 'broken' if n in (1, 3) else '') for n in range(5))\n"
        "result = chord(made)(body.s().on_error(on_error.s()))\n"
        "assert failed(result) == 'ChordError'\n"
        "for each in result.parent: failed(each)\n"
        "say([result.id, [each.id for each in result.parent]])\n",
    )
    body, members = found
    all_ended(place, body)  # the errback, too: until then nothing is reopened
    broken()
    if how == "member":
        first = retry(place, members[1])
        assert (first["reopened"], first["missing"]) == ([members[1]], [members[3]])
        assert get(place, members[1]) == 1
        second = retry(place, members[3])
        assert (second["runs"], second["missing"]) == ([members[3]], [])
        assert body in second["reopened"]
    else:
        asked = [body] if how == "body" else [members[0], "--all-failed"]
        done = retry(place, *asked)
        assert sorted(done["runs"]) == sorted([members[1], members[3]])
        assert body in done["reopened"]
    assert get(place, body) == [0, 1, 2, 3, 4]
    assert len(place.ledger("body")) == 1
    assert [len(place.ledger(f"member:{n}")) for n in range(5)] == [1, 2, 1, 2, 1]
    assert retry(place, body)["reopened"] == []


def test_a_chord_within_a_chord_is_reopened_from_its_outer_body(place, broken):
    place.worker("-c", "2").ready()
    (id,) = run(
        place,
        "inner = chord([member.s(1), member.s(2, 'broken')], body.s())\n"
        "outer = chord([inner, member.s(3, 'broken'), member.s(4)])(body.s())\n"
        "failed(outer)\n"
        "from celeriac.states import READY_STATES\n"
        "import time\n"
        "flow = app.store.inspection.flow(outer.id)\n"
        "while sum(each.state == 'failed' and not each.cause for each in flow) < 2:\n"
        "    time.sleep(0.02); flow = app.store.inspection.flow(outer.id)\n"
        "say(outer.id)\n",
    )
    broken()
    assert len(retry(place, id)["runs"]) == 2
    assert get(place, id) == [[1, 2], 3, 4]
    assert [len(place.ledger(f"member:{n}")) for n in (1, 2, 3, 4)] == [1, 2, 2, 1]


def test_a_part_that_was_replaced(place, broken):
    place.worker("-c", "2").ready()
    (found,) = run(
        place,
        "result = (split.s(1, 'broken') | add.s(100)).delay()\n"
        "assert failed(result) == 'ValueError'\n"
        "say(ids(result))\n",
    )
    broken()
    done = retry(place, found[-1])
    assert found[0] not in done["runs"]
    assert found[0] in done["reopened"]
    assert get(place, found[-1]) == 112
    assert len(place.ledger("split")) == 1
    assert len(place.ledger("member:1")) == 1


@pytest.mark.parametrize("task", ["grow", "grow_and_replace"])
def test_a_member_that_adds_members_adds_them_once(place, broken, task):
    place.worker("-c", "2").ready()
    ((id, failing),) = run(
        place,
        f"made = chord([{task}.s(1, 'broken'), member.s(2)])(body.s())\n"
        "assert failed(made) == 'ChordError'\n"
        "say([made.id, made.parent[0].id])\n",
    )
    broken()
    assert retry(place, failing)["runs"] == [failing]
    assert get(place, id) == [1, 2, 100]
    assert len(place.ledger("member:100")) == 1
    assert len(place.ledger("body")) == 1


def test_a_dead_member(place):
    place.worker("-c", "1").ready()
    ((id, dead),) = run(
        place,
        "made = chord([kill.si(), member.s(2)])(body.s())\n"
        "assert failed(made) == 'ChordError'\n"
        "say([made.id, made.parent[0].id])\n",
    )
    assert place.record(dead).state == "dead"
    assert retry(place, id)["runs"] == [dead]
    # It kills once more, which is the end of another generation.
    assert run(place, f"say(failed(app.AsyncResult({id!r})))\n") == ["ChordError"]
    assert place.record(dead).generation == 1


def test_a_chain_that_was_revoked_runs_from_its_first_part(place):
    (parts,) = run(
        place,
        "result = chain(member.s(1), add.s(2), add.s(3)).delay()\n"
        "result.revoke()\n"
        "say(ids(result))\n",
    )
    all_ended(place, parts[-1])
    place.worker("-c", "2").ready()
    said = celeriac(place, "retry", parts[-1]).stdout
    assert said.startswith("Reopened 3 parts: ")
    assert get(place, parts[-1]) == 6
    assert [len(place.ledger(each)) for each in ("member:1", "add")] == [1, 2]


def test_what_was_revoked_while_it_waited_waits_again(place):
    place.worker("-c", "2").ready()
    ((_, second),) = run(
        place,
        "result = chain(wait_for_go.s(1), add.s(2)).delay()\n"
        "app.control.revoke(result.id)\n"
        "say(ids(result))\n",
    )
    assert place.record(second).state == "revoked"
    assert retry(place, second)["reopened"] == [second]
    assert place.record(second).state == "waiting"
    (place.folder / "go").touch()
    assert get(place, second) == 3


def test_a_chord_that_was_revoked_runs_its_members_and_its_body(place):
    (found,) = run(
        place,
        "result = chord([member.s(1), chain(member.s(2), add.s(3)), member.s(4)])(body.s())\n"
        "result.revoke()\n"
        "say(result.id)\n",
    )
    flow = place.store.inspection.flow(found)
    assert {each.state for each in flow} == {"revoked"}
    left = retry(place, found, "--all-failed")
    assert (left["reopened"], len(left["left"])) == ([], len(flow))
    place.worker("-c", "2").ready()
    done = retry(place, found)
    assert sorted(done["reopened"]) == sorted(each.id for each in flow)
    assert get(place, found) == [1, 5, 4]
    assert len(place.ledger("body")) == 1


def test_an_id_that_is_not_known(place):
    done = celeriac(place, "retry", "never", code=4)
    assert "never: not known to this store: it was never sent here" in done.stderr
    assert "This store is " in done.stderr
    assert "celeriac -A tasks doctor" in done.stderr
    assert "never: not known" in celeriac(place, "retry", "never", "--all-failed", code=4).stderr


def test_the_id_of_a_group(place):
    place.worker("-c", "2").ready()
    (group_id, id) = run(
        place,
        "made = (add.s(1, 2) | group(add.s('x'), add.s(1)) | body.s()).delay()\n"
        "assert failed(made) == 'ChordError'\n"
        "say(made.parent.id)\nsay(made.id)\n",
    )
    done = celeriac(place, "retry", group_id, code=1)
    assert f"{group_id}: it is a group, and runs nothing itself; name members" in done.stderr
    done = celeriac(place, "why", group_id, code=4)
    assert done.stdout.startswith(f"{group_id} is a group: ")
    assert f"celeriac -A tasks tree {group_id}" in done.stdout
    done = celeriac(place, "replay", group_id, code=4)
    assert f"Error: {group_id} is a group, and runs nothing itself: replay one" in done.stderr
    data = retry(place, group_id, "--all-failed")
    assert (len(data["runs"]), data["reopened"][-1], data["left"]) == (1, id, {})


def test_each_step_of_a_branch_may_add_members(place):
    place.worker("-c", "2").ready()
    (found,) = run(
        place,
        "branch = chain(grow.s(1), grow_more.s(), grow_and_replace.si(5, ''))\n"
        "say(chord([branch, member.s(2)])(body.s()).get(timeout=50))\n",
    )
    assert found[:2] == [5, 2]
    assert sorted(found[2:]) == [100, 200, 500]


def test_a_replacement_may_add_members_too(place):
    place.worker("-c", "2").ready()
    (found,) = run(place, "say(chord([grow_again.s(3)])(body.s()).get(timeout=50))\n")
    assert found == [0, 300, 200, 100]
