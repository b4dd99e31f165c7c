"""Sending and running a signature.

Layer 3, part of ``canvas``. The part of :class:`~celeriac.canvas.signature.Signature` that asks its
app and its task to do something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

__all__ = ["Sending"]

R = TypeVar("R")


class Sending(Generic[R]):
    """See the module's docstring. What it needs of a signature is declared here."""

    if TYPE_CHECKING:
        task: str

        @property
        def app(self) -> Any:
            """See ``Signature``."""

        @property
        def type(self) -> Any:
            """See ``Signature``."""

        def held(self) -> Any:
            """See ``Signature``."""

        def merged(
            self,
            args: Sequence[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            options: Mapping[str, Any] | None = None,
        ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
            """See ``Signature``."""

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with more arguments; see the task's ``delay``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it with more arguments and options; see the task's ``apply_async``."""
        merged_args, merged_kwargs, merged_options = self.merged(args or (), kwargs, options)
        if self.held() is None and self.task not in self.app.tasks:
            return self.app.send_task(self.task, merged_args, merged_kwargs, **merged_options)
        return self.type.apply_async(merged_args, merged_kwargs, **merged_options)

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it like :meth:`delay` without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it like :meth:`apply_async` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.apply_async, args, kwargs, **options)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run it in this process; see the task's ``apply``."""
        merged_args, merged_kwargs, merged_options = self.merged(args or (), kwargs, options)
        return self.type.apply(merged_args, merged_kwargs, **merged_options)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the task like a function, with more arguments."""
        merged_args, merged_kwargs, _ = self.merged(args, kwargs)
        return cast(R, self.type(*merged_args, **merged_kwargs))

    def AsyncResult(self, task_id: str) -> Any:  # noqa: N802 - the name Celery users know
        """Return the result object for *task_id*."""
        return self.app.AsyncResult(task_id)

    def __invert__(self) -> R:
        """Send it and wait for what it returns: ``~add.s(2, 2)`` is 4."""
        return cast(R, self.apply_async().get())
