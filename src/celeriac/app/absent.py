"""What Celery's app has and this version's has not, each with what to do instead. Plain data.

Layer 4. ``base`` refuses these by name.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LATER", "LATER_ARGUMENTS"]

_OWN_CONNECTIONS: Final = "The app keeps its own connections to the store."
_BOOTSTEPS: Final = "A worker has no steps to add to; use signals, user_options or a base class."
_FIXUPS: Final = "Call django.setup() in the module of the app; use signals for the rest."

#: Arguments of Celery's constructor.
LATER_ARGUMENTS: Final = {
    "loader": "Name the settings with config_from_object().",
    "amqp": _OWN_CONNECTIONS,
    "events": "Events are app.events; leave the argument out.",
    "log": "Use the signals setup_logging and after_setup_logger.",
    "control": "Commands are app.control; leave the argument out.",
    "tasks": "Register tasks with app.register_task().",
    "fixups": _FIXUPS,
}

#: Attributes of Celery's app.
LATER: Final = {
    **dict.fromkeys(("add_periodic_task", "Beat"), "Let cron run `celeriac -A … call NAME`."),
    "WorkController": "Use app.Worker(…).start(), or run `celeriac -A … worker`.",
    **dict.fromkeys(("amqp", "pool", "producer_pool", "default_producer"), _OWN_CONNECTIONS),
    **dict.fromkeys(("broker_connection", "default_connection"), _OWN_CONNECTIONS),
    **dict.fromkeys(("connection_or_acquire", "producer_or_acquire"), _OWN_CONNECTIONS),
    "steps": _BOOTSTEPS,
    "backend": "Results are read with app.AsyncResult(id).",
    "log": "Use the signals setup_logging and after_setup_logger.",
    **dict.fromkeys(("loader", "prepare_config", "config_from_cmdline"), "Use app.conf."),
    "select_queues": "Name the queues with `celeriac worker -Q`.",
    **dict.fromkeys(("clock", "oid", "thread_oid"), "The store's clock decides."),
    **dict.fromkeys(("fixups", "builtin_fixups"), _FIXUPS),
    "config_source": "Where a setting comes from is app.conf.place(name).",
    "Pickler": "An app is pickled as the name of the module attribute that holds it.",
    **dict.fromkeys(("amqp_cls", "backend_cls", "loader_cls"), _OWN_CONNECTIONS),
    **dict.fromkeys(("control_cls", "events_cls", "log_cls"), "Derive from Celeriac instead."),
    **dict.fromkeys(("registry_cls", "task_registry_cls"), "Register with app.register_task()."),
    **dict.fromkeys(("create_task_cls", "subclass_with_self"), "Use app.Task."),
    "type_checker": "Annotated parameters are converted and checked without it.",
    "setup_security": "The setting security_key is the whole switch.",
}
