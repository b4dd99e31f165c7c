"""An answer that is lost on its way: the call is sent again by the store, is applied once, and
answers what it would have answered.

The cases are those of the conformance suite, each with every one of its round trips lost in turn.
"""

from contextlib import contextmanager

import pytest
import redis
from msgspec.structs import replace

from celeriac import states
from celeriac.stores import connect
from celeriac.stores.redis.link import Link
from celeriac.testing.conformance import Kit
from celeriac.testing.conformance.acts import CASES, picture
from celeriac.testing.conformance.lost_answers import LostAnswerSuite

assert LostAnswerSuite, "it fills the cases"

#: Calls that answer the same if one of their round trips is lost (``scripts.ONCE``).
EXACT = {"inspection.retry", "inspection.discard", "queue.purge", "schedules.claim"}
#: Calls that talk on links of their own, which send nothing again.
OTHER_LINKS = {"bus.listen", "subscription.get"}


class Trips:
    """Round trips made since it was begun; the one with number *lost* is made, and its answer lost,
    after *meanwhile* was called."""

    def __init__(self, lost=None, meanwhile=lambda: None):
        self.count = 0
        self._lost, self._meanwhile = lost, meanwhile

    def made(self, answer):
        self.count += 1
        if self.count - 1 == self._lost:
            self._meanwhile()
            raise redis.ConnectionError("lost")
        return answer


@contextmanager
def trips(lost=None, meanwhile=lambda: None):
    counted = Trips(lost, meanwhile)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ask", "ask_all"):
            made = getattr(Link, name)
            patch.setattr(
                Link, name, lambda *args, made=made, **more: counted.made(made(*args, **more))
            )
        yield counted


@pytest.fixture
def fresh(shared):
    url = shared.url("redis")

    def make():
        kit = Kit(lambda options: connect(url, replace(options, namespace=shared.namespace())))
        kit.configure(mirror=True)
        return kit

    return make


@pytest.mark.parametrize(
    "case",
    [each for each in CASES if each.call not in OTHER_LINKS],
    ids=[each.name for each in CASES if each.call not in OTHER_LINKS],
)
def test_whichever_answer_is_lost_the_call_is_applied_once(case, fresh):
    for _ in range(2):  # the first time, the server learns scripts
        kit = fresh()
        act = case.prepare(kit, kit.store)
        with trips() as clean:
            assert act.make() == act.first
    assert clean.count, "it has asked the server nothing"
    expected = picture(kit)
    for number in range(clean.count):
        kit = fresh()
        act = case.prepare(kit, kit.store)
        with trips(number) as met:
            answer = act.make()
        assert met.count > number, "nothing was lost"
        assert answer == act.first or (case.call not in EXACT and answer == act.repeated)
        assert picture(kit) == expected
        act.proof("after")


def test_a_retry_that_is_sent_again_late_does_not_reopen_what_has_failed_anew(fresh):
    kit = fresh()
    kit.send("a")
    worker = kit.worker()
    worker.fail(worker.take())
    # What large steps have left is worked off first; the second trip reopens the record.
    with trips(1, lambda: worker.fail(worker.take())):
        assert kit.store.inspection.retry(["a"]) == ["a"]
    assert (kit.state("a"), kit.get("a").generation) == (states.FAILED, 1)
