"""The command and group classes: options on either side, examples in the help, lazy commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from celeriac.cli import exits, refused, session

if TYPE_CHECKING:
    from celeriac.exceptions import CeleriacError


class AppCommand(click.Command):
    """A command that takes ``-A/--app`` and its like, and shows examples in its help."""

    def __init__(self, *args: Any, examples: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples
        self.params += session.options(environment=False)
        self.params += refused.everywhere()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; if an option is unknown, ask the application whether it is one of its own."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            learnt = self._learn(ctx, given)
            if not learnt:
                raise _shown_only(error, self) from None
        own = list(self.params)
        self.params += learnt
        try:
            rest = super().parse_args(ctx, given)
        finally:
            self.params = own  # the next run in this process may be for another application
        values = session.session_of(ctx).user_values
        for each in learnt:
            values[str(each.name)] = ctx.params.pop(str(each.name), None)
        return rest

    def _learn(self, ctx: click.Context, args: Sequence[str]) -> list[click.Option]:
        """The options that the application adds, if one is named."""
        from celeriac.cli import useroptions

        known = session.session_of(ctx)
        known.app = useroptions.find_app_option(args) or known.app
        if not known.app:
            return []
        return useroptions.added(known.find(), str(self.name))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the application as well if one is named."""
        super().format_options(ctx, formatter)
        known = session.session_of(ctx)
        if known.app:
            from celeriac.cli import useroptions

            useroptions.show(known, str(self.name), formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        write_examples(self.examples, formatter)


class SupervisorCommand(AppCommand):
    """A command whose process must not import the application.

    What is not among its own options is kept for the process that does, once another one has
    found that the application knows it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; keep what may be the application's."""
        given = list(args)
        try:
            return super(AppCommand, self).parse_args(ctx, args)
        except click.NoSuchOption as error:
            ctx.ignore_unknown_options = ctx.allow_extra_args = True
            super(AppCommand, self).parse_args(ctx, given)
            known = session.session_of(ctx)
            if not known.app:
                raise _shown_only(error, self) from None
            from celeriac.cli import useroptions

            wrong = useroptions.check_apart(known, "worker", ctx.args)
            if wrong.startswith("No such option"):
                raise _shown_only(error, self) from None
            if wrong:
                raise click.UsageError(wrong, ctx) from None
            known.user_args = tuple(ctx.args)
            ctx.args = []
            return []


def _shown_only(error: click.NoSuchOption, command: click.Command) -> click.NoSuchOption:
    """*error*, with near names from the help alone: what is refused is no way on."""
    shown = {
        name
        for each in command.params
        if isinstance(each, click.Option) and not each.hidden
        for name in each.opts
    }
    near = [each for each in error.possibilities or () if each in shown]
    return click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)


class AppGroup(click.Group):
    """A group whose commands take the same options, with examples in its help."""

    command_class = AppCommand

    def __init__(self, *args: Any, examples: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples
        self.params += session.options(environment=False)
        self.params += refused.everywhere()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which commands there are, if it is none of them."""
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            from difflib import get_close_matches

            shown = [each for each, command in self.commands.items() if not command.hidden]
            near = get_close_matches(name, shown, n=1, cutoff=0.6)
            hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(shown)}."
            raise click.UsageError(f"There is no `{ctx.info_name} {name}`. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        write_examples(self.examples, formatter)


def write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    """Write lines of examples under their own heading."""
    if examples:
        with formatter.section("Examples"):
            for line in examples.strip().splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


class LazyGroup(click.Group):
    """The root: imports a command's module when the command is asked for, and maps errors to
    exit codes.

    *lazy* maps a command's name to (module, attribute, one line of help), so that the list of
    commands can be printed without importing any of them.
    """

    def __init__(
        self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.lazy = dict(lazy)
        self.params += session.options(environment=True)
        self.params += refused.everywhere()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: what is used most comes first."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self.lazy:
            return None
        module, attribute, _ = self.lazy[cmd_name]
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse Celery's other commands by name; name near ones for a slip."""
        name = args[0]
        if name in refused.COMMANDS:
            text = f"`{name}` is not in this version of Celeriac. {refused.COMMANDS[name]}"
            raise click.UsageError(text, ctx)
        if name not in self.lazy and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self.lazy, n=1, cutoff=0.7)
            # Nobody who looks for `retry` finds it in the list of commands.
            near = [f"dead {name}"] if name in ("show", "retry", "discard") else near
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise click.UsageError(f"There is no command `{name}`.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.lazy.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in exits.MEANINGS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, print an error as an error should be printed, and exit with its code."""
        extra.pop("standalone_mode", None)
        sys.exit(self._run(args, prog_name, extra))

    def run(self, args: Sequence[str]) -> int:
        """Run and print as the command line does; return the exit code instead of exiting."""
        return self._run(args, "celeriac", {})

    def _run(self, args: Sequence[str] | None, prog_name: str | None, extra: dict[str, Any]) -> int:
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.Abort:
            return exits.INTERRUPTED
        except click.ClickException as error:
            error.show()
            return exits.USAGE if error.exit_code == 1 else error.exit_code
        except Exception as error:
            # Late, because most runs end well. Anything else is a bug and keeps its traceback.
            from celeriac.exceptions import CeleriacError

            if not isinstance(error, CeleriacError):
                raise
            return show_error(error)
        return code if isinstance(code, int) else exits.OK


def show_error(error: CeleriacError) -> int:
    """Print *error* for people and return the exit code it ends in."""
    from celeriac.app.loading import AppNotFound, describe_failure

    text = describe_failure(error) if isinstance(error, AppNotFound) else f"{error}\n"
    head, newline, last = text.rstrip("\n").rpartition("\n\n")
    click.echo(f"{head}{newline}Error: {last}", err=True)
    return exits.code_of(error)
