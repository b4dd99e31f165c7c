"""Door: ``from celeriac.utils.dispatch import Signal``."""

from celeriac.signals import Signal

__all__ = ["Signal"]
