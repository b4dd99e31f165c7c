"""Pydantic: what ``@app.task(pydantic=True)`` adds to a function.

Layer 4. Arguments that are annotated with a model are validated before the body runs, and a model
that is returned is dumped. The only file that imports pydantic, and only for such tasks.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["model_parameters", "validating"]


def validating(
    app: Celeriac, fun: Callable[..., Any], name: str, options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Return *fun* with its arguments validated and its result dumped.

    Raises ``ImproperlyConfigured`` if pydantic is not installed.
    """
    _import(name)
    models = _Models(app, fun, name, options)
    if inspect.iscoroutinefunction(fun):

        @functools.wraps(fun)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            given = models.validated(args, kwargs)
            return models.dumped(await fun(*given.args, **given.kwargs))

        return arun

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = models.validated(args, kwargs)
        return models.dumped(fun(*given.args, **given.kwargs))

    return run


def model_parameters(fun: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of *fun* that are annotated with a model, or a model or None."""
    hints = _hints(fun)
    found = {name: _model(hints.get(name)) for name in inspect.signature(fun).parameters}
    return {name: model for name, model in found.items() if model is not None}


class _Models:
    """The models of one function; looked up at its first call, so that an annotation may name a
    class that is defined further down."""

    def __init__(
        self, app: Celeriac, fun: Callable[..., Any], name: str, options: Mapping[str, Any]
    ) -> None:
        self._fun = fun
        self._signature = inspect.signature(fun)
        self._strict = bool(options.get("pydantic_strict", False))
        given = options.get("pydantic_context") or {}
        self._context = {**given, "celery_app": app, "celery_task_name": name}
        self._dump = {"mode": "json", **(options.get("pydantic_dump_kwargs") or {})}

    @functools.cached_property
    def _parameters(self) -> dict[str, Any]:
        return model_parameters(self._fun)

    @functools.cached_property
    def _result(self) -> Any:
        return _model(_hints(self._fun).get("return"))

    def validated(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """Return the arguments, models made of those that are to be models.

        Raises pydantic's ``ValidationError`` for what does not fit.
        """
        bound = self._signature.bind(*args, **kwargs)
        for name, model in self._parameters.items():
            value = bound.arguments.get(name)
            if value is None:
                if name not in bound.arguments or _takes_none(_hints(self._fun).get(name)):
                    continue
            elif hasattr(type(value), "model_fields"):  # a model of the caller's: look again
                value = value.model_dump()
            bound.arguments[name] = model.model_validate(
                value, strict=self._strict, context=self._context
            )
        return bound

    def dumped(self, value: Any) -> Any:
        """Return *value*, as plain data if it is the model that the function says it returns."""
        if self._result is not None and isinstance(value, self._result):
            return value.model_dump(**self._dump)
        return value


def _import(name: str) -> None:
    try:
        import pydantic  # noqa: F401 - asked for here, so that its lack is told at once
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"the task {name!r} has pydantic=True, and pydantic is not installed: "
            'pip install "celeriac[pydantic]"'
        ) from error


def _hints(fun: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fun)
    except (NameError, AttributeError, TypeError):
        return dict(getattr(fun, "__annotations__", {}))


def _model(annotation: Any) -> Any:
    """The model that an annotation names, alone or beside None; None if it names no model."""
    if isinstance(annotation, type):
        return annotation if _is_model(annotation) else None
    if _is_union(annotation):
        members = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _model(members[0]) if len(members) == 1 else None
    return None


def _takes_none(annotation: Any) -> bool:
    return _is_union(annotation) and type(None) in typing.get_args(annotation)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_model(cls: type) -> bool:
    import pydantic

    return issubclass(cls, pydantic.BaseModel)
