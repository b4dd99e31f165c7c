"""The turn of a simulated worker is written by hand: it does what the supervisor's does, in its
order. Whoever adds something there adds it here, or says why it is not in the simulation."""

import ast
import inspect
import textwrap

from simulation.worker import Worker

from celeriac.worker.supervisor import Supervisor

#: What the supervisor calls → what does it in the simulation.
SAME = {
    "self._begin_anew": "self.custody.lose_all",
    "self._register": "self.register",
    "self._reconcile": "self.reconcile",
    "self._dispatch.place": "self.dispatch.place",
    "self._lanes.settle": "self.dispatch.overbid",
    "self._custody.obey": "self.custody.obey",
    "self._replace_outworn": "self.pool.retire",
    "self._custody.give_back": "self.custody.give_back",
    "self._limits.tick": "self.limits.tick",
    "self._pool.fill": "self.pool.fill",
}
#: What it calls besides, and why nothing does it there.
OTHERWISE = {
    "any": "a question",
    "len": "a question",
    "time.monotonic": "the world has the time",
    "time.sleep": "to gather what has come: a matter of speed",
    "self._dispatch.rates.pause": "a question",
    "self._rhythm.pause": "the worker is called when something has happened",
    "self._rhythm.may_look_later": "the same",
    "self._rhythm.looked": "the same",
    "self._selector.select": "the same",
    "key.data": "the same: executors, their pipes and the zygote are events",
    "self._on_signal": "a fault calls `stop`",
    "self._signals.popleft": "a fault calls `stop`",
    "self._remote.turn": "remote control is not in there",
    "self._pool.flush": "pipes are never full",
    "self._pool.reap_strays": "there are no children",
    "duty.turn": "bursts and reloads are not in there",
    "self._give_way": "there is no zygote",
    "self._mind_zygote": "there is no zygote",
    "self._pool.executors.values": "a question",
}


def calls(method):
    """Names of all that *method* calls, in the order in which it stands there."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    return [ast.unparse(each.func) for each in found]


def test_a_simulated_turn_is_that_of_the_supervisor():
    product = calls(Supervisor._turn)
    unknown = [each for each in product if each not in SAME and each not in OTHERWISE]
    assert unknown == [], "done by nobody in the simulation"
    # Of what is left out nothing is that the supervisor does not do any more.
    assert {*SAME, *OTHERWISE} - {*product} == set()
    there = [each for each in calls(Worker.turn) if each in SAME.values()]
    # One that waits for its registration does nothing else at that turn, in both.
    assert [SAME[each] for each in product if each in SAME] == there
