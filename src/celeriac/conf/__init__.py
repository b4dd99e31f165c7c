"""Settings: every one known by a record, judged when it is set, refused by name if unknown.

A setting comes from the command line, the environment, the code, the object that
`config_from_object` named, `add_defaults` or its default, in this order, whatever the order in
which they were read: each is kept as a layer of its own. What is wrong is reported all at once,
and then nothing is changed.

`families` holds the records and `table` puts them together; `typed` tells type checkers of them,
`values` judges one value, `reading` reads a mapping or an object, `names` and `moot` know Celery's
names, `contradictions` looks at them together, `settings` keeps the layers. Run as
``python -m celeriac.conf`` it prints the reference of all settings.

Layer L1: standard library, msgspec and L0. Any layer above may import it.
"""

from .reading import Reading, read_mapping, read_object
from .record import SAME_AS_BROKER, Setting
from .settings import Layer, Settings, describe
from .table import GROUPS, SETTINGS
from .words import masked, shown, without_password

__all__ = [
    "GROUPS",
    "SAME_AS_BROKER",
    "SETTINGS",
    "Layer",
    "Reading",
    "Setting",
    "Settings",
    "describe",
    "masked",
    "read_mapping",
    "read_object",
    "shown",
    "without_password",
]
