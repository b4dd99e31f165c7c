"""Settings of Celery's that a program may hold and that change nothing here.

Two kinds. `MOOT` ones mend something that does not occur: they are accepted whatever they say,
with one warning that names the reason, so that configuration modules load as they are. The others
are not in this version and refused, unless they say what is done anyway, which is what Celery's
own default says of them (`asks_for_nothing`).

Plain data. Layer L1; standard library only. Read it through `celeriac.conf`.
"""

from collections.abc import Mapping
from typing import Any

from .names import CELERY

__all__ = ["MOOT", "asks_for_nothing", "check_moot"]

_PREFETCH = "how much is fetched ahead follows measured duration"
_RECONNECT = "a worker tries to reach its store for as long as it runs"
_LEASE = "a task belongs to its worker for as long as the lease lives: heartbeat, lease"
_CONNECTION = "each process keeps its own connection to the store"
_BUDGET = "publish_timeout is the whole time sending may take"
_RETRIED = "whoever waits for a result waits through a store that is away"
_EXCHANGES = "there are no exchanges"
_DURABLE = "what was sent is always durable"
_HELD = "tasks that are not due wait in the store"
_OTHER_STORE = "it is about a store that is not used"
_STORE_HAS_NONE = "messages to workers need no queues of the broker"
_BESIDE = "write it into the URL of result_backend"
_FOUND_OUT = "a connection that is cut off is found out and made anew"

MOOT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "worker_prefetch_multiplier",
            "worker_disable_prefetch",
            "worker_enable_prefetch_count_reduction",
        ),
        _PREFETCH,
    ),
    **dict.fromkeys(
        (
            "broker_connection_retry",
            "broker_connection_retry_on_startup",
            "broker_connection_max_retries",
            "broker_channel_error_retry",
        ),
        _RECONNECT,
    ),
    **dict.fromkeys(
        (
            "broker_heartbeat",
            "broker_heartbeat_checkrate",
            "worker_cancel_long_running_tasks_on_connection_loss",
        ),
        _LEASE,
    ),
    **dict.fromkeys(
        (
            *("broker_pool_limit", "broker_pool_acquire_timeout", "result_backend_thread_safe"),
            "redis_max_connections",
        ),
        _CONNECTION,
    ),
    "broker_connection_timeout": _BUDGET,
    "broker_login_method": _OTHER_STORE,
    "broker_failover_strategy": "there is one URL",
    "broker_native_delayed_delivery_queue_type": _HELD,
    **dict.fromkeys(
        (
            *("redis_host", "redis_port", "redis_db", "redis_username", "redis_password"),
            *("redis_backend_credential_provider", "redis_client_name"),
        ),
        _BESIDE,
    ),
    **dict.fromkeys(("redis_socket_timeout", "redis_socket_connect_timeout"), _BUDGET),
    **dict.fromkeys(
        (
            *("redis_retry_on_timeout", "redis_socket_keepalive"),
            "redis_backend_health_check_interval",
        ),
        _FOUND_OUT,
    ),
    **dict.fromkeys(
        (
            "result_backend_always_retry",
            "result_backend_max_retries",
            "result_backend_base_sleep_between_retries_ms",
            "result_backend_max_sleep_between_retries_ms",
        ),
        _RETRIED,
    ),
    "result_extended": "every record keeps name and arguments",
    "result_persistent": _DURABLE,
    "result_cache_max": "each result object keeps its own value",
    **dict.fromkeys(("result_exchange", "result_exchange_type"), _EXCHANGES),
    **dict.fromkeys(("task_default_exchange", "task_default_routing_key"), _EXCHANGES),
    **dict.fromkeys(("task_default_queue_type", "task_create_missing_queue_type"), _DURABLE),
    "task_protocol": "messages have a format of their own, and it is versioned",
    "task_default_delivery_mode": _DURABLE,
    "task_remote_tracebacks": "the traceback of the worker is kept in any case",
    "task_repr_maxlevels": "what is shown of arguments is cut by length",
    "worker_deduplicate_successful_tasks": "one attempt alone can complete a task",
    "worker_detect_quorum_queues": _HELD,
    "worker_enable_soft_shutdown_on_idle": "what is not running stays in the store",
    "worker_eta_task_limit": _HELD,
    "worker_lost_wait": "the death of an executor is known at once",
    "worker_pool_restarts": "pool_restart works without it",
    "worker_pool_putlocks": "an executor is given a task when it is free",
    "worker_proc_alive_timeout": "an executor that does not come up is known by its process",
    "worker_state_db": "the store keeps what was revoked",
    "worker_timer_precision": "nothing polls",
    **{
        name: _OTHER_STORE
        for name in CELERY
        if name.startswith(
            (
                "database_",
                "mongodb_",
                "elasticsearch_",
                "cassandra_",
                "s3_",
                "azureblockblob_",
                "gcs_",
                "cosmosdbsql_",
                "couchbase_",
                "arangodb_",
                "cache_",
            )
        )
    },
    **{name: _STORE_HAS_NONE for name in CELERY if name.startswith(("control_", "event_"))},
}
"""Settings that have no meaning here: name to reason, as half a sentence."""

# What Celery does unless told otherwise, where that is also what is done here.
_USUAL: Mapping[str, tuple[Any, ...]] = {
    "task_acks_on_failure_or_timeout": (True,),
    "task_acks_on_failure": (None, True),
    "task_acks_on_timeout": (None, True),
    "task_inherit_parent_priority": (False,),
    "task_retry_on_worker_lost": (False,),
    "task_store_eager_result": (False,),
    "worker_autoscaler": ("celery.worker.autoscale:Autoscaler",),
    "worker_consumer": ("celery.worker.consumer:Consumer",),
    "worker_direct": (False,),
    "worker_disable_rate_limits": (False,),
    "worker_pool_start_method": ("fork",),
    "task_default_exchange_type": ("direct",),
    "task_create_missing_queue_exchange_type": ("direct",),
    "beat_schedule": ({},),
    "override_backends": ({},),
}
_NONE_BY_DEFAULT = frozenset(
    [
        *("broker_read_url", "broker_write_url", "broker_transport", "broker_host", "broker_port"),
        *("broker_user", "broker_password", "broker_vhost"),
        *("result_chord_expires", "result_failure_expires"),
        *("task_default_rate_limit", "task_queues"),
        *("task_routes", "task_queue_max_priority", "task_args_repr_function"),
        *("task_create_missing_queue_exchange_type",),
        *("worker_agent", "worker_timer", "worker_log_datefmt", "worker_task_log_datefmt"),
        *(name for name in CELERY if name.startswith("security_")),
        *(
            f"{kind}_{name}"
            for kind in ("worker", "beat", "events")
            for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")
        ),
    ]
)


def check_moot(name: str, value: object) -> None:
    """Raise `ValueError` if `value` asks for something that would not be done."""
    if name == "task_protocol" and value not in {1, 2}:
        raise ValueError(f"there is no protocol {value!r}")


def asks_for_nothing(name: str, value: object) -> bool:
    """Whether `value` of the setting `name`, which is not in this version, is what is done."""
    if value is None and name in _NONE_BY_DEFAULT:
        return True
    return any(value == each and type(value) is type(each) for each in _USUAL.get(name, ()))
