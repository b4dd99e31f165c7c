"""Where each module belongs and which exceptions are granted: the tables of the architecture tests.

A new module gets its layer here; a new exception gets its reason. An exception that is no longer
needed fails the tests, so that the lists stay true.
"""

# -- layers ------------------------------------------------------------------------------------

LAYERS: dict[int, tuple[str, ...]] = {
    0: ("exceptions", "states", "clock", "backoff", "ids", "crashpoints", "unbuilt"),
    1: (
        "message", "outcome", "records", "serialization", "signing", "schedules", "conf",
        "arguments", "bodies", "failures", "later", "checks", "moments", "sensitive", "compression",
        "graph", "progress", "stamps", "malformed",
    ),
    2: ("stores",),
    3: ("canvas", "workflow", "flowtree", "flowparts", "policies", "routing", "signals"),
    4: ("app", "client", "result", "context", "control", "runner", "eager", "softlimit",
        "interrupt", "logs", "bulk", "hearers", "calls", "publishing", "directions",
        "ends", "waits", "watcher", "events", "declined", "forms", "flows", "eagerflow",
        "resultset", "upstream", "replacing", "eagerresult", "lineage", "groupresult",
        "streaming", "crowd", "showing", "here", "replay", "prepared", "ahead"),
    5: ("worker", "beat"),
    6: ("cli", "web", "testing", "__main__"),
    7: ("contrib", "utils"),
}  # fmt: skip

# Layers in which no two modules may know each other, not even for type checkers.
WITHOUT_CYCLES = (0, 1, 2, 3)

CONCRETE_STORES = ("memory", "sqlite", "redis", "postgres", "rabbitmq")

# In these layers a module, or a package's `__init__`, states its public names in `__all__`. The
# files inside a package need not, but a list they have must be true.
PUBLIC_LAYERS = (0, 1, 3, 4)

# -- third parties -----------------------------------------------------------------------------

# Package -> where it may be imported. A package that is not here may be imported nowhere.
THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "apsw": ("stores.sqlite",),
    "click": ("cli",),
    "cronsim": ("schedules",),
    "django": ("app.discovery",),
    "hypothesis": ("testing",),
    "hiredis": ("stores.redis",),
    "psutil": ("worker", "cli.detach"),
    "pydantic": ("app.models",),
    "pytest": ("testing", "contrib.pytest"),
    "redis": ("stores.redis",),
    "setproctitle": ("worker", "beat"),
    "watchfiles": ("worker.duties.changes",),
    "zstandard": ("compression",),
}

# Of the standard library of later Pythons than the oldest that is supported.
STANDARD_LATER = frozenset({"compression"})

# Free for everybody above layer 0.
EVERYWHERE_ABOVE_0 = ("msgspec",)

# -- exceptions --------------------------------------------------------------------------------

# (importer, imported) -> reason. Both may be packages.
IMPORT_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("app", "cli"): "app.worker_main() and app.start() run the command line, as Celery's do",
    ("testing.harness", "stores.memory"): "tests run on a store that no URL leads to",
    ("eagerflow", "stores.memory"): "eager workflows follow a store's rules, on one without a URL",
    ("contrib.pytest", "contrib.testing"): "Celery's fixtures are made of its tools for tests",
}

# Doors that DESIGN grants before the module behind or in front of them is written; moved to
# IMPORT_EXCEPTIONS by whoever writes it.
PLANNED_DOORS: dict[tuple[str, str], str] = {}

# Module -> reason it may be longer than 500 lines.
LONG_FILES: dict[str, str] = {
    "exceptions": "one flat list of small classes; in two files nobody would see the tree",
}

# module:function -> reason it may be longer than 60 lines.
LONG_FUNCTIONS: dict[str, str] = {}

# module:Class -> reason its constructor may take more than 8 parameters.
WIDE_CONSTRUCTORS: dict[str, str] = {}
