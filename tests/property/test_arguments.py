"""``Arguments.check`` agrees with Python itself on any signature and any call."""

from __future__ import annotations

import inspect
from inspect import Parameter

from hypothesis import given
from hypothesis import strategies as st

from celeriac.arguments import Arguments

NAMES = "abcdef"


@st.composite
def signatures(draw) -> inspect.Signature:
    names = iter(NAMES)
    parameters = []
    defaults = False
    for kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
        for _ in range(draw(st.integers(0, 2))):
            defaults = defaults or draw(st.booleans())
            default = 0 if defaults else Parameter.empty
            parameters.append(Parameter(next(names), kind, default=default))
    if draw(st.booleans()):
        parameters.append(Parameter("args", Parameter.VAR_POSITIONAL))
    for _ in range(draw(st.integers(0, 2))):
        default = draw(st.sampled_from([0, Parameter.empty]))
        parameters.append(Parameter(next(names), Parameter.KEYWORD_ONLY, default=default))
    if draw(st.booleans()):
        parameters.append(Parameter("kwargs", Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def function_of(signature: inspect.Signature):
    """A real function, so that Python's own words are there to compare with."""
    space: dict = {}
    exec(f"def task{signature}: ...", space)
    return space["task"]


calls = st.tuples(
    st.lists(st.integers(), max_size=6).map(tuple),
    st.dictionaries(st.sampled_from([*NAMES, "z"]), st.integers(), max_size=5),
)


def error_of(call) -> str | None:
    try:
        call()
    except TypeError as error:
        return str(error).partition(". Did you mean")[0]  # newer Pythons add a suggestion
    return None


@given(signatures(), st.lists(calls, min_size=1, max_size=10))
def test_check_agrees_with_python_word_for_word(signature, calls):
    """The call itself is the measure: ``Signature.bind`` refuses some that Python accepts."""
    function = function_of(signature)
    arguments = Arguments(function)
    for args, kwargs in calls:
        said = error_of(lambda: arguments.check(args, kwargs))  # noqa: B023 - called at once
        assert said == error_of(lambda: function(*args, **kwargs))  # noqa: B023


@given(signatures(), calls)
def test_a_bound_task_is_checked_like_its_bound_method(signature, call):
    first = Parameter("self", Parameter.POSITIONAL_ONLY)
    function = function_of(signature.replace(parameters=[first, *signature.parameters.values()]))
    args, kwargs = call
    said = error_of(lambda: Arguments(function, skip_first=True).check(args, kwargs))
    assert (said is None) == (error_of(lambda: function(None, *args, **kwargs)) is None)
