"""Settings of where queues and results are kept.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import SAME_AS_BROKER, Setting

__all__ = ["FAMILY"]

FAMILY = (
    Setting(
        name="broker_url",
        kind="url",
        default=None,
        none="a SQLite file beside the module that creates the app",
        help="The store that holds the queues.",
    ),
    Setting(
        name="result_backend",
        kind="url",
        default=SAME_AS_BROKER,
        none="states are kept, results are dropped (as with `disabled://`)",
        help="The store that holds results. Unset, it is the broker's store. With another one, "
        "results are brought there by the workers once a task has ended.",
    ),
    Setting(
        name="namespace",
        kind="name",
        default="celeriac",
        help="Applications that share a store and a namespace see each other's tasks; a web "
        "application and its workers must name the same one.",
    ),
    Setting(
        name="global_keyprefix",
        kind="name",
        default="",
        help="Text put before the namespace, for a store whose keys must share a prefix.",
    ),
    Setting(
        name="broker_use_ssl",
        kind="tls",
        default=None,
        none="TLS where the URL says so (`rediss://`)",
        where="store",
        secret=True,
        help="TLS for a Redis: True, or its options `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, "
        "`ssl_password`, `ssl_cert_reqs`, `ssl_check_hostname`. Certificate and host name are "
        "verified unless the last two say otherwise.",
    ),
    Setting(
        name="redis_backend_use_ssl",
        kind="tls",
        default=None,
        none="as `broker_use_ssl` says, or, of a store of its own, as its URL says",
        where="store",
        secret=True,
        help="TLS for a `result_backend` that is another Redis than the broker's, with the same "
        "options. Where tasks and results share a store it counts if `broker_use_ssl` is not set.",
    ),
    Setting(
        name="broker_transport_options",
        kind="transport",
        default=None,
        none="nothing that the URL does not say",
        where="store",
        secret=True,
        help="For a Redis behind sentinels: `master_name`, the primary's name, and "
        "`sentinel_kwargs` with `username` and `password` for the sentinels themselves. Keys that "
        "tune Celery's transport change nothing, which the log says once.",
    ),
    Setting(
        name="result_backend_transport_options",
        kind="transport",
        default=None,
        none="nothing that the URL does not say",
        where="store",
        secret=True,
        help="The same for a `result_backend` that is another store than the broker's. Where both "
        "are one store it changes nothing.",
    ),
    Setting(
        name="sqlite_durability",
        kind="choice",
        default="full",
        choices=("full", "relaxed"),
        where="store",
        help="`full`: what was acknowledged survives a power cut. `relaxed`: it survives any "
        "crash of processes, but a power cut may take the last moments.",
    ),
)
