"""For type checkers: which settings there are, and of what type their values are.

What each means stands in `families`; a test holds that both name the same, in the same order.
Layer L1. Read it through `celeriac.conf`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from .queues import Queue

__all__ = ["Typed"]


class Typed:
    """The settings as attributes."""

    broker_url: str | None
    result_backend: str | None
    namespace: str
    global_keyprefix: str
    broker_use_ssl: bool | Mapping[str, Any] | None
    redis_backend_use_ssl: bool | Mapping[str, Any] | None
    broker_transport_options: Mapping[str, Any] | None
    result_backend_transport_options: Mapping[str, Any] | None
    sqlite_durability: Literal["full", "relaxed"]
    task_serializer: str
    result_serializer: str
    task_compression: str | None
    result_compression: str | None
    accept_content: tuple[str, ...]
    result_accept_content: tuple[str, ...] | None
    security_key: str | Mapping[str, str] | None
    payload_max: int
    result_max: int
    strict_typing: bool
    timezone: str
    enable_utc: bool
    imports: tuple[str, ...]
    include: tuple[str, ...]
    task_default_queue: str
    task_routes: Any
    task_queues: tuple[Queue, ...] | None
    task_create_missing_queues: bool
    task_default_priority: int
    task_queue_max_priority: int | None
    task_inherit_parent_priority: bool
    task_default_rate_limit: str | float | None
    worker_disable_rate_limits: bool
    task_always_eager: bool
    task_eager_propagates: bool
    task_store_eager_result: bool
    task_allow_error_cb_on_chord_header: bool
    task_publish_retry: bool
    task_publish_retry_policy: Mapping[str, Any]
    publish_timeout: float
    join_seal_timeout: float
    task_annotations: Any
    task_acks_late: bool
    task_reject_on_worker_lost: bool
    task_time_limit: float | None
    task_soft_time_limit: float | None
    task_track_started: bool
    task_ignore_result: bool
    task_store_errors_even_if_ignored: bool
    result_expires: float | None
    tombstone_expires: float
    revoke_expires: float
    dead_expires: float
    dead_limit: int
    lease: float
    heartbeat: float
    lease_margin: float
    reap_interval: float
    max_crashes: int
    crash_delay: float
    max_losses: int
    loss_delay: float
    worker_concurrency: int | None
    worker_pool: Literal["prefork", "threads", "asyncio", "solo"]
    pool_drain_grace: float
    autoscale_keepalive: float
    worker_max_tasks_per_child: int | None
    worker_max_memory_per_child: int | None
    memory_limit_fraction: float
    memory_kill_fraction: float
    grace: float
    worker_hijack_root_logger: bool
    worker_log_format: str
    worker_log_datefmt: str | None
    worker_task_log_format: str
    worker_task_log_datefmt: str | None
    worker_log_color: bool | None
    worker_logfile: str | None
    worker_redirect_stdouts: bool
    worker_redirect_stdouts_level: str
    worker_enable_remote_control: bool
    worker_send_task_events: bool
    task_send_sent_event: bool
