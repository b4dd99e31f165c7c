"""Inside a run: what a task may ask and do while it runs, and the handlers it may define.

Layer 4. The part of :class:`~celeriac.app.task.Task` that needs a run to mean anything.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

from msgspec.structs import replace

from celeriac import states
from celeriac.bodies import compressed, seal
from celeriac.checks import checked_id
from celeriac.client import check_options, checked_call, moment
from celeriac.context import Context, current, enter, leave, note_child
from celeriac.ends import progress_of
from celeriac.exceptions import CeleryWarning, Ignore, NotInThisVersion, Retry
from celeriac.outcome import ResultBody
from celeriac.policies.retries import exhausted, too_often, wait_of
from celeriac.progress import reported
from celeriac.records import Fence, Verdict
from celeriac.serialization import encode
from celeriac.showing import show_progress, show_state

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.failures import ExceptionInfo
    from celeriac.policies.base import Rules

__all__ = ["Inside"]


class Inside:
    """See the module's docstring. What it needs of a task is declared here."""

    app: Celeriac
    name: str
    max_retries: int | None
    default_retry_delay: float

    if TYPE_CHECKING:

        def signature(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            """See ``Task``."""

    # -- inside a run --------------------------------------------------------------------------

    @property
    def request(self) -> Context:
        """What is known of the present run of this task; see ``Context``."""
        run = current()
        while run is not None and run.owner is not self:
            run = run.outer
        return Context() if run is None else run

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Ask that this run be repeated, under the same id: ``raise self.retry(exc=error)``.

        Args:
            args: other positional arguments for the repeat.
            kwargs: other keyword arguments.
            exc: the reason; raised itself once there are no repeats left.
            throw: False returns the ``Retry`` instead of raising it. The repeat takes place all
                the same, and what the task returns afterwards is dropped.
            eta: when to repeat it.
            countdown: seconds until then; goes over *eta*. Default ``default_retry_delay``.
            max_retries: in place of the task's own.
            options: ``queue``, ``priority``, ``expires``, ``time_limit``, ``soft_time_limit``,
                ``ignore_result``, ``headers``, ``serializer`` or ``compression`` for the repeat.

        Raises:
            Retry: what a worker understands; let it pass.
            MaxRetriesExceededError: no repeats are left, and no *exc* was given.
            TypeError: *max_retries* is no number, or another argument is not what it must be.
        """
        if isinstance(max_retries, bool) or not isinstance(max_retries, int | float | None):
            kind = type(max_retries).__name__
            raise TypeError(
                f"retry(): max_retries is {max_retries!r}, of type {kind}; it must be a whole "
                "number, or None: as the task says"
            )
        run = self.request
        if run.called_directly:
            _reraise(exc or Retry("The task can be repeated only by a worker or apply()"))
        limit = self.max_retries if max_retries is None else max_retries
        if exhausted(run.retries, limit):
            _reraise(exc or too_often(cast("Rules", self), run))
        when: float | datetime
        if countdown is not None:
            when = wait_of(countdown)
        elif eta is not None:
            due = moment(eta, "eta", self.app.conf.timezone)
            when = datetime.fromtimestamp(due, tz=UTC)
        else:
            when = wait_of(self.default_retry_delay)
        retry = Retry(exc=exc, when=when, is_eager=run.is_eager)
        if args is not None or kwargs is not None or options:
            self._replace_call(run, retry, args, kwargs, options)
        run.asked = retry
        if throw:
            raise retry
        return retry

    def _replace_call(
        self,
        run: Context,
        retry: Retry,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> None:
        """Put the message of the repeat on *run*; in an eager run the signature on *retry*."""
        for name in ("task_id", "eta", "countdown", "retry", "retry_policy"):
            if name in options:
                raise TypeError(f"retry() has no option {name!r}")
        new_args, new_kwargs = checked_call(
            run.args if args is None else args, run.kwargs if kwargs is None else kwargs
        )
        if run.header is None:
            check_options(options, "retry()", self.app)
            retry.sig = self.signature(new_args, new_kwargs, **options)
            return
        header, edges = run.header, run.header.edges
        if edges is not None and run.given:
            if args is None:  # the results that it takes are taken again
                new_args = new_args[run.given :]
            else:
                header = replace(header, edges=replace(edges, immutable=True))
        run.replacement = self.app.client.reissue(
            header, new_args, new_kwargs, options, getattr(self, "mask", None)
        )

    def replace(self, sig: Any) -> Any:
        """Let *sig*, any kind of signature, take this run's place: ``raise self.replace(…)``.

        It has this task's id then: its result is this one's, and callbacks, errbacks, the rest of
        the chain and the chord go on as if this task had returned it. Of a group it is the list.
        All of it is stored in the step that ends this run. In an eager run it is run here. Where
        the task was called like a function, it is run here, too, and its value returned.

        Raises:
            Ignore: what a worker understands; let it pass.
            ImproperlyConfigured: an empty chain, or a signature with the option ``chord``.
            TypeError: it is no signature.
        """
        from celeriac.canvas.flow import member_of
        from celeriac.replacing import check_replacement, replacement

        run = self.request
        signature = member_of(sig, self.app, "replace()")
        check_replacement(signature)
        self.on_replace(signature)
        # An eager workflow's part goes on in its store; of a replay, nothing that follows is run.
        alone = run.header is None or (run.is_eager and not run.is_replay and not run.header.flow)
        if alone or run.called_directly:
            value = signature.apply().get(disable_sync_subtasks=False)
            if run.called_directly:
                return value
            run.replaced = (value,)
            raise Ignore(f"Replaced by {signature!r}")
        run.replaced = replacement(self.app, run, signature)
        raise Ignore(f"Replaced by {signature!r}")

    def on_replace(self, sig: Any) -> None:
        """Called by :meth:`replace` with what takes this run's place."""

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add *sig* to the header of the chord that this task is a member of; return its result.

        The body waits for it, too, and gets its result behind those of the members that were sent.
        It is stored in the step that ends this run, if that succeeds, and begins then; so in an
        eager run, where the result object that is returned stays PENDING: the store of that run
        ends with it. *lazy* is Celery's, and without meaning.

        Raises:
            ValueError: this task is not a member of a chord.
            TypeError: *sig* is no signature.
        """
        from celeriac.canvas.flow import member_of
        from celeriac.replacing import add

        run = self.request
        signature = member_of(sig, self.app, "add_to_chord()")
        return add(self.app, run, signature)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None
    ) -> None:
        """Show *state* and *meta* (anything that can be serialised) while a run goes on.

        It is read as ``result.state`` and ``result.info``, and gone once the task has ended; how
        far it is is better told by :meth:`progress`. Without a worker nothing happens, and a
        warning says so. States that mean an end are refused: raise the exception that ends the
        task so.

        Args:
            task_id: whose; by default that of this run. Another task's is shown if a worker runs
                it just now.
            state: by default ``STARTED``.
            meta: what ``result.info`` is.

        Raises:
            TypeError: *task_id* or *state* is no text.
            ValueError: *task_id* is no id, or *state* is an end.
            EncodeError: *meta* cannot be serialised.
        """
        _check_text("update_state()", task_id=task_id, state=state)
        if task_id is not None:
            checked_id(task_id)
        run = self.request if task_id is None else _run_of(task_id)
        if state is None:
            state = states.STARTED
        if state in states.READY_STATES:
            raise ValueError(
                f"update_state(state={state!r}): this state means that the task has ended. Raise "
                "the exception that it shall end with, or return"
            )
        if run is not None and run.called_directly:
            warnings.warn("No worker runs it: update_state() is lost", CeleryWarning, stacklevel=2)
        if run is None:
            meant = task_id or ""
            if not self._show_other(meant, state, self._shown(meant, meta)):
                warnings.warn(
                    f"No worker runs {meant}: update_state() is lost", CeleryWarning, stacklevel=2
                )
        else:
            show_state(run, state, self._shown(run.id or "", meta))
            if run.heard is not None:
                run.heard(state, meta)

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far this run is: ``self.progress(3, 10, "page 3")``. Cheap enough for each turn
        of a loop.

        It is read as ``result.progress``, beside whatever ``update_state`` shows. Of what is said
        in quick succession the store sees the last, some times a second; nothing is shown out of
        order, and the last word of a run stays with its result. Without a worker (a direct call, an
        eager run) it is kept on ``self.request.progress`` alone.

        Args:
            current: how much is done, in whatever you count. May go back, for a second pass.
            total: of how much, if that is known. It may change, and *current* may exceed it (totals
                are often estimates): the fraction is then 1.
            message: what to show besides; cut after 500 characters. What the task hides
                (``sensitive``) is taken out.

        Raises:
            TypeError: *current* or *total* is no number, *message* no text.
            ValueError: a number is negative, infinite or not a number (NaN).
        """
        run = self.request
        now = self.app.client.wall()
        run.progress = reported(current, total, message, run.progress, now)
        if run.write is not None:
            if not run.in_line:
                show_progress(run)
        elif run.heard is not None:
            run.heard(None, run.progress)
        elif run.owner is None:
            warnings.warn(
                f"No run of {self.name} is known here: progress() is lost. In a thread of your "
                "own, run the function in contextvars.copy_context()", CeleryWarning, stacklevel=2,
            )  # fmt: skip

    def _shown(self, id: str, meta: Any) -> ResultBody:
        """What a state of the task *id* is shown with, as a result is written."""
        conf = self.app.conf
        serializer = conf.result_serializer
        body = ResultBody(serializer, encode(serializer, meta, "meta"))
        if conf.result_compression:
            body = compressed(body, conf.result_compression, id)
        return body

    def _show_other(self, id: str, state: str, body: ResultBody) -> bool:
        """Write under the lease that another run has now; False if there is none."""
        store = self.app.store
        record = store.inspection.get([id])[0]
        if record is None or record.state not in {states.LEASED, states.RUNNING}:
            return False
        fence = Fence(id, record.attempt, record.nonce or "")
        # Until that run says the next word, its last one stays.
        body = replace(body, progress=progress_of(self.app, record))
        data = seal(body, id, self.app.signer)
        return store.queue.update(fence, state, data) is not Verdict.FENCED

    def send_event(
        self, type_: str, retry: bool = True, retry_policy: None = None, **fields: Any
    ) -> None:
        """Publish an event of your own about the present run, such as ``task-halfway``.

        It reaches whoever listens now, at most once: *retry* changes nothing, and a
        *retry_policy* raises ``NotInThisVersion``. *fields* are plain data, of other names than
        ``uuid``, which is this run's id, and ``type``: else ``TypeError``, as for a *type_* that is
        no text; ``ValueError`` for one of more than 128 characters.
        """
        if retry_policy is not None:
            raise NotInThisVersion(
                "The argument retry_policy of send_event()", "An event is sent at most once."
            )
        for name in ("type", "uuid"):
            if name in fields:
                raise TypeError(f"send_event() sets the field {name} itself; use another name")
        run = self.request
        self.app.events.default_dispatcher(run.hostname).send(type_, uuid=run.id, **fields)

    def add_trail(self, result: Any) -> Any:
        """Count *result*, of a task that was sent, among this run's children; return it."""
        note_child(result)
        return result

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Let ``self.request`` be one with these fields, until :meth:`pop_request`: for tests that
        call the body directly."""
        context = Context(*args, **kwargs)
        context.token = enter(context, self)

    def pop_request(self) -> None:
        """End what :meth:`push_request` began."""
        run = current()
        if run is None or run.owner is not self or run.token is None:
            raise IndexError("pop_request() without push_request()")
        leave(run.token)

    # -- handlers ------------------------------------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the executor before the body; what it raises is raised by the task."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the executor when the body has returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: ExceptionInfo
    ) -> None:
        """Called when the task has failed."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: ExceptionInfo
    ) -> None:
        """Called when the task is to be repeated."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Any,
        kwargs: Any,
        einfo: ExceptionInfo | None,
    ) -> None:
        """Called last, after success and after failure."""


def _check_text(what: str, **given: object) -> None:
    """Raise ``TypeError`` that names the argument of *what* which is neither text nor None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            raise TypeError(f"{what}: {name} is {value!r}, of type {kind}; it must be text")


def _run_of(id: str) -> Context | None:
    """The run of the task *id* that we are in, or None."""
    run = current()
    while run is not None and run.id != id:
        run = run.outer
    return run


def _reraise(error: BaseException) -> NoReturn:
    """Raise *error*, caused by the exception that is being handled, if it is another one."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled
