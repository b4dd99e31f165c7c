"""A command that fails at any of its calls to the store, before or after that was applied, and is
given again: then all is as if it had been given once."""

import pytest
from inline import make_app

from celeriac.exceptions import OperationalError
from celeriac.message import Edges
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import Kit, message
from celeriac.testing.conformance.acts import picture
from celeriac.testing.conformance.plans import plan
from celeriac.testing.conformance.workflows import chain
from celeriac.testing.faults import Faults, Rule, wrap


class Counting(Faults):
    calls = 0

    def run(self, method, call):
        self.calls += 1
        return super().run(method, call)


def fail_all(worker):
    """Fail all that is due."""
    while due := worker.lease():
        worker.fail(due[0])


def a_chord_with_two_failed_members(kit):
    parts, joins = plan(3)
    kit.store.queue.enqueue(parts, joins=joins)
    worker = kit.worker()
    kit.done(worker, "J-0")
    fail_all(worker)


def a_part_that_was_revoked_behind_one_that_failed(kit):
    chain(kit)
    kit.store.queue.revoke(["b"])
    fail_all(kit.worker())


def two_of_a_workflow_that_failed(kit):
    kit.enqueue(
        message("a", flow="F", edges=Edges(success=("b",))),
        message("b", flow="F", edges=Edges(waits=True, takes="a")),
        message("c", flow="F"),
    )
    fail_all(kit.worker())


def calls_with_stamps(kit):
    for id in ("a", "b", "held"):
        kit.send(id, stamps={"name": ["x"]})
    kit.send("other", stamps={"name": ["y"]})
    worker = kit.worker()
    kit.store.queue.release("w1", [worker.take().fence], delay=5)
    worker.take()


COMMANDS = {
    "retry of a chord": (
        a_chord_with_two_failed_members, lambda control: control.retry("body"),
    ),
    "retry of what was revoked": (
        a_part_that_was_revoked_behind_one_that_failed, lambda control: control.retry("c"),
    ),
    "retry of several": (two_of_a_workflow_that_failed, lambda control: control.retry(["c", "b"])),
    "retry of all": (
        two_of_a_workflow_that_failed, lambda control: control.retry("F", all_failed=True),
    ),
    "revoke by stamp": (
        calls_with_stamps, lambda control: control.revoke_by_stamped_headers({"name": "x"}),
    ),
    "revoke": (
        calls_with_stamps, lambda control: control.revoke(["a", "held", "never"], terminate=True),
    ),
    "purge": (calls_with_stamps, lambda control: control.purge()),
}  # fmt: skip


def given(prepare, command, *rules):
    """What is there after *command* was given until it did not fail, and the calls it made; of the
    first attempt *rules* make one call fail."""
    kit = Kit(lambda options: make_store("memory://", options))
    prepare(kit)
    faults, app = Counting(*rules), make_app()
    app.lend(wrap(kit.store, faults), app.client)
    before = picture(kit)
    try:
        command(app.control)
    except OperationalError:
        command(app.control)
    assert picture(kit) != before
    assert len(faults.injected) == len(rules)
    return picture(kit), faults.calls


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_given_again_does_what_it_would_have_done(name, kind):
    expected, calls = given(*COMMANDS[name])
    for number in range(1, calls + 1):
        found, _ = given(*COMMANDS[name], Rule("*", kind, hit=number))
        assert found == expected, f"call {number} of {calls}"
