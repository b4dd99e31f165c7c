"""Signals that applications may connect to: not in this version.

Layer 3. Refused by name, so that whoever imports one is told what to do instead.
"""

from __future__ import annotations

from typing import Final

from celeriac.later import absent

__all__: list[str] = []

_LATER: Final = dict.fromkeys(
    [
        "before_task_publish",
        "after_task_publish",
        "task_received",
        "task_prerun",
        "task_postrun",
        "task_success",
        "task_retry",
        "task_failure",
        "task_internal_error",
        "task_revoked",
        "task_rejected",
        "task_unknown",
        "worker_init",
        "worker_ready",
        "worker_shutdown",
        "worker_shutting_down",
        "worker_process_init",
        "worker_process_shutdown",
        "worker_before_create_process",
        "celeryd_init",
        "celeryd_after_setup",
        "heartbeat_sent",
        "beat_init",
        "beat_embedded_init",
        "eventlet_pool_started",
        "eventlet_pool_preshutdown",
        "eventlet_pool_postshutdown",
        "eventlet_pool_apply",
        "setup_logging",
        "after_setup_logger",
        "after_setup_task_logger",
        "import_modules",
        "user_preload_options",
    ],
    "Define handlers (on_failure, on_retry, …) on a base class of tasks.",
)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
