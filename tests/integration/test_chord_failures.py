"""A member that ends without success decides its chord at once, with an error that names it: a real
worker, on SQLite and on Redis. The other member runs all the time."""

import pytest
from retry_sites import retry_site, run


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request):
    with retry_site(tmp_path, request.param) as made:
        yield made


def decided(place, member, between=""):
    """(class, text, class of the cause, id and state of *member*, state of the other, of the body)
    once the chord's body has ended."""
    place.worker("-c", "3").ready()
    (found,) = run(
        place,
        f"made = chord([wait_for_go.s(1), {member}])(body.s())\n"
        f"one, other = made.parent[1], made.parent[0]\n{between}"
        "try: made.get(timeout=50)\n"
        "except Exception as error:\n"
        "    cause = type(error.__cause__).__name__\n"
        "    said = [type(error).__name__, str(error), cause]\n"
        "say([*said, one.id, other.id, other.ready(), made.id])\n",
    )
    kind, text, cause, id, other, other_ended, body = found
    assert not other_ended
    (place.folder / "go").touch()
    assert kind == "ChordError"
    assert text.startswith("member 1 of the header, ")
    # The other's end releases nothing: if it did, that would stand before these in the queue.
    assert place.ended([other])[0].state == "succeeded"
    place.ended(place.send("tasks.on_day", "2026-11-30", count=6))
    assert not place.ledger("body")
    assert (place.record(body).state, place.record(body).attempt) == ("failed", 0)
    return text, cause, id, place.record(id).state


def test_one_that_failed(place):
    (place.folder / "broken").touch()
    text, cause, id, state = decided(place, "member.s(7, 'broken')")
    assert (state, cause) == ("failed", "ValueError")
    assert f"tasks.member(7, 'broken')[{id}]" in text
    assert text.endswith("ValueError: broken is broken")


def test_one_that_is_dead(place):
    text, cause, id, state = decided(place, "kill.si()")
    assert (state, cause) == ("dead", "DeadTaskError")
    assert f"tasks.kill()[{id}]" in text
    assert "DeadTaskError" in text


def test_one_that_was_revoked(place):
    text, cause, id, state = decided(
        place, "member.s(8).set(queue='nobody')", "app.control.revoke(one.id)\n"
    )
    assert (state, cause) == ("revoked", "TaskRevokedError")
    assert f"tasks.member(8)[{id}]" in text
    assert text.endswith("TaskRevokedError: revoked")


def test_one_that_was_revoked_while_it_ran(place):
    between = (
        "import time\n"
        "while one.state != 'STARTED': time.sleep(0.02)\n"
        "app.control.revoke(one.id, terminate=True)\n"
    )
    text, cause, id, state = decided(place, "wait_for_go.s(9)", between)
    assert (state, cause) == ("revoked", "TaskRevokedError")
    assert f"tasks.wait_for_go(9)[{id}]" in text


def test_one_that_expired(place):
    text, cause, id, state = decided(place, "member.s(8).set(queue='nobody', expires=0.5)")
    assert (state, cause) == ("expired", "TaskRevokedError")
    assert f"tasks.member(8)[{id}]" in text
    assert "expired" in text


def test_arguments_that_are_hidden_are_not_named(place):
    text, cause, id, state = decided(place, "secret.s('hunter2', 5)")
    assert (state, cause) == ("failed", "ValueError")
    assert f"tasks.secret(***, 5)[{id}]" in text.replace("'***'", "***")
    assert "hunter2" not in text
