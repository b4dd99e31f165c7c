"""``celeriac shell``: a Python prompt with the application at hand."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.refused import refuse
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_EXAMPLES = """
celeriac -A tasks shell
celeriac -A tasks shell -c 'print(add.delay(1, 2).get(timeout=10))'
"""
_CODE: Final = "<code>"
_GREEN = "Import it and patch the process yourself, before the application is imported."


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.option("-c", "--code", metavar="CODE", help="Run CODE and exit, instead of asking.")
@click.option("-I", "--ipython", "which", flag_value="ipython", help="Use IPython.")
@click.option("-B", "--bpython", "which", flag_value="bpython", help="Use bpython.")
@click.option("--python", "which", flag_value="python", help="Use Python's own prompt.")
@click.option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@pass_session
def shell(session: Session, /, code: str | None, which: str | None, without_tasks: bool) -> int:
    """Open a Python prompt in which the application and its tasks have names.

    There are `app` (also `celery`), each task by the last part of its name, `Task`, `signature`
    and `celeriac`. IPython or bpython is used if it is installed.
    """
    app = session.load()
    names = at_hand(app, with_tasks=not without_tasks)
    if code is not None:
        return _run(code, names)
    _ask(which, names, app)
    return exits.OK


def _run(code: str, names: dict[str, Any]) -> int:
    """Run *code*; what it raises is shown from its own first line on."""
    from celeriac.exceptions import CeleriacError

    try:
        exec(compile(code, _CODE, "exec"), names)  # noqa: S102 - the user's own, typed in
    except CeleriacError:
        raise  # told in one line, as by every command, with the exit code it has there
    except Exception as error:  # noqa: BLE001 - whatever it raises is shown
        import traceback

        found = error.__traceback__
        while found is not None and found.tb_frame.f_code.co_filename != _CODE:
            found = found.tb_next
        traceback.print_exception(type(error), error, found)
        return exits.FAILURE
    return exits.OK


def at_hand(app: Celeriac, *, with_tasks: bool = True) -> dict[str, Any]:
    """The names of the prompt."""
    from celeriac.exceptions import NotInThisVersion

    package = sys.modules[__name__.partition(".")[0]]
    names: dict[str, Any] = {"__name__": "__main__"}
    if with_tasks:
        for name, task in app.tasks.items():
            short = name.rpartition(".")[2]
            if short.isidentifier():
                names[short] = task
    names |= {"app": app, "celery": app, "Task": app.Task, "celeriac": package}
    for name in ("chain", "group", "chord", "chunks", "xmap", "xstarmap", "signature"):
        try:
            names[name] = getattr(package, name)
        except NotInThisVersion:
            continue  # asked for by its import, it says so itself
    return names


def _ask(which: str | None, names: dict[str, Any], app: Celeriac) -> None:
    for kind in (which,) if which else ("ipython", "bpython", "python"):
        try:
            _PROMPTS[kind](names, app)
        except ImportError:
            if which:
                raise click.UsageError(f'{kind} is not installed: pip install "{kind}".') from None
        else:
            return


#: Prompts that the user may have installed; nothing of ours needs them.
_MODULES: Final = {"ipython": "IPython", "bpython": "bpython"}


def _ipython(names: dict[str, Any], _app: Celeriac) -> None:
    importlib.import_module(_MODULES["ipython"]).start_ipython(argv=[], user_ns=names)


def _bpython(names: dict[str, Any], _app: Celeriac) -> None:
    importlib.import_module(_MODULES["bpython"]).embed(names)


def _python(names: dict[str, Any], app: Celeriac) -> None:
    import code

    try:
        import readline
        import rlcompleter
    except ImportError:  # Python without it: the prompt works, without completion
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    banner = f"Python {sys.version.partition(' ')[0]}, {app!r} as `app`. Tasks: by their names."
    code.interact(banner, local=names, exitmsg="")


_PROMPTS = {"ipython": _ipython, "bpython": _bpython, "python": _python}
refuse(shell, ((("--eventlet",), True, _GREEN), (("--gevent",), True, _GREEN)))
