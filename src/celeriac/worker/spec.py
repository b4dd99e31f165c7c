"""What a worker's processes are told at their start, and what the zygote answers. Plain data.

Layer 5.
"""

from __future__ import annotations

import msgspec

from celeriac.records import TaskFacts


class WorkerSpec(msgspec.Struct, frozen=True):
    """How to find and configure the application, as the command line said it."""

    app: str
    workdir: str = ""
    #: Settings given on the command line; they win over environment and code.
    settings: dict[str, object] = {}
    include: tuple[str, ...] = ()
    hostname: str = ""
    loglevel: str = "WARNING"
    color: bool | None = None
    #: Say where the application's code is, so that it can be watched.
    reload: bool = False
    #: What the command line says beyond the worker's own options: the application's.
    user_args: tuple[str, ...] = ()
    #: Of this library, for banner and manifest.
    version: str = ""
    #: Process the executors must end with: PDEATHSIG is armed against this pid.
    supervisor: int = 0


class WorkerOptions(msgspec.Struct, frozen=True):
    """One worker as the command line (or a test) asks for it. None: as the settings say."""

    spec: WorkerSpec
    queues: tuple[str, ...] | None = None
    #: Queues that are not read, though they are declared.
    exclude: tuple[str, ...] | None = None
    pool: str | None = None
    concurrency: int | None = None
    #: (most, least) tasks at once, ``--autoscale``; None: the number is fixed.
    autoscale: tuple[int, int] | None = None
    #: False: no banner (``--quiet``).
    banner: bool = True
    #: End once nothing is due and nothing runs.
    burst: bool = False
    #: Load the application anew when its code changes.
    reload: bool = False
    #: Where a byte is written once the worker is ready; -1: nowhere.
    ready_fd: int = -1


class AppFacts(msgspec.Struct, frozen=True):
    """What the supervisor knows of the application without running its code."""

    name: str
    broker_url: str
    settings: dict[str, object]
    tasks: dict[str, TaskFacts]
    #: True if some task or signal has handlers that may have to run outside an executor.
    hooks: bool = False
    #: Signals of the hooks process that somebody is connected to.
    signals: tuple[str, ...] = ()
    #: Folders of the application's code, if the worker watches them.
    code: tuple[str, ...] = ()
    #: When its code was read, in seconds since the epoch.
    code_read: float = 0.0


def of_another_version(spec: WorkerSpec) -> str:
    """Why this process, started by exec, cannot serve the worker of *spec*; "" if it can.

    What processes of a worker say to each other is of one version, and whoever updates the library
    under a running worker has new processes start as the new one.
    """
    from celeriac import __version__

    if spec.version in {"", __version__}:
        return ""
    return (
        f"Celeriac {__version__} has been installed while this worker runs as {spec.version}: "
        "its processes would not understand each other."
    )


encode_spec = msgspec.json.Encoder().encode
decode_spec = msgspec.json.Decoder(WorkerSpec).decode
encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(AppFacts).decode

__all__ = [
    "AppFacts",
    "WorkerOptions",
    "WorkerSpec",
    "decode_facts",
    "decode_spec",
    "encode_facts",
    "encode_spec",
    "of_another_version",
]
