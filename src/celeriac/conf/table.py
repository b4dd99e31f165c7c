"""The table of settings: the families of records under the headings of the reference.

A setting stands here only if it means something in this version, or changes nothing and says so.
What Celery calls a setting and this version does not have stands in `names`, with what to do
instead. To add one, write its record into the file of its family.

Layer L1. Read it through `celeriac.conf`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .families import (
    content,
    control,
    death,
    keeping,
    logging,
    place,
    routing,
    running,
    sending,
    stores,
    worker,
)
from .record import Setting

__all__ = ["GROUPS", "SETTINGS"]

GROUPS: Mapping[str, tuple[Setting, ...]] = MappingProxyType(
    {
        "Stores": stores.FAMILY,
        "Content": content.FAMILY,
        "Time and modules": place.FAMILY,
        "Routing": routing.FAMILY,
        "Sending": sending.FAMILY,
        "Running": running.FAMILY,
        "Keeping": keeping.FAMILY,
        "Death": death.FAMILY,
        "Worker": worker.FAMILY,
        "Logging": logging.FAMILY,
        "Remote control and events": control.FAMILY,
    }
)
"""The settings under the headings of the reference, in its order."""

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {setting.name: setting for group in GROUPS.values() for setting in group}
)
"""Every setting by its name."""
