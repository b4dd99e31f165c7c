"""An operator's retry of parts of workflows in process, as ``celeriac.testing`` has it."""

import pytest
from inline import make_app

from celeriac import chain, chord
from celeriac.exceptions import ChordError
from celeriac.testing.worker import start_worker


@pytest.fixture
def app():
    made = make_app()
    yield made
    made.close()


@pytest.fixture
def broken(app):
    """What is broken; a list, to be emptied."""
    found = ["file"]

    @app.task(name="member")
    def member(value, needs=""):
        ran.append(value)
        if needs in found:
            raise ValueError(f"{needs} is broken")
        return value

    @app.task(name="add")
    def add(before, value, needs=""):
        ran.append((before, value))
        if needs in found:
            raise ValueError(f"{needs} is broken")
        return before + value

    @app.task(name="body")
    def body(results):
        return results

    ran = app.ran = []
    return found


def test_a_chord_goes_on_from_the_member_that_failed(app, broken):
    member, body = app.tasks["member"], app.tasks["body"]
    result = chord([member.s(1), member.s(2, "file"), member.s(3)])(body.s())
    with start_worker(app):
        with pytest.raises(ChordError, match="file is broken"):
            result.get(timeout=30)
        result.parent[2].get(timeout=30)
        broken.clear()
        done = app.control.retry([result.id])
        assert done.runs == [result.parent[1].id]
        assert app.AsyncResult(result.id).get(timeout=30) == [1, 2, 3]
        assert not app.control.retry([result.id])
    assert sorted(app.ran) == [1, 2, 2, 3]
    assert result.tree().counts == {"SUCCESS": 4}


def test_a_chain_goes_on_with_other_arguments(app, broken):
    member, add = app.tasks["member"], app.tasks["add"]
    result = chain(member.s(1), add.s(2, "file"), add.s(3)).delay()
    with start_worker(app):
        with pytest.raises(ValueError, match="file is broken"):
            result.get(timeout=30)
        app.control.retry([result.parent.id], args=[5, ""])
        assert app.AsyncResult(result.id).get(timeout=30) == 9
    assert app.ran == [1, (1, 2), (1, 5), (6, 3)]
