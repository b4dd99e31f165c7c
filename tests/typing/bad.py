"""A program with mistakes: each line marked so is an error for both type checkers, no other is."""

from typing import Any

from celeriac import Celeriac, Task, shared_task

app = Celeriac("tasks", broker="memory://")


@app.task
def send_email(email: str, subject: str) -> int:
    """A plain task."""
    return len(email + subject)


@app.task(bind=True)
def bound(self: Task[..., Any], n: int) -> str:
    """A task that takes itself."""
    return str(n)


@app.task
async def fetch(url: str) -> bytes:
    """A coroutine."""
    return url.encode()


@shared_task
def shared(n: int) -> float:
    """A task of every app."""
    return n / 2


send_email.delay(1, 2)  # error
send_email.delay("a@example.com")  # error
send_email.delay("a@example.com", "Hi", "more")  # error
send_email.delay("a@example.com", topic="Hi")  # error
send_email("a@example.com", 3)  # error
bound.delay("three")  # error
bound.delay(bound, 3)  # error
bound(bound, 3)  # error
fetch.delay(b"x")  # error
shared.delay("x")  # error
text: str = send_email.delay("a", "b").get()  # error
number: int = fetch("x")  # error
app.task(que="mail")  # error
app.tusks.get("x")  # error
send_email.delya("a@example.com", "Hi")  # error
send_email.delay("a@example.com", "Hi").gett()  # error
app.task(max_retries="many")  # error
shared_task(bindd=True)  # error


async def main() -> None:
    """Use what can be awaited, wrongly."""
    await send_email.adelay(1, 2)  # error
    wrong: str = await send_email.delay("a", "b")  # error
    wrong.upper()
