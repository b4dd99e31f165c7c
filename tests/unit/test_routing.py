"""Where calls go: routes by name, pattern and function, declared queues, priorities."""

import re
import sys
import time
import uuid
from types import ModuleType, SimpleNamespace

import pytest

from celeriac import Celeriac, Exchange, Queue
from celeriac.conf import Settings
from celeriac.conf.queues import read_queues
from celeriac.context import Context, enter, leave
from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion, QueueNotFound
from celeriac.routing import ASK, Router
from celeriac.worker.queues import chosen_queues


def app(**settings):
    place = f"memory://{uuid.uuid4().hex}"
    made = Celeriac("shop", broker=place, set_as_current=False, **settings)

    @made.task(name="shop.mail")
    def mail(to=None):
        """Nothing; it is only sent."""

    @made.task(name="shop.report", queue="reports", priority=2)
    def report():
        """The same."""

    return made


def sent(made, name="shop.mail", *args, **options):
    """The header of a call."""
    result = made.tasks[name].apply_async(args, **options)
    return header_of(made, result.id)


def header_of(made, id):
    from celeriac.control.reading import header_of as read

    return read(made.store.inspection.get([id])[0])


def nothing_was_sent(made):
    return made.store.inspection.list() == []


# -- forms of task_routes ----------------------------------------------------------------------


def by_function(name, args, kwargs, options, task=None, **kw):
    return {"queue": "mail"} if name == "shop.mail" else None


class ByObject:
    def route_for_task(self, task, args=None, kwargs=None):
        return {"queue": "mail"} if task == "shop.mail" else None


@pytest.fixture
def module():
    made = ModuleType("routers_of_the_shop")
    made.by_function = by_function
    made.ByObject = ByObject
    made.ready_made = ByObject()
    made.number = 7
    sys.modules[made.__name__] = made
    yield made.__name__
    del sys.modules[made.__name__]


FORMS = {
    "options by name": {"shop.mail": {"queue": "mail"}},
    "queue by name": {"shop.mail": "mail"},
    "declared queue by name": {"shop.mail": Queue("mail")},
    "star": {"shop.*": "mail"},
    "question mark": {"shop.m?il": "mail"},
    "regular expression": {re.compile(r"shop\.(mail|fax)"): {"queue": "mail"}},
    "pairs": [("shop.*", {"queue": "mail"}), ("*", "other")],
    "list of pairs in a tuple": ([("shop.*", {"queue": "mail"}), ("*", "other")],),
    "expression after a pattern": ([("news.*", "news"), (re.compile("shop"), {"queue": "mail"})],),
    "function": by_function,
    "function before a pattern": (by_function, {"*": "other"}),
    "object": ByObject(),
    "class": ByObject,
    "function after a pattern": [{"news.*": "news"}, by_function],
    "path in a list": ["routers_of_the_shop.by_function"],
    "path of a function": "routers_of_the_shop.by_function",
    "path with a colon": "routers_of_the_shop:by_function",
    "path of a class": "routers_of_the_shop.ByObject",
    "path of an object": "routers_of_the_shop.ready_made",
    "function that declines": [lambda *args, **kw: None, {"shop.mail": "mail"}],
}


@pytest.mark.parametrize("routes", FORMS.values(), ids=FORMS)
def test_every_form_of_routes(routes, module):
    made = app(task_routes=routes)
    assert sent(made).queue == "mail"


@pytest.mark.parametrize("routes", [None, {}, [], {"news.*": "news"}, lambda *args, **kw: None])
def test_what_has_no_route_goes_to_the_default_queue(routes):
    made = app(task_routes=routes)
    assert sent(made).queue == "celery"


def test_whole_names_go_before_patterns_and_patterns_in_their_order():
    made = app(task_routes={"shop.*": "first", "*": "second", "shop.mail": "exact"})
    assert sent(made).queue == "exact"
    made.conf.task_routes = {"*": "second", "shop.*": "first"}
    assert sent(made).queue == "second"


def test_the_first_part_that_has_an_answer_decides():
    made = app(task_routes=[{"shop.mail": "first"}, {"*": "second"}])
    assert sent(made).queue == "first"
    assert header_of(made, made.send_task("news.print").id).queue == "second"


def test_a_regular_expression_begins_at_the_beginning():
    made = app(task_routes={re.compile("mail"): "mail"})
    assert sent(made).queue == "celery"


def test_a_function_is_asked_for_each_call_with_all_there_is():
    asked = []

    def router(name, args, kwargs, options, task=None, **kw):
        asked.append((name, list(args), dict(kwargs), dict(options), task))
        return {"queue": f"to-{args[0]}"} if args else None

    made = app(task_routes=router)
    mail = made.tasks["shop.mail"]
    assert header_of(made, mail.delay("ann").id).queue == "to-ann"
    assert header_of(made, mail.apply_async(("bob",), countdown=5).id).queue == "to-bob"
    made.tasks["shop.report"].delay()
    made.send_task("unknown.task", kwargs={"a": 1})
    assert asked == [
        ("shop.mail", ["ann"], {}, {}, mail),
        ("shop.mail", ["bob"], {}, {"countdown": 5}, mail),
        ("shop.report", [], {}, {"queue": "reports", "priority": 2}, made.tasks["shop.report"]),
        ("unknown.task", [], {"a": 1}, {}, None),
    ]


def test_names_alone_are_looked_up_once(monkeypatch):
    made = app(task_routes={"shop.*": {"queue": "mail"}})
    looked = []
    by_name = Router.by_name
    monkeypatch.setattr(
        Router, "by_name", lambda self, name: looked.append(name) or by_name(self, name)
    )
    for _ in range(5):
        assert header_of(made, made.tasks["shop.mail"].delay().id).queue == "mail"
    assert looked == ["shop.mail"]


def test_names_that_are_made_up_do_not_fill_the_memory(monkeypatch):
    from celeriac import directions

    monkeypatch.setattr(directions, "_REMEMBERED", 3)
    made = app(task_routes={"*": "all"})
    for number in range(10):
        made.send_task(f"made.up{number}")
    assert len(made.client.directions._known) <= 3


def test_a_function_behind_a_table_is_asked_only_where_the_table_has_no_answer():
    router = Router([{"shop.mail": "mail"}, by_function], load=lambda name: None)
    assert router.by_name("shop.mail").options == {"queue": "mail"}
    assert router.by_name("shop.report") is ASK


def test_new_routes_count_from_the_next_call_on():
    made = app()
    assert sent(made).queue == "celery"
    made.conf.task_routes = {"*": "mail"}
    assert sent(made).queue == "mail"
    made.conf.update(task_routes=None)
    assert sent(made).queue == "celery"


def test_routes_are_kept_as_they_were_given():
    given = {"shop.mail": {"queue": "mail"}}
    conf = Settings(task_routes=given)
    given["shop.mail"]["queue"] = "changed"
    assert conf.task_routes == {"shop.mail": {"queue": "mail"}}
    with pytest.raises(TypeError):
        conf.task_routes["other"] = "x"


def test_routes_stay_in_the_process_that_has_the_code():
    conf = Settings(task_routes=by_function, task_queues=["mail", Queue("news", max_priority=5)])
    there = Settings.from_dict(conf.as_dict())
    assert there.task_routes is None
    assert there.task_queues == conf.task_queues


# -- precedence --------------------------------------------------------------------------------


def test_what_a_call_says_goes_over_the_task_and_the_task_over_its_route():
    made = app(task_routes={"*": {"queue": "routed", "priority": 7, "expires": 60}})
    assert sent(made).queue == "routed"
    assert sent(made, queue="mine").queue == "mine"
    assert sent(made, queue=Queue("mine")).queue == "mine"
    assert sent(made, queue=None).queue == "routed"
    report = sent(made, "shop.report")
    assert (report.queue, report.priority) == ("reports", 2)
    assert report.expires == pytest.approx(time.time() + 60, abs=30)
    assert sent(made, "shop.report", queue="mine", priority=9).priority == 9


def test_a_route_may_say_whatever_a_call_may():
    options = {
        "queue": "q", "priority": 3, "countdown": 100, "expires": 1000, "time_limit": 20,
        "soft_time_limit": 10, "serializer": "msgpack", "headers": {"a": {"b": 1}},
        "ignore_result": True,
    }  # fmt: skip
    made = app(task_routes={"shop.mail": options}, accept_content=["json", "msgpack"])
    header = sent(made)
    assert (header.queue, header.priority, header.serializer) == ("q", 3, "msgpack")
    assert (header.time_limit, header.soft_time_limit) == (20, 10)
    assert header.headers == {"a": {"b": 1}}
    assert header.ignore_result is True
    assert header.eta == pytest.approx(time.time() + 100, abs=30)
    over = sent(made, time_limit=50, eta="2099-01-01T00:00:00+00:00", expires="2099-02-01")
    assert over.time_limit == 50
    assert over.soft_time_limit == 10
    assert over.eta > time.time() + 10_000


def test_send_task_of_a_known_name_has_the_tasks_own_options():
    made = app(task_routes={"*": "routed"})
    header = header_of(made, made.send_task("shop.report").id)
    assert (header.queue, header.priority) == ("reports", 2)


def test_a_retry_stays_in_its_queue():
    made = app(task_routes={"*": "routed"})
    header = sent(made, queue="mine")
    from celeriac.message import decode

    again = made.client.reissue(header, (), {}, {})
    assert decode(again).header.queue == "mine"


def test_many_calls_obey_routes():
    made = app(task_routes=[{"shop.mail": {"queue": "mail", "priority": 4}}])
    mail, report = made.tasks["shop.mail"], made.tasks["shop.report"]
    calls = [mail.s(), report.s(), mail.s().set(queue="mine"), mail.s()]
    headers = [header_of(made, each.id) for each in made.enqueue_many(calls)]
    assert [each.queue for each in headers] == ["mail", "reports", "mine", "mail"]
    assert [each.priority for each in headers] == [4, 2, 4, 4]


def test_many_calls_ask_a_function_each():
    made = app(task_routes=lambda name, args, kwargs, options, task=None, **kw: args[0])
    mail = made.tasks["shop.mail"]
    results = made.enqueue_many([mail.s("a"), mail.s("b")])
    assert [header_of(made, each.id).queue for each in results] == ["a", "b"]


def test_many_calls_with_a_route_that_says_more_than_the_queue():
    made = app(task_routes={"shop.mail": {"queue": "mail", "headers": {"a": 1}}})
    (result,) = made.enqueue_many([made.tasks["shop.mail"].s()])
    assert header_of(made, result.id).headers == {"a": 1}


# -- bad routes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (7, "7 is no route; expected a dictionary"),
        ("mail", "'mail' is no name of a router"),
        ("feed.*", "'feed.*' is no name of a router"),
        ({"shop.mail": 7}, "the route of 'shop.mail' is 7; it is the name of a queue, or a dict"),
        ({7: "mail"}, "7 is no name of a task"),
        ({re.compile(b"x"): "mail"}, "is of bytes; names are text"),
        ({"shop.mail": {"que": "mail"}}, "the route of 'shop.mail' has no option 'que'; it has"),
        ({"shop.mail": {"queue": "a b"}}, "the route of 'shop.mail': queue is 'a b'"),
        ({"shop.mail": {"priority": 12}}, "the route of 'shop.mail': priority is 12"),
        ({"shop.mail": {"retry": False}}, "retry in the route of 'shop.mail' is not in this"),
        ({"shop.mail": {"task_id": "x"}}, "Every call has an id of its own"),
        ({"shop.mail": {"routing_key": 7}}, "routing_key is 7; it is text"),
        ([[("shop.mail",)]], "('shop.mail',) is no pair of a task's name and its route"),
    ],
)
def test_a_wrong_route_is_refused_when_it_is_set(routes, words):
    with pytest.raises(ImproperlyConfigured, match="task_routes = ") as caught:
        Settings(task_routes=routes)
    assert words in str(caught.value)


def test_a_router_that_raises_is_named():
    def broken(name, args, kwargs, options, task=None, **kw):
        raise KeyError("region")

    made = app(task_routes=[{"news.*": "news"}, broken])
    with pytest.raises(KeyError, match="region") as caught:
        made.tasks["shop.mail"].delay()
    (note,) = caught.value.__notes__
    assert note == (
        f"Raised by the router {__name__}.{broken.__qualname__} in task_routes; the task "
        "'shop.mail' was not sent."
    )
    assert nothing_was_sent(made)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (7, "returned for the task 'shop.mail' is 7; it is the name of a queue, or a dictionary"),
        ({"queue": "a b"}, "queue is 'a b'"),
        ({"quue": "a"}, "has no option 'quue'"),
    ],
)
def test_a_router_that_returns_no_route_is_named(answer, words):
    made = app(task_routes=lambda *args, **kw: answer)
    with pytest.raises(ImproperlyConfigured, match=r"the router .*lambda") as caught:
        made.tasks["shop.mail"].delay()
    assert words in str(caught.value)
    assert "It was not sent." in str(caught.value)
    assert nothing_was_sent(made)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module.route", "the module 'no_such_module' cannot be imported: No module"),
        ("routers_of_the_shop.by_funktion", "has no 'by_funktion'; did you mean 'by_function'?"),
        ("routers_of_the_shop.number", "which is int 7: neither a function nor an object with"),
    ],
)
def test_a_name_that_cannot_be_loaded_is_told(name, words, module):
    made = app(task_routes=name)
    for act in (made.tasks["shop.mail"].delay, made.configure_worker):
        with pytest.raises(ImproperlyConfigured) as caught:
            act()
        assert words in str(caught.value)
        assert repr(name) in str(caught.value)
    assert nothing_was_sent(made)


def test_a_wrong_value_in_a_route_is_told_before_anything_is_sent():
    made = app(task_routes={"shop.mail": {"time_limit": -1}})
    with pytest.raises(ValueError, match="time_limit is -1"):
        made.tasks["shop.mail"].delay()
    assert nothing_was_sent(made)


# -- queues ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declared",
    [
        ["a", "b"],
        ("a", {"name": "b"}),
        {"a": {}, "b": None},
        [Queue("a"), Queue("b", Exchange("b"), routing_key="b")],
        [SimpleNamespace(name="a"), SimpleNamespace(name="b", exchange=SimpleNamespace(name="x"))],
    ],
    ids=str,
)
def test_every_form_of_queues(declared):
    conf = Settings(task_queues=declared)
    assert [each.name for each in conf.task_queues] == ["a", "b"]


def test_queues_from_the_environment():
    conf = Settings()
    conf.load_environment({"CELERIAC_TASK_QUEUES": "a, b"})
    assert [each.name for each in conf.task_queues] == ["a", "b"]
    conf.load_environment({"CELERIAC_TASK_QUEUES": '{"a": {"routing_key": "x"}}'})
    assert conf.task_queues[0].routing_key == "x"
    conf.load_environment({"CELERIAC_TASK_ROUTES": '{"shop.*": "mail"}'})
    assert conf.task_routes == {"shop.*": "mail"}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("mail", "expected a list of names"),
        (7, "expected a list of names"),
        ([7], "7 declares no queue"),
        (["a b"], "'a b' is no name of a queue"),
        (["a", "a"], "the queue 'a' is declared twice"),
        ([{"routing_key": "x"}], "it needs a name"),
        ([{"name": "a", "queue_arguments": {"x-message-ttl": 5}}], "x-message-ttl in queue_arg"),
        ([{"name": "a", "queue_arguments": {"x-max-priority": "x"}}], "the highest priority of"),
        ([{"name": "a", "auto_delete": True}], "auto_delete of Queue('a') is not in this version"),
        ([{"name": "a", "exchange": "x", "exchange_type": "fanout"}], "of type 'fanout' is not in"),
    ],
)
def test_wrong_queues_are_refused(declared, words):
    with pytest.raises(ImproperlyConfigured, match="task_queues = ") as caught:
        Settings(task_queues=declared)
    assert words in str(caught.value)


def test_what_kombu_calls_durable_is_true_anyway():
    assert Queue("a", durable=True).name == "a"
    with pytest.raises(NotInThisVersion, match="durable"):
        Queue("a", durable=False)


def test_a_queue_that_must_be_declared_and_is_not_is_refused_before_anything_is_sent():
    made = app(task_queues=["mail", "celery"], task_create_missing_queues=False)
    made.task(name="shop.typo", queue="maill")(lambda: None)
    assert sent(made, queue="mail").queue == "mail"
    count = len(made.store.inspection.list())
    for act in (
        lambda: made.tasks["shop.mail"].apply_async(queue="maill"),
        lambda: made.send_task("other", queue="maill"),
        lambda: made.enqueue_many([made.tasks["shop.mail"].s().set(queue="maill")]),
        lambda: made.enqueue_many([made.tasks["shop.mail"].s(), made.tasks["shop.typo"].s()]),
    ):
        with pytest.raises(QueueNotFound) as caught:
            act()
        text = str(caught.value)
        assert "task_queues does not declare the queue 'maill'" in text
        assert "Did you mean 'mail'? It declares mail, celery." in text
    assert len(made.store.inspection.list()) == count


def test_without_a_list_only_the_default_queue_is_declared():
    made = app(task_create_missing_queues=False)
    assert sent(made).queue == "celery"
    with pytest.raises(QueueNotFound, match="'reports'"):
        made.tasks["shop.report"].delay()


def test_a_route_to_nowhere_is_told_when_a_worker_starts():
    made = app(
        task_queues=["celery"], task_create_missing_queues=False, task_routes={"*": "nowhere"}
    )
    with pytest.raises(ImproperlyConfigured, match=r"task_routes\['\*'\] leads to nowhere"):
        made.configure_worker()


TOPIC = [
    Queue("feeds", Exchange("topics", "topic"), routing_key="feed.#"),
    Queue("web", Exchange("topics", "topic"), routing_key="web.*"),
    Queue("video", "media", routing_key="media.video"),
    Queue("image", "media", routing_key="media.image"),
]


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({"routing_key": "feed.import.now"}, "feeds"),
        ({"routing_key": "feed"}, "feeds"),
        ({"routing_key": "web.get"}, "web"),
        ({"exchange": "media", "routing_key": "media.image"}, "image"),
        ({"exchange": Exchange("media"), "routing_key": "media.video"}, "video"),
        ({"queue": "feeds", "routing_key": "feed.x"}, "feeds"),
    ],
)
def test_a_routing_key_names_the_one_queue_that_it_leads_to(options, queue):
    made = app(task_queues=TOPIC)
    assert sent(made, **options).queue == queue
    made.conf.task_routes = {"shop.mail": options}
    assert sent(made).queue == queue


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"routing_key": "web.get.now"}, "routing_key='web.get.now' leads to no queue of task_q"),
        ({"exchange": "media"}, "exchange='media' leads to video, image"),
        ({"queue": "web", "routing_key": "feed.x"}, "leads to feeds, and queue='web' is named wi"),
    ],
)
def test_a_routing_key_that_leads_to_none_or_several_is_refused(options, words):
    made = app(task_queues=TOPIC)
    with pytest.raises(ImproperlyConfigured) as caught:
        made.tasks["shop.mail"].apply_async(**options)
    assert words in str(caught.value)
    assert "Name the queue alone: queue=…" in str(caught.value)


@pytest.mark.parametrize("option", ["exchange", "routing_key"])
def test_without_declared_queues_exchange_and_routing_key_are_refused(option):
    made = app()
    with pytest.raises(NotInThisVersion, match=rf"The option {option} of apply_async\(\)"):
        made.tasks["shop.mail"].apply_async(**{option: "x"})
    made.conf.task_routes = {"*": {option: "x"}}
    with pytest.raises(NotInThisVersion, match=rf"The option {option} of task_routes"):
        made.tasks["shop.mail"].delay()


# -- which queues a worker reads ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "only", "without", "read"),
    [
        ({}, None, None, ("celery",)),
        ({"task_default_queue": "main"}, None, None, ("main",)),
        ({"task_queues": ["a", "b", "c"]}, None, None, ("a", "b", "c")),
        ({"task_queues": ["a", "b", "c"]}, None, ("b",), ("a", "c")),
        ({"task_queues": ["a", "b"]}, ("b", "x"), None, ("b", "x")),
        ({}, ("a", "b"), ("a",), ("b",)),
    ],
)
def test_what_a_worker_reads(settings, only, without, read):
    assert chosen_queues(Settings(**settings), only, without) == read


def test_a_worker_refuses_a_queue_that_is_not_declared():
    conf = Settings(task_queues=["mail"], task_create_missing_queues=False)
    with pytest.raises(ImproperlyConfigured, match=r"-Q names the queue 'mial'.*mean mail\?"):
        chosen_queues(conf, ("mial",))


def test_a_worker_refuses_to_read_nothing():
    with pytest.raises(ImproperlyConfigured, match="-X leaves no queue to read"):
        chosen_queues(Settings(task_queues=["a"]), None, ("a",))


def test_excluding_what_is_not_read_is_warned_about(caplog):
    assert chosen_queues(Settings(task_queues=["mail"]), None, ("mial",)) == ("mail",)
    assert "-X names the queue mial, which this worker would not read; did you mean" in caplog.text


# -- priorities --------------------------------------------------------------------------------


def test_priority_of_call_task_route_and_settings():
    made = app(task_default_priority=1)
    assert sent(made).priority == 1
    made.conf.task_routes = {"shop.mail": {"priority": 5}}
    assert sent(made).priority == 5
    assert sent(made, priority=0).priority == 0
    assert sent(made, "shop.report").priority == 2


def test_a_queue_caps_priorities():
    queues = [Queue("low", queue_arguments={"x-max-priority": 3}), "celery"]
    made = app(task_queues=queues, task_queue_max_priority=6)
    assert sent(made, queue="low", priority=9).priority == 3
    assert sent(made, queue="low", priority=2).priority == 2
    assert sent(made, priority=9).priority == 6
    (result,) = made.enqueue_many([made.tasks["shop.mail"].s().set(priority=9)])
    assert header_of(made, result.id).priority == 6


def test_more_than_nine_levels_change_nothing():
    made = app(task_queues=[Queue("celery", queue_arguments={"x-max-priority": 10})])
    assert sent(made, priority=9).priority == 9


def test_a_task_has_its_parents_priority_where_nothing_else_says():
    made = app(task_inherit_parent_priority=True, task_default_priority=1)
    assert sent(made).priority == 1
    token = enter(Context(priority=8), made.tasks["shop.mail"])
    try:
        assert sent(made).priority == 8
        assert sent(made, priority=3).priority == 3
        assert sent(made, "shop.report").priority == 2
        (result,) = made.enqueue_many([made.tasks["shop.mail"].s()])
        assert header_of(made, result.id).priority == 8
        made.conf.task_inherit_parent_priority = False
        assert sent(made).priority == 1
    finally:
        leave(token)


def test_reading_of_queues_says_what_is_wrong():
    with pytest.raises(ValueError, match="expected a list of names"):
        read_queues("a")
