"""What hides arguments: masks, and the taking of values out of texts."""

import inspect
import json
import traceback
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline import drain, make_app, stored

from celeriac import group, signature, states
from celeriac.cli.dead import arguments_shown
from celeriac.control.reading import message_of
from celeriac.control.treetext import tree_lines
from celeriac.message import decode
from celeriac.replay import find, replay
from celeriac.sensitive import HIDDEN, Hider, Mask, mask_of, shown_args, shown_kwargs
from celeriac.upstream import arguments_of


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def test_a_mask_hides_by_name_and_by_place():
    mask = mask_of(["password"], parameters(lambda user, password: None))
    assert mask.shown_args(("ada", "x")) == "('ada', ***)"
    assert mask.shown_kwargs({"user": "ada", "password": "x"}) == "{'user': 'ada', 'password': ***}"
    assert mask.plain(("ada", "x"), {}) == (["ada", HIDDEN], {})


def test_true_hides_all_and_false_nothing():
    mask = mask_of(True, parameters(lambda user: None))
    assert mask.shown_args(("ada",)) == "(***,)"
    assert mask.shown_kwargs({"a": 1}) == "{'a': ***}"
    assert mask_of(False, []) is None
    assert mask_of([], []) is None


def test_what_nobody_names_is_hidden():
    mask = mask_of(["b"], parameters(lambda a, b: None))
    assert mask.shown_args((1, 2, 3)) == "(1, ***, ***)"
    unknown = mask_of(["b"], None)  # a callable that does not tell its signature
    assert unknown.shown_args((1,)) == "(***,)"


def test_the_rest_has_a_name():
    shown = mask_of(["a"], parameters(lambda a, *rest: None))
    assert shown.shown_args((1, 2, 3)) == "(***, 2, 3)"
    hidden = mask_of(["rest"], parameters(lambda a, *rest: None))
    assert hidden.shown_args((1, 2, 3)) == "(1, ***, ***)"


def test_a_name_that_no_parameter_has_is_refused():
    with pytest.raises(ValueError, match="sensitive names 'passwort', which is no parameter; it"):
        mask_of(["passwort"], parameters(lambda user, password: None))
    assert mask_of(["any"], parameters(lambda **kwargs: None)).hides("any")


def test_representations_are_cut_and_never_raise():
    class Bad:
        def __repr__(self):
            raise ZeroDivisionError

    assert shown_args((Bad(),)).startswith("(<unprintable test_representations")
    assert len(shown_args(("x" * 5000,))) == 1024
    assert len(shown_kwargs({"a": "x" * 5000})) == 1024


@pytest.mark.parametrize(
    ("values", "text", "cleared"),
    [
        (["hunter2"], "login as hunter2!", "login as ***!"),
        (["a"], "a bad day: 'a'", "*** bad day: '***'"),
        ([42], "42 of 420 and 1.42", "*** of 420 and 1.***"),
        ([1234], "x1234y 1234", "x1234y ***"),
        ([Decimal("10.50")], "10.50 and Decimal('10.50')", "*** and ***"),
        ([datetime(2026, 1, 2, 3, 4, tzinfo=UTC)], "at 2026-01-02T03:04:00+00:00", "at ***"),
        ([b"\x00secret"], "got b'\\x00secret'", "got b'***'"),
        ([{"deep": ["hunter2"]}], "{'deep': ['hunter2']}", "{'deep': ['***']}"),
        ([{"4111 1111": 0.5}], "4111 1111", "***"),
        ([None, True, False, ""], "None True False", "None True False"),
        (["first line of it\nsecond line of it"], "| second line of it", "| ***"),
        ([], "nothing", "nothing"),
    ],
)
def test_values_are_taken_out(values, text, cleared):
    assert Hider(values)(text) == cleared


@given(st.text(min_size=4), st.lists(st.sampled_from([repr, ascii, json.dumps, str]), max_size=3))
def test_any_text_is_found_however_it_was_written(secret, forms):
    if not secret.strip():
        return
    text = secret
    for form in forms:
        text = form(text)
    shown = Hider([secret])(f"before {text} after")
    assert shown.startswith("before ")
    assert secret.strip() not in shown.removeprefix("before ").removesuffix(" after") or (
        secret.strip() in HIDDEN
    )


def test_a_long_text_is_found():
    secret = "s3cret\n'" * 5000
    assert Hider([secret])(f"got {secret!r}") in {"got '***'", 'got "***"'}


def test_too_many_values_hide_the_whole_text():
    assert Hider(list(map(str, range(100_000, 110_000))))("anything at all") == HIDDEN


def test_containers_are_cleared_inside():
    hider = Hider(["hunter2"])
    assert hider.inside(["x hunter2", {"k": ("hunter2",)}]) == ["x ***", {"k": ("***",)}]
    assert hider.inside(7) == 7
    assert hider.inside(Exception("hunter2")) == "Exception('***')"


def test_masks_of_nobody():
    assert Mask(None).hides("anything")


def test_calls_carry_what_may_be_shown_of_them():
    app = make_app()

    @app.task(name="log_in", sensitive=["password"])
    def log_in(user, password):
        return user

    @app.task(name="plain")
    def plain(user):
        return user

    def header(task, *args, **options):
        id = task.apply_async(args, **options).id
        return decode(app.store.inspection.get([id])[0].wire).header

    masked = header(log_in, "ada", "hunter2")
    assert (masked.argsrepr, masked.kwargsrepr) == ("('ada', ***)", "{}")
    assert header(log_in, "a", "b", argsrepr="(ours)").argsrepr == "(ours)"
    assert (header(plain, "ada").argsrepr, header(plain, "ada").kwargsrepr) == ("", "")
    many = app.enqueue_many([log_in.s("ada", password="hunter2")])[0]
    sent = decode(app.store.inspection.get([many.id])[0].wire)
    assert sent.header.kwargsrepr == "{'password': ***}"
    assert "hunter2" not in repr(sent)
    assert repr(log_in.s("ada", "hunter2")) == "log_in('ada', '***')"


CARD = "4111111111111111"


@pytest.fixture
def shop():
    """An app with tasks that take a result before what they hide, or hide the result they take."""
    app = make_app()

    @app.task(name="card")
    def card(*args):
        return CARD

    @app.task(name="pay", sensitive=["card"], bind=True, default_retry_delay=0)
    def pay(self, amount, card, how="raise"):
        if how == "return":
            return f"paid with {card}"
        if how == "retry" and not self.request.retries:
            raise self.retry(kwargs={"how": "raise"}, countdown=0)
        raise ValueError(f"refused: {card}")

    @app.task(name="charge", sensitive=["card"])
    def charge(card, amount):
        raise ValueError(f"refused: {card}")

    @app.task(name="tell", sensitive=["card"])
    def tell(request, exc, traceback, card):
        raise ValueError(f"nobody hears of {card}")

    @app.task(name="tell_id", sensitive=["card"])
    def tell_id(id, card):
        raise ValueError(f"nobody hears of {card}")

    yield app
    app.close()


WORKFLOWS = {
    "a step": lambda t: t["card"].si() | t["pay"].s(CARD) | t["pay"].s("other"),
    "a step that is repeated": lambda t: t["card"].si() | t["pay"].s(CARD, how="retry"),
    "a body": lambda t: group([t["card"].si()]) | t["pay"].s(CARD),
    "in a header": lambda t: group([t["card"].si() | t["pay"].s(CARD)]) | t["card"].s(),
    "what it takes": lambda t: t["card"].si() | t["charge"].s(5),
    "an errback": lambda t: t["pay"].s(1, CARD).on_error(t["tell"].s(CARD)),
    "an errback of an id": lambda t: t["pay"].s(1, CARD).on_error(t["tell_id"].s(CARD)),
    "a callback": lambda t: t["card"].si().set(link=t["pay"].s(CARD)),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_part_of_a_workflow_hides_the_same(shop, name, caplog):
    canvas = WORKFLOWS[name](shop.tasks)
    assert CARD not in repr(canvas)
    result = canvas.delay()
    ran = drain(shop)
    assert "refused: ***" in caplog.text
    assert CARD not in caplog.text
    parts = [stored(shop, each.id) for each, _ in ran]
    assert states.FAILED in [each.state for each in parts]
    for part in parts:
        header = decode(part.wire).header
        assert CARD not in f"{header.argsrepr} {header.kwargsrepr} {part.reason}"
        assert CARD not in arguments_shown(part, shop)
    assert CARD not in "\n".join(tree_lines(result.tree(), 1e9))
    if result.failed():
        with pytest.raises(Exception, match=r"refused: \*\*\*") as caught:
            result.get(timeout=5)
        assert CARD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["a step", "what it takes"])
def test_a_replay_of_a_part_hides_the_same(shop, name):
    WORKFLOWS[name](shop.tasks).delay()
    failed = next(each.id for each, outcome in drain(shop) if outcome.state == states.FAILED)
    found = replay(shop, find(shop, failed), lambda *said: None)
    assert found.text == "ValueError: refused: ***"
    assert CARD not in found.traceback


def test_what_a_part_takes_is_told_beside_its_own_arguments(shop):
    pay = shop.tasks["pay"]
    taking, not_taking = (
        (pay.s(5, CARD) | pay.s(CARD)).delay(), (pay.s(5, CARD) | pay.si(6, CARD)).delay()
    )  # fmt: skip
    assert arguments_shown(stored(shop, taking.id), shop) == "(…, '***')"
    assert arguments_shown(stored(shop, not_taking.id), shop) == "(6, '***')"


def test_what_may_stand_behind_a_result_is_hidden_in_signatures(shop):
    pay = shop.tasks["pay"]
    assert repr(pay.s(CARD)) == "pay('***')"
    assert repr(pay.si(5, CARD)) == "pay(5, '***')"
    assert repr(pay.s(5, CARD)) == "pay('***', '***')"  # more may come: how
    assert repr(shop.tasks["charge"].s(amount=5)) == "charge(amount=5)"
    assert repr(shop.tasks["tell_id"].s("x", CARD)) == "tell_id('x', '***')"
    send = shop.task(name="send", sensitive=["card"])(lambda amount, currency, card: None)
    assert repr(send.s(CARD)) == "send('***')", "as in send.s(card).delay(amount, currency)"
    assert CARD not in repr(send.s("EUR", CARD))
    assert repr(send.s(5, "EUR", CARD)) == "send(5, 'EUR', '***')"


def test_a_signature_that_names_no_app_hides_what_the_current_one_says(shop):
    shop.set_current()
    plain = json.loads(json.dumps(shop.tasks["charge"].si(CARD, 5)))
    assert repr(signature(plain)) == "charge('***', 5)"


def test_a_sender_that_does_not_know_the_task_leaves_hiding_to_who_reads(shop):
    shop.send_task("pay", (1, CARD), task_id="by-name")
    drain(shop)
    assert arguments_of(shop, "pay", message_of(stored(shop, "by-name"))) == ("(1, ***)")


def test_the_traceback_of_a_run_here_hides_what_the_exception_holds():
    app = make_app()

    @app.task(name="log_in", sensitive=["password"])
    def log_in(user, password):
        raise ValueError(f"{password} is wrong")

    result = log_in.apply(("ada", "hunter2"))
    assert "ValueError: *** is wrong" in result.traceback
    assert "hunter2" not in result.traceback
    with pytest.raises(ValueError, match="hunter2 is wrong"):
        result.get()  # what was raised, as a call of the function raises it


@pytest.mark.parametrize(
    ("value", "words"),
    [("password", "True for all arguments, or a list"), (["passwort"], "it has user, password")],
)
def test_a_wrong_value_is_refused_when_the_task_is_made(value, words):
    app = make_app()

    def log_in(user, password):
        return user

    with pytest.raises((TypeError, ValueError), match=words):
        app.task(name="log_in", sensitive=value)(log_in)
