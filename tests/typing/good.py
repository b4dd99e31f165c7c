"""A program that uses the public names as documented: both type checkers find nothing."""

from datetime import UTC, datetime
from typing import Any, assert_type

from celeriac import Celeriac, Celery, Signature, Task, current_app, shared_task, signature
from celeriac.progress import Progress, total
from celeriac.result import AsyncResult, EagerResult
from celeriac.signals import task_failure, task_prerun

app = Celeriac("tasks", broker="memory://", include=["more"], task_default_queue="mail")
other: Celeriac = Celery("other")


@app.task
def send_email(email: str, subject: str, urgent: bool = False) -> int:
    """A plain task."""
    return len(email + subject) + urgent


@app.task(queue="mail", max_retries=5, autoretry_for=(ValueError, KeyError), retry_backoff=True)
def resize(path: str, *, width: int = 100) -> list[int]:
    """A task with options."""
    return [len(path), width]


@app.task()
def nothing() -> None:
    """A task with empty options."""


@app.task(bind=True, acks_late=True)
def bound(self: Task[..., Any], n: int) -> str:
    """A task that takes itself."""
    if self.request.retries < n:
        raise self.retry(exc=ValueError("again"), countdown=1)
    self.update_state(state="PROGRESS", meta={"done": n})
    self.progress(n, 10.5, "on")
    assert_type(self.request.progress, Progress | None)
    return f"{self.name} {self.request.id}"


@app.task
async def fetch(url: str) -> bytes:
    """A coroutine."""
    return url.encode()


@app.task(bind=True)
async def bound_fetch(self: Task[..., Any], url: str) -> bytes:
    """A coroutine that takes its task."""
    return url.encode()


@shared_task
def plain_shared(n: int) -> float:
    """A task of every app."""
    return n / 2


@shared_task(bind=True, name="shared.bound")
def bound_shared(self: Task[..., Any], n: int) -> float:
    """A task of every app that takes itself."""
    return n / 2


class Base(Task[..., Any]):
    """A base class with a handler."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Say so."""


@app.task(base=Base)
def based(n: int) -> int:
    """A task with a base class."""
    return n


assert_type(send_email.delay("a@example.com", "Hi"), AsyncResult[int])
assert_type(send_email.delay("a@example.com", subject="Hi", urgent=True).get(timeout=10), int)
assert_type(send_email("a@example.com", "Hi"), int)
assert_type(send_email.apply(("a@example.com", "Hi")), EagerResult[int])
assert_type(send_email.apply_async(("a@example.com", "Hi"), countdown=5), AsyncResult[int])
assert_type(send_email.s("a@example.com"), Signature[int])
assert_type(send_email.si("a@example.com", "Hi")(), int)
assert_type(resize.delay("x", width=3), AsyncResult[list[int]])
assert_type(nothing.delay(), AsyncResult[None])
assert_type(bound.delay(3), AsyncResult[str])
assert_type(bound(3), str)
assert_type(fetch.delay("x"), AsyncResult[bytes])
assert_type(bound_fetch.delay("x"), AsyncResult[bytes])
assert_type(plain_shared.delay(1).get(), float)
assert_type(bound_shared.delay(1), AsyncResult[float])
assert_type(based.delay(1), AsyncResult[int])
assert_type(signature("a.b", (1,), queue="x"), Signature[Any])
assert_type(app.AsyncResult("x"), AsyncResult[Any])
assert_type(app.send_task("a.b", (1,), {"c": 2}, queue="x"), AsyncResult[Any])
assert_type(app.enqueue_many([send_email.s("a", "b")]), list[AsyncResult[Any]])

result = send_email.delay("a@example.com", "Hi")
assert_type(result.state, str)
assert_type(result.ready(), bool)
assert_type(result.traceback, str | None)
assert_type(result.progress, Progress | None)
assert_type(total([result.progress, None]), Progress | None)
result.forget()
result.revoke(terminate=True)
send_email.apply_async(("a", "b"), {"urgent": True}, task_id="x", eta=datetime.now(UTC))
app.conf.update(task_always_eager=True)
app.conf.task_default_priority = 3
app.control.revoke(result.id)
current_app.send_task("x")


@task_prerun.connect
def heard(sender: object = None, **kwargs: object) -> int:
    """A receiver stays what it is."""
    return 1


@task_failure.connect(sender=send_email, weak=False)
def failed(exception: Exception | None = None, **kwargs: object) -> None:
    """With arguments, too."""


assert_type(heard(), int)
assert_type(failed(), None)
assert_type(task_failure.disconnect(failed, sender=send_email), bool)


async def main() -> None:
    """Use what can be awaited."""
    sent = await send_email.adelay("a@example.com", "Hi")
    assert_type(sent, AsyncResult[int])
    assert_type(await sent, int)
    assert_type(await sent.aget(timeout=5), int)
    assert_type(await fetch("x"), bytes)
    assert_type(await bound_fetch("x"), bytes)
    assert_type(await (await fetch.adelay("x")), bytes)
