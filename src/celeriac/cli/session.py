"""What one run of the command line works with: the application, its store, the time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from celeriac.app import Celeriac

ENVIRONMENT = ("CELERIAC_APP", "CELERY_APP")


class Session:
    """The options that stand on either side of the command, and what follows from them."""

    def __init__(self) -> None:
        self.app = ""
        self.workdir = ""
        self.quiet = False
        #: Settings that stand on either side of the command; they go over environment and code.
        self.settings: dict[str, object] = {}
        #: Options of Celery's that were given and change nothing here, and why.
        self.moot: dict[str, str] = {}
        #: Values of options that the application adds, as the command line gave them.
        self.user_values: dict[str, Any] = {}
        #: The same for a worker, which reads them in another process.
        self.user_args: tuple[str, ...] = ()

    def spec(self) -> str:
        """What ``-A/--app`` said; an error that shows how to say it if nobody did."""
        if not self.app:
            raise click.UsageError(
                "Which application? Name the module that creates it: celeriac -A tasks … "
                f"(or set {ENVIRONMENT[0]})."
            )
        return self.app

    def enter_workdir(self) -> None:
        """Go to ``--workdir``, if it was given."""
        if self.workdir:
            try:
                os.chdir(self.workdir)
            except OSError as error:
                raise click.UsageError(f"--workdir {self.workdir}: {error.strerror}.") from None

    def find(self) -> Celeriac:
        """Import the application. Runs the user's code."""
        spec = self.spec()
        from celeriac.app.loading import find_app

        self.enter_workdir()
        app = find_app(spec)
        if self.settings:
            app.conf.load_command_line(self.settings)
        return app

    def load(self) -> Celeriac:
        """Import the application, its task modules included. Runs the user's code."""
        app = self.find()
        from celeriac.app.loading import AppNotFound
        from celeriac.exceptions import CeleriacError

        try:
            if "preload" in app.user_options:
                app.take_user_options(click.get_current_context().info_name or "", self.user_values)
            app.import_modules()
        except CeleriacError:
            raise
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {error}".removesuffix(".")
            raise AppNotFound(
                f"Importing a module that the app includes failed: {text}."
            ) from error
        return app

    def load_shared(self) -> Celeriac:
        """As :meth:`load`, for commands that look into the store of another process."""
        from celeriac.exceptions import ImproperlyConfigured

        app = self.load()
        if str(app.broker_url).startswith("memory:"):
            raise ImproperlyConfigured(
                f"broker_url is {app.broker_url}: that store lives inside one process, and this "
                "command is another. Set broker_url to a sqlite:// URL."
            )
        return app


def session_of(ctx: click.Context) -> Session:
    """The session of this run, made when it is first needed."""
    return ctx.ensure_object(Session)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, False):
        setattr(session_of(ctx), str(param.name), value)


def _set(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        session_of(ctx).settings[str(param.name)] = value


def _configure(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:  # the processes of a worker read it, too
        os.environ["CELERIAC_CONFIG_MODULE"] = value


def _plain(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().color = False
        ctx.color = False


def options(*, environment: bool) -> list[click.Option]:
    """The options that stand before and after the command.

    Only those before it read the environment, or a variable would win over ``-A`` there.
    """
    return [
        click.Option(
            ["-A", "--app"],
            metavar="APP",
            envvar=list(ENVIRONMENT) if environment else None,
            show_envvar=environment,
            expose_value=False,
            callback=_keep,
            help="The application: tasks, tasks:app, package.",
        ),
        click.Option(
            ["-b", "--broker", "broker_url"],
            metavar="URL",
            expose_value=False,
            callback=_set,
            help="Use this store, whatever environment and code say.",
        ),
        click.Option(
            ["--result-backend"],
            metavar="URL",
            expose_value=False,
            callback=_set,
            help="Keep results here, whatever environment and code say.",
        ),
        click.Option(
            ["--workdir"],
            metavar="DIR",
            expose_value=False,
            callback=_keep,
            type=click.Path(file_okay=False, path_type=str),
            help="Work in this directory.",
        ),
        click.Option(
            ["--config"],
            metavar="MODULE",
            expose_value=False,
            callback=_configure,
            help="Read settings from this module, unless the application names one.",
        ),
        click.Option(
            ["-C", "--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_plain,
            help="No colour, even on a terminal.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="No banner and no notices.",
        ),
    ]
