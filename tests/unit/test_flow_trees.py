"""Workflows as trees: where each part stands, why it has not ended, and how that is shown."""

import asyncio
import codecs
import json
import random

import pytest
from inline import drain, make_app
from random_plans import random_plan

from celeriac import chain, chord, group, states
from celeriac.control.flowreading import read_tree, source_of
from celeriac.control.treetext import summary, tree_lines
from celeriac.exceptions import Ignore, Reject, ResultNotFound
from celeriac.flowparts import Part, Parts, grow
from celeriac.flowtree import GONE, Told, Tree
from celeriac.message import Edges, Header, compose
from celeriac.outcome import Outcome, ResultBody, encode_body
from celeriac.progress import Progress
from celeriac.records import Commit, Fence, Manifest, Record, TaskFacts, Want

NOW = 1_800_000_000.0


@pytest.fixture
def app():
    app = make_app()
    for name in "abcdefgh":
        app.task(name=name)(lambda *args: list(args))
    yield app
    app.close()


@pytest.fixture
def a(app):
    return app.tasks["a"]


def sigs(app, names):
    return [app.tasks[name].s() for name in names]


def read(app, id):
    return read_tree(source_of(app), id, app.client.wall())


def drawn(tree):
    """A tree as nested text: ``role kind`` of several, ``role task`` of one."""
    place = "" if tree.index is None else str(tree.index)
    head = f"{tree.role}{place} {tree.task or tree.kind}"
    inner = ", ".join(drawn(each) for each in tree.children)
    return f"{head}({inner})" if inner else head


def ids_of(tree):
    return sorted(each.id for each in tree.tasks())


# -- where parts stand -------------------------------------------------------------------------


def test_one_task_is_a_tree_of_one(app, a):
    result = a.delay()
    tree = result.tree()
    assert drawn(tree) == "workflow a"
    assert (tree.kind, tree.id, tree.state, tree.ready) == ("task", result.id, "PENDING", False)
    drain(app)
    assert (result.tree().state, result.tree().ready) == ("SUCCESS", True)


def test_steps_stand_side_by_side_and_members_under_their_group(app):
    a, b, c, d = sigs(app, "abcd")
    shapes = {
        "workflow chain(step a, step b, step c)": a | b | c,
        "workflow group(member0 a, member1 b)": group(a, b),
        "workflow chain(step a, step group(member0 b, member1 c))": a | group(b, c),
        "workflow chain(step group(member0 a, member1 b), body c)": chord([a, b], c),
        "workflow chain(step a, step group(member0 b, member1 c), body d)": a | group(b, c) | d,
        "workflow chain(step group(member0 chain(step a, step b), member1 c), body d)": (
            group(a | b, c) | d
        ),
    }
    for expected, canvas in shapes.items():
        assert drawn(canvas.apply_async().tree()) == expected


def test_groups_within_groups(app):
    a, b, c, d, e, f = sigs(app, "abcdef")
    collected = "member0 chain(step group(member0 b, member1 c), body celeriac.collect)"
    assert drawn((a | group(group(b, c), d) | e).apply_async().tree()) == (
        f"workflow chain(step a, step group({collected}, member1 d), body e)"
    )
    # Nothing follows, so nothing says what the inner one is in: it is with those of the whole.
    assert drawn((a | group(group(b, c), d)).apply_async().tree()) == (
        "workflow chain(step a, step group(member1 d, member group(member0 b, member1 c)))"
    )
    assert drawn((a | group(b | group(c, d), e)).apply_async().tree()) == (
        "workflow chain(step a, step group(member0 chain(step b, step group(member0 c, member1 d)),"
        " member1 e))"
    )
    assert drawn(chord([chord([a, b], c), d], e | f).apply_async().tree()) == (
        "workflow chain(step group(member0 chain(step group(member0 a, member1 b), body c), "
        "member1 d), body e, step f)"
    )


def test_two_groups_one_after_the_other(app):
    a, b, c, d = sigs(app, "abcd")
    assert drawn((group(a, b) | group(c, d)).apply_async().tree()) == (
        "workflow chain(step group(member0 a, member1 b), body celeriac.collect, "
        "step group(member0 c, member1 d))"
    )


def test_callbacks_and_errbacks_stand_under_their_task(app):
    a, b, c, d, e, f = sigs(app, "abcdef")
    a.link(c | d)
    a.on_error(e)
    assert drawn((a | b).on_error(f).apply_async().tree()) == (
        "workflow chain(step a(callback chain(step c, step d), errback e), step b(errback f))"
    )
    b.link(group(c, d))
    assert drawn(chord([b, f], e).apply_async().tree()) == (
        "workflow chain(step group(member0 b(callback group(member0 c, member1 d)), member1 f), "
        "body e)"
    )


def test_errbacks_count_once_they_are_called(app):
    @app.task(name="fail")
    def fail():
        raise ValueError("no such file")

    app.task(name="told")(lambda request, error, traceback: None)
    a, b = sigs(app, ["a", "told"])
    result = (a | fail.si().on_error(b)).apply_async()
    assert result.tree().counts == {"PENDING": 2}
    drain(app)
    assert result.tree().counts == {"SUCCESS": 2, "FAILURE": 1}
    well = app.tasks["a"].s().on_error(b).apply_async()
    drain(app)
    tree = well.tree()
    assert (tree.counts, drawn(tree)) == ({"SUCCESS": 1}, "workflow a(errback told)")
    assert tree.children[0].reason == "not needed"


def test_what_takes_a_tasks_place_stands_under_it(app):
    a, b, c = sigs(app, "abc")

    @app.task(name="split", bind=True)
    def split(self):
        raise self.replace(group(a, b))

    @app.task(name="hand", bind=True)
    def hand(self):
        raise self.replace(a | b)

    result = (split.s() | c).apply_async()
    drain(app)
    assert drawn(result.tree()) == (
        "workflow chain(step celeriac.collect(replacement group(member0 a, member1 b)), step c)"
    )
    result = group(hand.s() | c, a).apply_async()
    drain(app)
    assert drawn(result.tree()) == (
        "workflow group(member0 chain(step b(replacement a), step c), member1 a)"
    )
    alone = hand.delay()
    drain(app)
    assert drawn(alone.tree()) == "workflow b(replacement a)"


def test_added_members_stand_behind_the_others(app):
    b = app.tasks["b"].s()

    @app.task(name="grow", bind=True)
    def more(self):
        self.add_to_chord(b)
        return 1

    result = chord([more.s(), b], app.tasks["c"].s()).apply_async()
    drain(app)
    assert drawn(result.tree()) == (
        "workflow chain(step group(member0 grow, member1 b, added b), body c)"
    )


def test_what_a_task_sent_stands_under_it_and_is_not_counted(app):
    a, b = sigs(app, "ab")

    @app.task(name="deep")
    def deep():
        a.delay()

    @app.task(name="sends")
    def sends():
        deep.delay()
        (a | b).delay()

    result = (sends.s() | app.tasks["c"].s()).apply_async()
    drain(app)
    tree = result.tree()
    assert drawn(tree) == "workflow chain(step sends(sent deep(sent a), sent a), step c)"
    assert (tree.counts, tree.ready) == ({"SUCCESS": 2}, True)
    sent = tree.children[0].children
    assert [bool(each.flow) for each in sent] == [False, True]
    assert drawn(read(app, sent[1].flow)) == "workflow chain(step a, step b)"


def test_a_task_that_sends_itself_again_is_followed_so_far_only(app):
    @app.task(name="again", bind=True)
    def again(self, left):
        if left:
            again.delay(left - 1)

    result = again.delay(60)
    drain(app)
    assert 10 < len(list(result.tree().tasks())) < 40


def test_any_id_of_a_workflow_leads_to_it(app):
    a, b, c, d = sigs(app, "abcd")
    result = (a | group(b, c) | d).apply_async()
    whole = result.tree()
    members = result.parent
    for id in (result.id, members.id, *(each.id for each in members), members.parent.id):
        assert read(app, id).id == whole.id == result.id
    expected = drawn(whole)
    assert drawn(members.tree()) == expected
    assert drawn(asyncio.run(result.atree())) == expected
    assert drawn(asyncio.run(members.atree())) == expected
    outer = group(group(a, b), c).apply_async()
    assert outer[0].tree().id == outer.id


def test_an_unknown_id_is_said_to_be_unknown(app):
    assert read(app, "nobody") is None
    with pytest.raises(ResultNotFound):
        app.AsyncResult("nobody").tree()


def test_an_eager_result_is_a_tree_of_one(a):
    tree = a.apply().tree()
    assert (tree.task, tree.state, tree.ready, tree.failed) == ("a", "SUCCESS", True, False)


def test_a_stream_of_members_and_pages_of_parts(app):
    result = chord((app.tasks["a"].s() for _ in range(2500)), app.tasks["b"].s()).apply_async()
    tree = result.tree()
    first, body = tree.children
    assert ([each.index for each in first.children], body.role) == (list(range(2500)), "body")
    assert body.reason == (
        f"Waiting in a workflow for the members of join {first.id}: 0 of 2500 have ended."
    )


@pytest.mark.parametrize("seed", range(200))
def test_every_part_stands_in_one_place_whatever_the_edges_say(seed):
    pick = random.Random(seed)
    numbers = iter(range(1000))
    messages, _ = random_plan(pick, lambda kind: f"{kind}{next(numbers)}", "F")
    parts = []
    for each in messages:
        header = each.header
        if pick.random() < 0.3:
            where = pick.choice(["F", "G", "H", header.id])
            header = _header(header, group=where, index=pick.randint(0, 2))
        if pick.random() < 0.3:
            header = _header(header, parent=pick.choice(messages).id)
        wire = compose(header, b"").encode() if pick.random() < 0.9 else None
        parts.append(Record(header.id, "queued", "t", "q", wire=wire))
    tree = grow(Parts("F", parts), NOW)
    assert [each.id for each in tree.tasks() if each.state == GONE] == []
    assert ids_of(tree) == sorted(each.id for each in parts)
    json.dumps(tree.as_dict())


def _header(header, **fields):
    return Header(**{**{f: getattr(header, f) for f in header.__struct_fields__}, **fields})


def test_edges_in_a_circle_come_to_an_end():
    def part(id, next_, gathers=None):
        edges = Edges(waits=True, success=(next_,), gathers=gathers)
        header = Header(id, "t", "n", edges=edges, flow="F", group="G" if id == "x" else "")
        return Record(id, "waiting", "t", "q", wire=compose(header, b"").encode())

    tree = grow(Parts("F", [part("x", "y"), part("y", "x", "G"), part("z", "z")]), NOW)
    assert ids_of(tree) == ["x", "y", "z"]


def test_ten_thousand_steps_are_no_depth():
    def part(number):
        edges = Edges(waits=number > 0, success=(f"i{number + 1}",) if number < 9999 else ())
        header = Header(f"i{number}", "t", "n", edges=edges, flow="i9999")
        return Record(header.id, "waiting", "t", "q", wire=compose(header, b"").encode())

    tree = grow(Parts("i9999", [part(number) for number in range(10_000)]), NOW)
    assert [each.id for each in tree.children] == [f"i{number}" for number in range(10_000)]


def test_what_is_no_longer_kept_is_named(app):
    a, b, c = sigs(app, "abc")
    result = (a | b | c).apply_async()
    drain(app)
    app.store.inspection.discard([result.parent.parent.id, result.id])
    tree = result.parent.tree()
    assert [(each.id, each.state) for each in tree.children] == [
        (result.parent.parent.id, GONE), (result.parent.id, "SUCCESS"), (result.id, GONE),
    ]  # fmt: skip
    assert tree.ready
    assert tree.state == "SUCCESS"
    assert any("no longer kept" in line for line in tree_lines(tree, NOW))


def test_results_that_are_not_kept_do_not_undo_the_order(app):
    a, b, c = (each.set(ignore_result=True) for each in sigs(app, "abc"))
    result = (a | b | c).apply_async()
    drain(app)
    tree = read(app, result.id)
    assert tree.ready
    assert [each.task for each in tree.tasks()] == ["a", "b", "c"]


# -- states and reasons ------------------------------------------------------------------------


def test_why_each_part_has_not_ended(app):
    a, b, c, d = sigs(app, "abcd")
    result = (a.set(queue="mail") | group(b, c) | d.on_error(a)).apply_async()
    first, members, body = result.tree().children
    assert first.code == "waiting_for_worker"
    assert first.reason == "Waiting for a worker: none alive reads queue 'mail'."
    assert [each.reason for each in members.children] == ["Waits for a.", "Waits for a."]
    assert {each.code for each in members.children} == {"waiting_in_workflow"}
    assert "0 of 2 have ended" in body.reason
    assert body.children[0].reason == "Runs if d ends without success."


def test_the_reasons_are_those_of_why_without_the_dates(app, a):
    from celeriac.control.inspect import situation
    from celeriac.control.why import explain

    result = a.apply_async(countdown=3600)
    tree = result.tree()
    told = explain(situation(app.store, result.id, app.client.wall()))
    assert tree.code == told.code == "scheduled"
    assert tree.reason == "Scheduled: it is due in 1 h."
    assert told.reason.startswith("Scheduled: it is due in 1 h (20")


def test_a_failure_tells_where_and_what_did_not_run_because_of_it(app):
    @app.task(name="fail")
    def fail(*args):
        raise ValueError("no such file")

    a, b = sigs(app, "ab")
    result = (a | fail.s() | b).apply_async()
    drain(app)
    tree = result.tree()
    first, second, third = tree.children
    assert (tree.state, tree.ready, tree.failed) == ("FAILURE", True, True)
    assert (first.state, second.state, third.state) == ("SUCCESS", "FAILURE", "FAILURE")
    assert second.reason == "ValueError: no such file"
    assert second.where.startswith(f'File "{__file__}", line ')
    assert second.where.endswith(", in fail")
    assert third.reason == f"did not run: fail[{second.id}] ended without success"
    assert (third.cause, [each.id for each in tree.failures]) == (second.id, [second.id])


def test_arguments_that_are_hidden_stay_hidden(app):
    @app.task(name="pay", sensitive=["card"])
    def pay(card):
        raise ValueError(f"card 4111111111111111 refused: {card}")

    result = (pay.s("4111111111111111") | app.tasks["a"].s()).apply_async()
    drain(app)
    tree = result.tree()
    text = "\n".join(tree_lines(tree, NOW)) + json.dumps(tree.as_dict())
    assert "refused" in text
    assert f"\n  pay(***)[{result.parent.id}]: ValueError: " in text
    assert "4111" not in text


def test_what_failed_is_shown_with_its_arguments(app):
    @app.task(name="fail")
    def fail(*args, **kwargs):
        raise ValueError("no")

    a = app.tasks["a"]
    long = "x" * 5000
    sent = [
        fail.s(1, "two"),
        fail.si(),
        a.s(0) | fail.s(2),
        chord([a.s(0)], fail.s()),
        fail.s(long),
    ]
    result = group(sent).apply_async()
    drain(app)
    tree = result.tree()
    shown = [each.arguments for each in tree.failures]
    assert shown[:4] == ["(1, 'two')", "()", "(…, 2)", "(…)"]
    assert shown[4].startswith("('xxx")
    assert shown[4].endswith("x…)")
    lines = tree_lines(tree, NOW)
    assert lines[1] == f"  fail(1, 'two')[{result[0].id}]: ValueError: no"
    assert max(map(len, lines)) < 400
    assert {each.arguments for each in tree.tasks() if each.state == states.SUCCESS} == {""}


def test_arguments_that_cannot_be_read_are_left_out(app):
    app.conf.accept_content = ["json", "msgpack"]
    app.conf.task_serializer = "msgpack"

    @app.task(name="fail")
    def fail(number):
        raise ValueError("no")

    result = (fail.s(1) | app.tasks["a"].s()).apply_async()
    drain(app)
    assert result.tree().failures[0].arguments == "(1)"
    app.conf.accept_content = ["json"]
    assert result.tree().failures[0].arguments == ""


def test_the_place_of_a_failure_is_a_file(app):
    @app.task(name="fail")
    def fail():
        codecs.getincrementaldecoder("utf-8")().decode(b"\xe9", final=True)

    result = (fail.s() | app.tasks["a"].s()).apply_async()
    drain(app)
    (failed,) = result.tree().failures
    assert failed.where.startswith(f'File "{__file__}", line ')
    assert failed.where.endswith(", in fail")


def test_ends_that_are_no_success(app):
    @app.task(name="ignores")
    def ignores():
        raise Ignore

    @app.task(name="rejects")
    def rejects():
        raise Reject("not for us")

    result = group(ignores.s(), rejects.s(), app.tasks["a"].s()).apply_async()
    result[2].revoke()
    drain(app)
    tree = result.tree()
    assert [each.state for each in tree.children] == ["IGNORED", "REJECTED", "REVOKED"]
    assert (tree.state, tree.failed, tree.ready) == ("REVOKED", True, True)
    alone = ignores.delay()
    drain(app)
    assert (alone.tree().failed, alone.tree().ready) == (False, True)


RECORDS = {
    "waiting": {}, "scheduled": {"due": NOW + 60}, "queued": {}, "leased": {"leased_at": NOW - 2},
    "running": {"started_at": NOW - 2}, "succeeded": {"started_at": NOW - 5, "ended_at": NOW - 2},
    "failed": {"reason": "ValueError: x", "ended_at": NOW}, "revoked": {"ended_at": NOW},
    "expired": {"ended_at": NOW}, "ignored": {"ended_at": NOW}, "rejected": {"ended_at": NOW},
    "dead": {"reason": "WorkerLostError: x", "crashes": 3, "ended_at": NOW},
}  # fmt: skip


@pytest.mark.parametrize("state", sorted(states.STORE_STATES))
def test_every_state_is_shown(state):
    record = Record("id-1", state, "tasks.add", "celery", worker="w@box", **RECORDS[state])
    told = {"id-1": Told("because of that", "code")}
    (line,) = tree_lines(grow(Parts("id-1", [record]), NOW, told), NOW)
    assert line.startswith(f"{states.visible(state)} tasks.add[id-1]  (")
    assert line.endswith("on w@box): because of that")
    seconds = {"leased": "2 s", "running": "2 s", "succeeded": "3 s"}.get(state)
    assert seconds is None or f"({seconds}, on" in line


def test_a_custom_state_retries_and_progress_are_shown():
    record = Record(
        "id-1", "running", "tasks.add", "celery", retries=2, started_at=NOW - 90, wire=None,
        custom_state="LOA\x1bDING",
    )  # fmt: skip
    told = {"id-1": Told(progress=Progress(5, 10, "half", NOW, 5, NOW))}
    tree = grow(Parts("id-1", [record]), NOW, told)
    assert (tree.ready, tree.failed) == (False, False)
    (line,) = tree_lines(tree, NOW)
    assert "\x1b" not in line
    assert line == (
        "LOA\\x1bDING tasks.add[id-1]  (1 min 30 s, 2 retries, "
        "[############------------] 5 of 10 (50 %): half)"
    )


# -- text --------------------------------------------------------------------------------------


def crowd(*counted):
    """A group of members in these states, as (state, how many)."""
    members, number = [], 0
    for state, count in counted:
        for _ in range(count):
            header = Header(f"m{number}", "t", "n", flow="G", group="G", index=number)
            wire = compose(header, b"").encode()
            ended = {"ended_at": NOW} if state in states.TERMINAL else {}
            members.append(Record(header.id, state, "t", "q", wire=wire, **ended))
            number += 1
    return grow(Parts("G", members), NOW)


def test_a_large_group_is_folded_and_failures_are_not():
    tree = crowd(("succeeded", 9900), ("queued", 40), ("running", 3), ("failed", 12))
    lines = tree_lines(tree, NOW)
    below = lines[lines.index("") + 2 :]
    assert lines[0] == "Failed:"
    assert "  … and 2 more" in lines
    assert sum(" FAILURE " in each for each in below) == 12
    assert len(below) == 13
    assert below[-1] == "└─ … and 9,943 more: 9,900 SUCCESS, 40 PENDING, 3 STARTED"
    assert len(tree_lines(tree, NOW, every=True)) > 9955
    assert summary(tree) == (
        "FAILURE, going on: 9,955 tasks: 9,900 SUCCESS, 40 PENDING, 12 FAILURE, 3 STARTED"
    )


def test_what_runs_is_shown_before_what_waits_and_what_has_ended():
    lines = tree_lines(crowd(("succeeded", 30), ("queued", 30), ("running", 3)), NOW)
    assert [line.split()[2] for line in lines[1:11]] == ["STARTED"] * 3 + ["PENDING"] * 7
    assert lines[11] == "└─ … and 53 more: 30 SUCCESS, 23 PENDING"
    assert lines[0].startswith("STARTED group of 63 G  ([#####")
    assert "30 of 63 (47 %)" in lines[0]


def test_one_more_than_fits_is_shown_instead_of_counted():
    assert len(tree_lines(crowd(("succeeded", 11)), NOW)) == 12
    assert tree_lines(crowd(("succeeded", 12)), NOW)[-1] == "└─ … and 2 more: 2 SUCCESS"


def test_what_failed_because_of_another_one_is_counted(app):
    @app.task(name="fail")
    def fail():
        raise ValueError("no such file")

    many = group(app.tasks["a"].s() for _ in range(50))
    result = (fail.s() | many).apply_async()
    drain(app)
    lines = tree_lines(result.tree(), NOW)
    assert sum(each.startswith("   ├─ ") for each in lines) == 10
    assert lines[-1] == "   └─ … and 40 more: 40 FAILURE"
    assert lines[1].startswith("  fail()[")


def test_the_steps_of_a_chain_keep_their_order(app):
    @app.task(name="fail")
    def fail(*args):
        raise ValueError("no such file")

    many = [app.tasks["a"].s() for _ in range(30)]
    result = chain(*many, fail.s(), app.tasks["b"].s()).apply_async()
    drain(app)
    lines = [each for each in tree_lines(result.tree(), NOW) if each.startswith(("├", "└"))]
    assert "FAILURE fail[" in lines[-3]
    assert "FAILURE b[" in lines[-2]
    assert lines[-1] == "└─ … and 22 more: 22 SUCCESS"


def test_a_tree_is_plain_data(app):
    a, b, c = sigs(app, "abc")
    result = chord([a, b], c).apply_async()
    drain(app)
    data = json.loads(json.dumps(result.tree().as_dict()))
    header, body = data["children"]
    assert (data["kind"], data["role"], data["id"]) == ("chain", "workflow", result.id)
    assert data["counts"] == {"SUCCESS": 3}
    assert (header["kind"], len(header["children"])) == ("group", 2)
    assert (body["role"], body["task"], body["state"]) == ("body", "c", "SUCCESS")
    assert body["ended_at"].endswith("Z")
    assert set(data) == set(Tree.__struct_fields__)
    with pytest.raises(AttributeError):
        result.tree().state = "PENDING"


def test_a_message_that_cannot_be_read_is_shown_without_its_place():
    odd = Record("id-1", "queued", "t", "q", wire=b"\x93\x09")
    assert Part(odd).header is None
    assert ids_of(grow(Parts("F", [odd]), NOW)) == ["id-1"]


# -- how far a group is ------------------------------------------------------------------------


def test_members_that_have_ended_and_what_the_others_say(app, a):
    result = group(a.s() for _ in range(4)).apply_async()
    assert (result.progress.current, result.progress.total) == (0, 4)
    queue = app.store.queue
    queue.register("o", Manifest({"a": TaskFacts()}, queues=("celery",)))
    taken = queue.exchange("o", 1, 1, [], [], ["celery"], Want(free=3)).deliveries
    fences = [Fence(each.id, each.attempt, each.nonce) for each in taken]
    said = ResultBody(progress=Progress(25, 100, "row 25", app.client.wall()))
    queue.update(fences[0], "", encode_body(said))
    done = Outcome(states.SUCCEEDED, encode_body(ResultBody(value=b"1")))
    queue.exchange("o", 1, 2, [Commit(each, done) for each in fences[1:]], [], [], Want())
    seen = result.progress
    assert (seen.current, seen.total, seen.fraction) == (2.25, 4, 0.5625)
    assert seen.message in ("row 25", "")
    tree = result.tree()
    assert tree.progress.current == 2.25
    drain(app)


def test_the_rate_of_a_group_is_measured_from_the_first_end():
    from celeriac.progress import of_members

    ends = [(NOW + number, None) for number in range(5)]
    seen = of_members([*ends, (None, None), (None, Progress(3))], NOW + 10)
    assert (seen.current, seen.total, seen.rate, seen.remaining) == (5, 7, 1.0, 2.0)
    assert of_members([], NOW) == Progress(0, 0, "", NOW, 0, NOW)


def test_how_far_a_large_group_is_takes_few_reads(app, a, monkeypatch):
    result = group(a.s() for _ in range(1500)).apply_async()
    members = result.leaves()
    reads = []
    get_many = app.results.get_many

    def counted(ids):
        reads.append(len(ids))
        return get_many(ids)

    monkeypatch.setattr(app.results, "get_many", counted)
    assert (result.completed_count(), result.ready()) == (0, False)
    assert result.progress.total == len(members) == 1500
    assert reads == [1000, 500] * 3
