"""``finish`` and its kin, on a view made of dictionaries."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import states
from celeriac.message import ADDED, Edges, Header, NewJoin, compose
from celeriac.outcome import Outcome
from celeriac.records import Stamp
from celeriac.stores import fates, finish
from celeriac.stores.base import Options
from celeriac.stores.effects import (
    Decide,
    End,
    Forget,
    Grow,
    JoinNode,
    Member,
    Node,
    Release,
    Reopen,
    Size,
    gathered,
    outsiders,
)

NOW = 1000.0
WAITS = Edges(waits=True)


class World:
    """Records and joins, and what applying effects makes of them."""

    def __init__(self, *nodes, joins=()):
        self.nodes = {node.id: node for node in nodes}
        self.joins = {join.id: join for join in joins}
        self.members = {}
        self.waiting = {}

    def record(self, id):
        return self.nodes.get(id)

    def join(self, id):
        return self.joins.get(id)

    def member(self, join, index):
        return self.members.get((join, index), "")

    def outsiders(self, join, after, most):
        return list(enumerate(self.waiting.get(join, []), 1))[after : after + most]

    def apply(self, effects):
        for effect in effects.effects:
            self.apply_one(effect)
        return effects

    def apply_one(self, effect):
        replace = msgspec.structs.replace
        match effect:
            case End(id, state, _, cause):
                assert self.nodes[id].state not in states.TERMINAL, "ended twice"
                self.nodes[id] = replace(self.nodes[id], state=state, cause=cause)
            case Release(id, state):
                assert self.nodes[id].state == states.WAITING, "released twice"
                self.nodes[id] = replace(self.nodes[id], state=state)
            case Reopen(id, state):
                assert self.nodes[id].state in states.TERMINAL, "reopened alive"
                self.nodes[id] = replace(self.nodes[id], state=state, cause="", revoked=False)
            case Member(join, index, _, done):
                assert self.member(join, index) in ("", "added"), "counted twice"
                self.members[join, index] = "done" if done else "failed"
                found = self.joins[join]
                self.joins[join] = replace(
                    found, count=found.count + done, failures=found.failures + (not done)
                )
            case Forget(join, index, done):
                assert self.member(join, index) == ("done" if done else "failed")
                self.members[join, index] = "added" if index >= ADDED else ""
                found = self.joins[join]
                self.joins[join] = replace(
                    found, count=found.count - done, failures=found.failures - (not done)
                )
            case Decide(join, decided, cause):
                self.joins[join] = replace(self.joins[join], decided=decided, cause=cause)
            case Grow(join, index):
                assert not self.member(join, index), "grown twice"
                self.members[join, index] = "added"
                self.joins[join] = replace(self.joins[join], grown=self.joins[join].grown + 1)
            case Size(join, size):
                self.joins[join] = replace(self.joins[join], size=size)

    def finish(self, id, state=states.SUCCEEDED, reason="", limit=finish.LIMIT):
        effects = self.apply(finish.finish(self, id, state, reason, now=NOW, limit=limit))
        steps = 1
        while effects.remainder:
            effects = self.apply(finish.resume(self, effects.remainder, now=NOW, limit=limit))
            steps += 1
            assert steps < 10_000, "the remainder does not get smaller"
        return steps

    def reopen(self, id):
        return self.apply(finish.reopen(self, id, now=NOW))

    def states(self, *ids):
        return [self.nodes[id].state for id in ids]


def chain(length, state=states.RUNNING):
    ids = [f"c{number}" for number in range(length)]
    return [
        Node(
            id,
            state if not number else states.WAITING,
            Edges(waits=bool(number), success=tuple(ids[number + 1 : number + 2])),
        )
        for number, id in enumerate(ids)
    ]


def test_the_first_effect_is_the_records_own_end():
    world = World(*chain(2))
    effects = finish.finish(world, "c0", states.SUCCEEDED, "why", now=NOW)
    assert effects.effects[0] == End("c0", states.SUCCEEDED, "why", "")
    assert effects.effects[1] == Release("c1", states.QUEUED, None)


@pytest.mark.parametrize("id", ["c0", "never"])
def test_what_has_ended_or_is_not_there_has_no_effects(id):
    world = World(*chain(2, states.FAILED))
    assert finish.finish(world, id, states.SUCCEEDED, "", now=NOW) == finish.Effects()


def test_a_failure_runs_down_the_chain_with_its_cause():
    world = World(*chain(4))
    effects = finish.finish(world, "c0", states.FAILED, "E", now=NOW).effects
    assert effects[1:] == (
        End("c1", states.FAILED, "UpstreamFailed: upstream c0 ended failed", "c0"),
        End("c2", states.FAILED, "UpstreamFailed: upstream c1 ended failed", "c0"),
        End("c3", states.FAILED, "UpstreamFailed: upstream c2 ended failed", "c0"),
    )


def test_a_revoke_runs_down_the_chain_as_revoked():
    world = World(*chain(3))
    world.finish("c0", states.CANCELLED)
    assert world.states("c1", "c2") == [states.CANCELLED] * 2


def test_what_an_unneeded_errback_leads_to_is_ignored_whole():
    world = World(
        Node("a", states.RUNNING, Edges(failure=("e",))),
        Node("e", states.WAITING, Edges(waits=True, success=("f",), failure=("g",))),
        Node("f", states.WAITING, WAITS),
        Node("g", states.WAITING, Edges(waits=True, join=("J", 0))),
        Node("body", states.WAITING, Edges(waits=True, gathers="J", failure=("h",))),
        Node("h", states.WAITING, WAITS),
        joins=[JoinNode("J", "body", 1)],
    )
    world.finish("a")
    assert world.states("e", "f", "g", "body", "h") == [states.SKIPPED] * 5


@pytest.mark.parametrize(
    ("node", "effect"),
    [
        (Node("b", states.WAITING, WAITS, eta=NOW + 5), Release("b", states.SCHEDULED, NOW + 5)),
        (Node("b", states.WAITING, WAITS, eta=NOW - 5), Release("b", states.QUEUED, None)),
        (
            Node("b", states.WAITING, WAITS, expires=NOW),
            End("b", states.EXPIRED, "TaskRevokedError: expired", ""),
        ),
        (
            Node("b", states.WAITING, WAITS, revoked=True),
            End("b", states.CANCELLED, "TaskRevokedError: revoked", ""),
        ),
    ],
)
def test_a_release_looks_at_eta_expiry_and_revoke(node, effect):
    world = World(Node("a", states.RUNNING, Edges(success=("b",))), node)
    assert finish.finish(world, "a", states.SUCCEEDED, "", now=NOW).effects[1:] == (effect,)


@pytest.mark.parametrize("state", sorted(states.STORE_STATES - {states.WAITING}))
def test_only_waiting_records_are_touched(state):
    edges = Edges(success=("b",), failure=("e",))
    for own in (states.SUCCEEDED, states.FAILED):
        world = World(Node("a", states.RUNNING, edges), Node("b", state), Node("e", state))
        assert len(finish.finish(world, "a", own, "", now=NOW).effects) == 1


def join_world(size=3, sealed=True):
    return World(
        *(
            Node(f"m{n}", states.RUNNING, Edges(join=("J", n), within=("J", n)))
            for n in range(size)
        ),
        Node("body", states.WAITING, Edges(waits=True, gathers="J", success=("z",))),
        Node("z", states.WAITING, WAITS),
        joins=[JoinNode("J", "body", size if sealed else None)],
    )


def test_a_join_is_a_set_and_its_last_member_releases_the_body():
    world = join_world(2)
    world.finish("m1")
    assert world.states("body") == [states.WAITING]
    world.finish("m0")
    assert world.states("body") == [states.QUEUED]
    assert world.joins["J"].decided == "done"


def test_an_absent_join_is_ignored():
    world = World(Node("m", states.RUNNING, Edges(join=("J", 0))))
    world.finish("m")
    assert world.states("m") == [states.SUCCEEDED]


def test_the_first_failed_member_decides_and_later_ones_are_noted():
    world = join_world()
    world.finish("m1", states.FAILED)
    assert world.joins["J"].cause == "m1"
    world.finish("m0", states.FAILED)
    world.finish("m2")
    assert world.joins["J"] == JoinNode("J", "body", 3, 1, 2, "failed", "m1")


def test_sealing_completes_a_join_whose_members_are_in():
    world = join_world(2, sealed=False)
    world.finish("m0")
    world.finish("m1")
    world.apply(finish.seal(world, "J", 2, now=NOW))
    assert world.states("body") == [states.QUEUED]
    assert finish.seal(world, "J", 2, now=NOW).effects == ()


def test_a_failed_join_is_still_told_its_size_and_can_be_reopened():
    world = join_world(2, sealed=False)
    world.finish("m0", states.FAILED)
    world.apply(finish.seal(world, "J", 2, now=NOW))
    world.reopen("m0")
    world.finish("m1")
    world.finish("m0")
    assert world.states("body") == [states.QUEUED]


def test_a_join_given_up_fails_its_body_by_itself():
    world = join_world(2, sealed=False)
    world.apply(finish.abandon(world, "J", 2, now=NOW))
    assert world.joins["J"].given_up
    assert world.states("body", "z") == [states.FAILED] * 2
    assert world.nodes["z"].cause == "body"
    assert finish.seal(world, "J", 2, now=NOW).effects == ()
    assert world.reopen("body").effects == ()


@pytest.mark.parametrize("ends", [states.FAILED, states.CANCELLED])
def test_errbacks_of_its_own_run_are_not_needed_when_it_never_ran(ends):
    world = World(
        Node("a", states.RUNNING, Edges(success=("b",))),
        Node("b", states.WAITING, Edges(waits=True, failure=("f",), own=("e",))),
        Node("e", states.WAITING, Edges(waits=True, success=("g",), own=("h",))),
        *(Node(id, states.WAITING, WAITS) for id in "fgh"),
    )
    world.finish("a", ends)
    assert world.states(*"efgh") == [
        states.SKIPPED,
        states.QUEUED,
        states.SKIPPED,
        states.SKIPPED,
    ]
    assert world.nodes["h"].cause == "a"
    assert world.reopen("b").effects == ()  # f has not ended
    world.finish("f")
    world.reopen("b")
    assert world.states(*"abefgh") == [states.QUEUED, *[states.WAITING] * 5]


def test_errbacks_of_its_own_run_run_when_its_join_failed():
    world = World(
        Node("m", states.RUNNING, Edges(join=("J", 0))),
        Node("body", states.WAITING, Edges(waits=True, gathers="J", own=("e",))),
        Node("e", states.WAITING, WAITS),
        joins=[JoinNode("J", "body", 1)],
    )
    world.finish("m", states.FAILED)
    assert world.states("body", "e") == [states.FAILED, states.QUEUED]


def added(*indexes, join="J"):
    return [Edges(join=(join, ADDED + index)) for index in indexes]


def test_a_join_grows_by_what_is_added_to_it_before_a_member_is_noted():
    world = join_world(1)
    world.nodes["x"] = Node("x", states.QUEUED, *added(0))
    world.apply(finish.grow(world, [None, Edges(), *added(0)]))
    world.finish("m0")
    assert world.states("body") == [states.WAITING]
    world.finish("x")
    assert world.states("body") == [states.QUEUED]
    assert finish.grow(world, added(1)).effects == (), "it is done"


def test_a_join_does_not_grow_by_what_it_has_noted_or_is_named_twice():
    world = join_world(2)
    world.apply(finish.grow(world, added(0, 0)))
    assert world.joins["J"].grown == 1
    assert finish.grow(world, added(0)).effects == ()
    world.members["J", ADDED + 3] = "failed"
    assert finish.grow(world, [*added(3), *added(4, join="K"), Edges(join=("J", 5))]).effects == ()


def test_a_join_that_a_member_has_failed_grows_and_needs_what_was_added_once_reopened():
    world = join_world(2)
    world.nodes["x"] = Node("x", states.QUEUED, *added(0))
    world.finish("m0", states.FAILED)
    world.apply(finish.grow(world, added(0)))
    world.finish("m1")
    world.reopen("m0")
    world.finish("m0")
    assert world.states("body") == [states.WAITING]
    world.finish("x")
    assert world.states("body") == [states.QUEUED]


def test_what_a_join_has_grown_by_before_it_is_sealed_is_kept():
    world = join_world(1, sealed=False)
    world.apply(finish.grow(world, added(0)))
    world.finish("m0")
    world.apply(finish.seal(world, "J", 1, now=NOW))
    assert world.states("body") == [states.WAITING]
    assert world.joins["J"] == JoinNode("J", "body", 1, 1, grown=1)


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_a_join_given_up_ends_what_waits_for_what_was_never_sent(limit):
    world = join_world(0, sealed=False)
    ids = [f"w{number}" for number in range(7)]
    for index, id in enumerate(ids):
        edges = Edges(waits=True, success=(f"z{index}",), own=("e",) if index == 5 else ())
        world.nodes[id] = Node(id, states.RUNNING if index == 3 else states.WAITING, edges)
        world.nodes[f"z{index}"] = Node(f"z{index}", states.WAITING, WAITS)
    world.nodes["e"] = Node("e", states.WAITING, WAITS)
    world.waiting["J"] = [*ids, "gone"]
    effects = world.apply(finish.abandon(world, "J", 7, now=NOW, limit=limit))
    steps = 1
    while effects.remainder:
        effects = world.apply(finish.resume(world, effects.remainder, now=NOW, limit=limit))
        steps += 1
    assert steps >= 15 / limit
    assert {id for id in ids if world.nodes[id].state == states.FAILED} == {*ids} - {"w3"}
    assert world.states("w3", "z3", "e") == [states.RUNNING, states.WAITING, states.SKIPPED]
    assert world.nodes["w0"].cause == world.nodes["z0"].cause == "body"
    assert world.reopen("w0").effects == ()


def test_a_join_that_a_member_failed_is_given_up_too_if_it_is_never_sealed():
    world = join_world(1, sealed=False)
    world.nodes["w"] = Node("w", states.WAITING, WAITS)
    world.waiting["J"] = ["w"]
    world.finish("m0", states.FAILED)
    world.apply(finish.abandon(world, "J", 2, now=NOW))
    assert world.joins["J"].given_up
    assert world.states("body", "w") == [states.FAILED] * 2
    assert finish.abandon(world, "J", 2, now=NOW).effects == ()


def sent(id, **edges):
    return compose(Header(id, "job", "n", edges=Edges(**edges) if edges else None), b"")


def test_outsiders_wait_for_what_is_not_sent_with_them():
    chunk = [
        sent("a", success=("b",), failure=("c",), own=("d",)),
        *(sent(id, waits=True) for id in "bcdef"),
        sent("g"),
    ]
    assert outsiders(chunk, [NewJoin("J", "e", 1)]) == ["f"]
    assert outsiders(reversed(chunk), []) == ["f", "e"]


@pytest.mark.parametrize(
    ("size", "done", "ids"),
    [
        (None, {}, []),
        (None, {2: "c", 0: "a"}, ["a", None, "c"]),
        (2, {1: "b"}, [None, "b"]),
        (1, {ADDED + 9: "y", ADDED: "x", 0: "a"}, ["a", "x", "y"]),
        (None, {ADDED: "x"}, ["x"]),
        (0, {}, []),
    ],
)
def test_members_are_gathered_by_index_and_added_ones_last(size, done, ids):
    assert gathered(size, done) == ids


def test_reopen_of_a_whole_errback_branch():
    world = World(
        Node("a", states.FAILED, Edges(failure=("e",))),
        Node("e", states.SUCCEEDED, Edges(waits=True, success=("f",))),
        Node("f", states.SUCCEEDED, Edges(waits=True, join=("J", 0))),
        Node("g", states.SUCCEEDED, Edges(waits=True, gathers="J")),
        joins=[JoinNode("J", "g", 1, 1, 0, "done")],
    )
    world.members["J", 0] = "done"
    world.reopen("a")
    assert world.states("a", "e", "f", "g") == [states.QUEUED] + [states.WAITING] * 3
    assert world.joins["J"] == JoinNode("J", "g", 1)


def test_reopen_leaves_what_failed_by_itself_or_lives():
    world = World(
        Node("a", states.FAILED, Edges(success=("b", "c"), failure=("e",))),
        Node("b", states.FAILED, WAITS, cause="other"),
        Node("c", states.QUEUED, WAITS),
        Node("e", states.SUCCEEDED, WAITS),
    )
    assert world.reopen("a").effects == (
        Reopen("a", states.QUEUED),
        Reopen("e", states.WAITING),
    )


@pytest.mark.parametrize("state", [states.QUEUED, states.SCHEDULED, states.RUNNING, states.WAITING])
@pytest.mark.parametrize("place", ["e", "f", "g"])
def test_reopen_waits_for_errbacks_and_what_follows_them(place, state):
    """One that waits although what it hangs on has ended was replaced, and is not done."""
    ends = dict.fromkeys("efg", states.SUCCEEDED) | {place: state}
    world = World(
        Node("a", states.FAILED, Edges(failure=("e",), own=("g",))),
        Node("e", ends["e"], Edges(waits=True, success=("f",))),
        Node("f", ends["f"], WAITS),
        Node("g", ends["g"], WAITS),
    )
    assert world.reopen("a").effects == ()
    world.nodes[place] = Node(place, states.SKIPPED, world.nodes[place].edges)
    assert [each.id for each in world.reopen("a").effects] == ["a", "e", "g", "f"]


def test_an_errback_of_two_parts_is_reopened_once():
    world = World(
        Node("a", states.FAILED, Edges(success=("b",), failure=("e",))),
        Node("b", states.FAILED, Edges(waits=True, failure=("e",)), cause="a"),
        Node("e", states.SUCCEEDED, WAITS),
    )
    assert [each.id for each in world.reopen("a").effects] == ["a", "e", "b"]


@pytest.mark.parametrize(
    ("before", "way", "after"),
    [
        (states.RUNNING, "success", states.WAITING),
        (states.WAITING, "success", states.WAITING),
        (states.SUCCEEDED, "success", states.QUEUED),
        (states.FAILED, "success", None),
        (states.SKIPPED, "success", None),
        (states.RUNNING, "failure", states.WAITING),
        (states.FAILED, "failure", states.QUEUED),
        (states.SUCCEEDED, "failure", None),
        (states.SKIPPED, "failure", states.QUEUED),
        (states.RUNNING, "own", states.WAITING),
        (states.DEAD, "own", states.QUEUED),
        (states.SUCCEEDED, "own", None),
    ],
)
def test_what_was_revoked_as_it_waited_waits_again_until_its_turn_comes(before, way, after):
    world = World(
        Node("a", before, Edges(**{way: ("b",)})),
        Node("b", states.CANCELLED, Edges(waits=True, after="a")),
    )
    assert world.reopen("b").effects == ((Reopen("b", after),) if after else ())


@pytest.mark.parametrize("way", ["failure", "own"])
def test_an_errback_is_not_reopened_for_what_was_skipped_with_another(way):
    world = World(
        Node("a", states.SKIPPED, Edges(waits=True, **{way: ("b",)}), cause="z"),
        Node("b", states.CANCELLED, Edges(waits=True, told="a")),
    )
    assert world.reopen("b").effects == ()


def test_an_errback_of_its_own_is_not_reopened_for_what_was_cancelled_with_another():
    world = World(
        Node("a", states.FAILED, Edges(waits=True, own=("b",), failure=("c",)), cause="z"),
        Node("b", states.CANCELLED, Edges(waits=True, told="a")),
        Node("c", states.CANCELLED, Edges(waits=True, told="a")),
    )
    assert world.reopen("b").effects == ()
    assert [each.id for each in world.reopen("c").effects] == ["c"]


def test_an_errback_that_waits_again_is_not_released_by_what_took_its_place():
    """It was replaced, and what took its place has failed and is retried, too."""
    world = World(
        Node("a", states.RUNNING, Edges(own=("e",))),
        Node("e", states.WAITING, Edges(waits=True, gathers="R")),
        Node("m", states.FAILED, Edges(join=("R", 0))),
        joins=[JoinNode("R", "e", 1, 0, 1, "failed", "m")],
    )
    world.members["R", 0] = "failed"
    assert world.reopen("m").effects == (Reopen("m", states.QUEUED), Forget("R", 0, False))
    world.finish("m")
    world.finish("a")
    assert world.states("m", "a", "e") == [states.SUCCEEDED, states.SUCCEEDED, states.SKIPPED]


def test_reopen_waits_for_the_body_of_a_header_that_an_errback_is_in():
    world = World(
        Node("a", states.FAILED, Edges(failure=("e",))),
        Node("e", states.SUCCEEDED, Edges(waits=True, join=("J", 0))),
        Node("body", states.RUNNING, Edges(waits=True, gathers="J")),
        joins=[JoinNode("J", "body", 1, 1, 0, "done")],
    )
    world.members["J", 0] = "done"
    assert world.reopen("a").effects == ()


def test_who_releases_it_may_be_gone_or_not_known():
    world = World(
        Node("a", states.CANCELLED, Edges(waits=True, takes="gone")),
        Node("b", states.CANCELLED, Edges(waits=True)),
    )
    assert world.reopen("a").effects == (), "it would run with nothing in the place of a result"
    assert world.reopen("b").effects == (Reopen("b", states.QUEUED),)


def test_reopen_respects_an_eta_ahead():
    world = World(Node("a", states.CANCELLED, eta=NOW + 9))
    assert world.reopen("a").effects == (Reopen("a", states.SCHEDULED, NOW + 9),)


@pytest.mark.parametrize("state", sorted(states.STORE_STATES - states.REOPENABLE))
def test_what_lives_or_succeeded_is_not_reopened(state):
    assert World(Node("a", state)).reopen("a").effects == ()


def test_reopen_through_a_cause_that_is_gone_does_nothing():
    assert World(Node("a", states.FAILED, cause="gone")).reopen("a").effects == ()


def test_a_long_chain_is_cancelled_in_bounded_steps():
    world = World(*chain(2000))
    assert world.finish("c0", states.FAILED, limit=100) >= 20
    assert set(world.states(*world.nodes)) == {states.FAILED}


def test_no_step_has_more_effects_than_its_limit_allows():
    wide = tuple(f"w{number}" for number in range(1000))
    world = World(
        Node("a", states.RUNNING, Edges(success=wide)),
        *(Node(id, states.WAITING, Edges(waits=True, join=("J", 0))) for id in wide),
    )
    effects = finish.finish(world, "a", states.FAILED, "", now=NOW, limit=50)
    assert len(effects.effects) <= 50 + 4
    assert effects.remainder


@given(data=st.data(), limit=st.integers(1, 7), final=st.sampled_from(sorted(states.TERMINAL)))
def test_small_steps_come_to_the_same_as_one_large_one(data, limit, final):
    """Whatever the workflow: cut into steps of any size, the same ends, in the same states."""
    count = data.draw(st.integers(1, 9))
    ids = [f"n{number}" for number in range(count)]
    nodes = []
    for number, id in enumerate(ids):
        later = ids[number + 1 :]
        some = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        index = data.draw(st.integers(0, 2))
        joins = st.sampled_from([None, ("J", index), ("K", index)])
        nodes.append(
            Node(
                id,
                states.WAITING if number else states.RUNNING,
                Edges(
                    success=tuple(data.draw(some)),
                    failure=tuple(data.draw(some)),
                    own=tuple(data.draw(some)),
                    join=data.draw(joins),
                    within=data.draw(joins),
                ),
                expires=data.draw(st.sampled_from([None, NOW - 1])),
            )
        )
    joins = [JoinNode("J", ids[-1], 2), JoinNode("K", ids[count // 2], 1)]
    whole, cut = World(*nodes, joins=joins), World(*nodes, joins=joins)
    whole.finish("n0", final)
    cut.finish("n0", final, limit=limit)
    assert cut.nodes == whole.nodes
    assert cut.joins == whole.joins
    again = finish.resume(
        whole, [finish.Pending(id, final, id) for id in ids if id == "n0"], now=NOW
    )
    assert again.effects == (), "following the edges again changes something"


@given(data=st.data())
def test_reopening_undoes_a_failure(data):
    """Fail, reopen, succeed: everything ends as if it had succeeded at once."""
    length = data.draw(st.integers(1, 5))
    failed = data.draw(st.sampled_from(sorted(states.REOPENABLE - {states.SKIPPED})))
    nodes = chain(length)
    last = nodes[-1]
    nodes[-1] = msgspec.structs.replace(
        last, edges=msgspec.structs.replace(last.edges, join=("J", 0))
    )
    tail = [
        Node("body", states.WAITING, Edges(waits=True, gathers="J", success=("z",))),
        Node("z", states.WAITING, WAITS),
    ]
    join = JoinNode("J", "body", 1)
    straight, detour = World(*nodes, *tail, joins=[join]), World(*nodes, *tail, joins=[join])
    detour.finish("c0", failed)
    assert detour.states("body", "z") == [states.FAILED] * 2
    detour.reopen("c0")
    for world in (straight, detour):
        for number in range(length):
            world.finish(f"c{number}")
        world.finish("body")
    assert detour.nodes == straight.nodes
    assert detour.joins == straight.joins


# --- fates ------------------------------------------------------------------------------------

OPTIONS = Options(random=lambda: 0.0, loss_delay=4.0, max_losses=3)


def lost(**held):
    return fates.lost(fates.Held(**held), "worker box (pid 1)", now=NOW, options=OPTIONS)


def test_losses_queue_then_wait_then_kill():
    assert (lost().state, lost().losses) == (states.QUEUED, 1)
    assert (lost(losses=1).state, lost(losses=1).due) == (states.SCHEDULED, NOW + 2.0)
    assert lost(losses=2).state == states.DEAD
    assert lost(losses=2).reason.startswith("DeadTaskError: ")


@pytest.mark.parametrize("stamp", [Stamp.AT_MOST_ONCE, Stamp.FAIL_IF_LOST])
def test_a_stamped_record_fails_at_its_first_loss(stamp):
    fate = lost(stamp=stamp)
    assert fate.state == states.FAILED
    assert fate.reason == (
        "WorkerLostError: worker box (pid 1) stopped beating while it held this task"
    )


@pytest.mark.parametrize("stamp", [0, Stamp.AT_MOST_ONCE])
def test_a_pending_revoke_decides_every_fate(stamp):
    held = fates.Held(revoked=True, stamp=stamp, losses=9)
    outcome = Outcome(states.SCHEDULED, delay=5.0, charge="retry")
    for fate in (
        fates.lost(held, "w", now=NOW, options=OPTIONS),
        fates.repeated(held, outcome, now=NOW),
        fates.handed_back(held, True, 0.0, "w", now=NOW),
    ):
        assert (fate.state, fate.reason) == (states.CANCELLED, "TaskRevokedError: revoked")


def test_what_has_expired_does_not_run_again():
    held = fates.Held(expires=NOW)
    assert fates.repeated(held, Outcome(states.QUEUED), now=NOW).state == states.EXPIRED
    assert lost(expires=NOW).state == states.EXPIRED


@pytest.mark.parametrize(
    ("charge", "retries", "crashes"), [("", 2, 1), ("retry", 3, 1), ("crash", 2, 2)]
)
def test_a_repeat_is_charged_to_what_it_names(charge, retries, crashes):
    held = fates.Held(retries=2, crashes=1)
    fate = fates.repeated(held, Outcome(states.SCHEDULED, delay=3.0, charge=charge), now=NOW)
    assert (fate.retries, fate.crashes, fate.renew) == (retries, crashes, True)
    assert fate.due == NOW + 3.0


def test_handing_back_keeps_the_place_unless_it_had_begun():
    held = fates.Held()
    assert not fates.handed_back(held, False, 0.0, "w", now=NOW).renew
    assert fates.handed_back(held, True, 0.0, "w", now=NOW).renew
    assert fates.handed_back(held, False, 2.0, "w", now=NOW).due == NOW + 2.0


@pytest.mark.parametrize(
    ("state", "keep", "unique", "kept"),
    [
        (states.SUCCEEDED, True, False, 86_400.0),
        (states.SUCCEEDED, False, False, 3_600.0),
        (states.SUCCEEDED, False, True, 7 * 86_400.0),
        (states.FAILED, False, False, 7 * 86_400.0),
        (states.DEAD, True, False, 7 * 86_400.0),
    ],
)
def test_retention(state, keep, unique, kept):
    assert fates.retention(state, keep, unique, Options()) == kept
    assert fates.retention(states.SUCCEEDED, True, True, Options(result_expires=None)) is None


@pytest.mark.parametrize("ends", [states.FAILED, states.CANCELLED])
def test_own_errbacks_of_a_body_do_not_run_for_what_failed_before_the_whole_header(ends):
    world = World(
        Node("a", states.RUNNING, Edges(success=("m0", "m1"))),
        *(
            Node(f"m{index}", states.WAITING, Edges(True, join=("J", index), within=("J", index)))
            for index in range(2)
        ),
        Node("body", states.WAITING, Edges(waits=True, gathers="J", own=("e",), failure=("f",))),
        *(Node(id, states.WAITING, WAITS) for id in "ef"),
        joins=[JoinNode("J", "body", 2)],
    )
    world.finish("a", ends)
    assert world.states("body", "e", "f") == [states.FAILED, states.SKIPPED, states.QUEUED]


@pytest.mark.parametrize(
    ("edges", "node", "expected"),
    [
        ({}, {}, (states.QUEUED, None, None)),
        ({"delay": 5.0}, {}, (states.SCHEDULED, NOW + 5, None)),
        ({"delay": 5.0}, {"eta": NOW - 1}, (states.QUEUED, None, None)),
        ({"delay": 5.0}, {"eta": NOW + 1}, (states.SCHEDULED, NOW + 1, None)),
        ({"lasts": 3.0}, {}, (states.QUEUED, None, NOW + 3)),
        ({"lasts": 3.0}, {"expires": NOW + 9}, (states.QUEUED, None, None)),
        ({"delay": 5.0, "lasts": 3.0}, {}, (states.SCHEDULED, NOW + 5, NOW + 3)),
    ],
)
def test_from_and_until_when_a_released_part_may_run(edges, node, expected):
    world = World(
        Node("a", states.RUNNING, Edges(success=("b",))),
        Node("b", states.WAITING, Edges(waits=True, **edges), **node),
    )
    effects = finish.finish(world, "a", states.SUCCEEDED, "", now=NOW).effects
    (released,) = [each for each in effects if isinstance(each, finish.Release)]
    assert (released.state, released.due, released.expires) == expected
