"""Names that people bring from Celery: what it calls its settings, now and long ago.

Plain data, so that a setting which this version does not have is refused as what it is, and not
as a typing error. Layer L1; standard library only. Read it through `celeriac.conf`.
"""

from collections.abc import Container

__all__ = ["CELERY", "INSTEAD", "OURS_LATER", "modern_name"]


def _family(prefix: str, names: str) -> list[str]:
    return [prefix + name for name in names.split()]


CELERY: frozenset[str] = frozenset(
    [
        *_family("", "accept_content result_accept_content enable_utc timezone imports include"),
        *_family("", "override_backends couchbase_backend_settings arangodb_backend_settings"),
        *_family("", "mongodb_backend_settings cache_backend cache_backend_options"),
        *_family(
            "task_",
            "acks_late acks_on_failure_or_timeout acks_on_failure acks_on_timeout always_eager"
            " eager_propagates store_eager_result annotations compression create_missing_queues"
            " create_missing_queue_type create_missing_queue_exchange_type"
            " inherit_parent_priority default_delivery_mode default_queue default_queue_type"
            " default_exchange default_exchange_type default_routing_key default_rate_limit"
            " default_priority ignore_result protocol publish_retry publish_retry_policy queues"
            " queue_max_priority reject_on_worker_lost retry_on_worker_lost remote_tracebacks"
            " repr_maxlevels routes send_sent_event serializer soft_time_limit time_limit"
            " store_errors_even_if_ignored track_started allow_error_cb_on_chord_header"
            " args_repr_function",
        ),
        *_family(
            "broker_",
            "url read_url write_url transport host port user password vhost transport_options"
            " connection_timeout connection_retry connection_retry_on_startup"
            " connection_max_retries channel_error_retry failover_strategy heartbeat"
            " heartbeat_checkrate login_method native_delayed_delivery_queue_type pool_limit"
            " pool_acquire_timeout use_ssl",
        ),
        *_family(
            "result_",
            "backend expires chord_expires failure_expires extended serializer compression"
            " cache_max persistent exchange exchange_type backend_transport_options"
            " chord_retry_interval chord_join_timeout backend_always_retry backend_max_retries"
            " backend_base_sleep_between_retries_ms backend_max_sleep_between_retries_ms"
            " backend_thread_safe",
        ),
        *_family(
            "redis_",
            "backend_use_ssl db host port username password max_connections socket_timeout"
            " socket_connect_timeout retry_on_timeout socket_keepalive"
            " backend_health_check_interval backend_credential_provider client_name",
        ),
        *_family(
            "database_",
            "url engine_options engine_callback short_lived_sessions table_schemas table_names"
            " create_tables_at_setup",
        ),
        *_family("elasticsearch_", "retry_on_timeout max_retries timeout save_meta_as_text"),
        *_family(
            "cassandra_",
            "entry_ttl keyspace port read_consistency servers bundle_path table"
            " write_consistency auth_provider auth_kwargs options",
        ),
        *_family("s3_", "access_key_id secret_access_key bucket base_path endpoint_url region"),
        *_family(
            "azureblockblob_",
            "container_name retry_initial_backoff_sec retry_increment_base retry_max_attempts"
            " base_path connection_timeout read_timeout",
        ),
        *_family("gcs_", "bucket project base_path ttl threadpool_maxsize"),
        *_family(
            "cosmosdbsql_",
            "database_name collection_name consistency_level max_retry_attempts"
            " max_retry_wait_time",
        ),
        *_family(
            "worker_",
            "concurrency prefetch_multiplier eta_task_limit disable_prefetch"
            " enable_prefetch_count_reduction pool pool_putlocks pool_restarts"
            " pool_start_method max_tasks_per_child max_memory_per_child lost_wait"
            " proc_alive_timeout autoscaler consumer timer timer_precision"
            " cancel_long_running_tasks_on_connection_loss soft_shutdown_timeout"
            " enable_soft_shutdown_on_idle deduplicate_successful_tasks direct"
            " disable_rate_limits enable_remote_control send_task_events state_db"
            " detect_quorum_queues agent hijack_root_logger log_color log_format log_datefmt"
            " task_log_format task_log_datefmt redirect_stdouts redirect_stdouts_level logfile"
            " pidfile uid gid umask executable",
        ),
        *_family(
            "beat_",
            "schedule scheduler schedule_filename sync_every max_loop_interval"
            " cron_starting_deadline enable_remote_control remote_control_max_tick_age logfile"
            " pidfile uid gid umask executable",
        ),
        *_family(
            "event_",
            "queue_expires queue_ttl queue_prefix queue_exclusive queue_durable serializer"
            " exchange",
        ),
        *_family("events_", "logfile pidfile uid gid umask executable"),
        *_family("control_", "queue_ttl queue_expires queue_exclusive queue_durable exchange"),
        *_family("security_", "certificate cert_store key key_password digest"),
    ]
)
"""Every setting of Celery 5.7, under its lower-case name."""

INSTEAD: dict[str, str] = {
    **{
        f"worker_{each}": f"is said on the command line: celeriac worker --{each}"
        for each in ("pidfile", "uid", "gid", "umask")
    },
    "worker_soft_shutdown_timeout": "is called grace here (seconds)",
    "result_failure_expires": "is called dead_expires here (seconds)",
    **dict.fromkeys(
        (
            "broker_read_url",
            "broker_write_url",
            "broker_transport",
            "broker_host",
            "broker_port",
            "broker_user",
            "broker_password",
            "broker_vhost",
        ),
        "is not in this version: write one URL, broker_url",
    ),
    **dict.fromkeys(
        ("beat_schedule", "beat_scheduler"),
        "is not in this version: let cron or a systemd timer run `celeriac -A APP call NAME`",
    ),
}
"""Settings of Celery that are not there, each with what to do where that is known."""

OURS_LATER: dict[str, str] = {}
"""Settings of our own that are not built, each with the reason and what to do."""

_OLD_PREFIXES = {"celerybeat_": "beat_", "celeryd_": "worker_", "celery_": ""}

# What the prefixes do not tell.
_OLD_NAMES = {
    "cassandra_column_family": "cassandra_table",
    "celery_disable_rate_limits": "worker_disable_rate_limits",
    "celery_eager_propagates_exceptions": "task_eager_propagates",
    "celery_enable_remote_control": "worker_enable_remote_control",
    "celery_max_cached_results": "result_cache_max",
    "celery_message_compression": "task_compression",
    "celery_redirect_stdouts": "worker_redirect_stdouts",
    "celery_redirect_stdouts_level": "worker_redirect_stdouts_level",
    "celery_result_db_short_lived_sessions": "database_short_lived_sessions",
    "celery_result_db_tablenames": "database_table_names",
    "celery_result_dburi": "result_backend",
    "celery_result_engine_options": "database_engine_options",
    "celery_send_events": "worker_send_task_events",
    "celery_send_task_sent_event": "task_send_sent_event",
    "celery_task_result_expires": "result_expires",
    "celeryd_soft_time_limit": "task_soft_time_limit",
    "celeryd_task_soft_time_limit": "task_soft_time_limit",
    "celeryd_task_time_limit": "task_time_limit",
    "celeryd_time_limit": "task_time_limit",
    "celeryd_worker_lost_wait": "worker_lost_wait",
}


def modern_name(name: str, known: Container[str]) -> str | None:
    """Return the lower-case name for an old upper-case one (``CELERYD_CONCURRENCY``).

    None if `name` is no old name of Celery's and no upper-case spelling of one in `known`.
    """
    if not name.isupper():
        return None
    lower = name.lower()
    if lower in _OLD_NAMES:
        return _OLD_NAMES[lower]
    candidates = [lower]
    for prefix, new in _OLD_PREFIXES.items():
        if lower.startswith(prefix):
            rest = lower.removeprefix(prefix)
            candidates += [new + rest, f"task_{rest}"]
    return next((each for each in candidates if each in known or each in CELERY), None)
