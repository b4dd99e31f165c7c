"""The stores an app holds: opened at first use, once per process.

Layer 4. ``Celeriac`` derives from this. Tasks are in the broker's store; results are there, too, or
in another one (``stores.pair``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac import stores
from celeriac.app.place import default_broker
from celeriac.conf import SAME_AS_BROKER, SETTINGS, Settings, shown
from celeriac.exceptions import CeleryWarning, ImproperlyConfigured
from celeriac.stores.base import Options, Results, Store

if TYPE_CHECKING:
    from celeriac.client import Client
    from celeriac.stores.pair import PairedResults

__all__ = ["Holding"]

_NO_RESULTS = frozenset({None, "disabled://"})


class Holding:
    """``app.store``, ``app.results`` and what they are made of."""

    conf: Settings
    client: Client
    _home: dict[str, Any]
    #: What is open, in which process, and for which ``broker_url`` and ``result_backend``.
    _held: tuple[int, str | None, str | None, Store] | None = None
    _paired: tuple[int, str, Store] | None = None
    _other: tuple[tuple[str | None, str | None], str | None] | None = None
    _both: PairedResults | None = None
    #: What a parent process opened: it must not be closed here.
    _abandoned: Sequence[Store] = ()
    _lent: Store | None = None
    _checked: tuple[str | None, str | None] | None = None

    @property
    def broker_url(self) -> str:
        """URL of the store, the default one included."""
        return self.conf.broker_url or default_broker(self._home)

    @property
    def backend_url(self) -> str | None:
        """URL of the store of results if it is another one than the broker's, else None."""
        conf = self.conf
        if self._lent is not None or conf.result_backend == SAME_AS_BROKER:
            return None
        key, known = (conf.broker_url, conf.result_backend), self._other
        if known is None or known[0] != key:
            from celeriac.stores.pair import backend_url

            known = self._other = key, backend_url(conf, self.broker_url)
        return known[1]

    @property
    def keeps_results(self) -> bool:
        """Whether results are kept at all."""
        return self.conf.result_backend not in _NO_RESULTS

    @property
    def store(self) -> Store:
        """The store of the tasks, opened at first use, once per process, and anew when
        ``broker_url`` or ``result_backend`` changes.

        What a parent process opened is left alone in a child: closing it there would drop the
        parent's locks.
        """
        if self._lent is not None:
            return self._lent
        held, conf = self._held, self.conf
        url, backend = conf.broker_url, conf.result_backend
        if held is not None and held[0] == os.getpid() and held[1] == url and held[2] == backend:
            return held[3]
        if held is not None and held[0] != os.getpid():
            self._abandoned = [*self._abandoned, held[3]]
        conf.validate()
        store = stores.connect(url or self.broker_url, self._options())
        self._held = (os.getpid(), url, backend, store)
        return store

    def _options(self) -> Options:
        if self.backend_url is None:
            return Options.from_settings(self.conf)
        from celeriac.stores.pair import broker_options

        return broker_options(self.conf, paired=True)

    @property
    def results(self) -> Results:
        """Results, from whichever store they are in: what ``AsyncResult`` reads."""
        if self.backend_url is None:
            return self.store.results
        if self._both is None:
            from celeriac.stores.pair import PairedResults

            self._both = PairedResults(lambda: self.store, lambda: self.backend_store)
        return self._both

    @property
    def backend_store(self) -> Store:
        """The store of results, opened like :attr:`store`, which it is unless there is another."""
        from celeriac.stores.pair import backend_options

        held, url = self._paired, self.backend_url
        if url is None:
            return self.store
        if held is not None and held[0] == os.getpid() and held[1] == url:
            return held[2]
        if held is not None and held[0] != os.getpid():
            self._abandoned = [*self._abandoned, held[2]]
        self.conf.validate()
        store = stores.connect(url, backend_options(self.conf))
        self._paired = (os.getpid(), url, store)
        return store

    def _let_go(self) -> None:
        self._held = self._paired = None

    def lend(self, store: Store | None, client: Client) -> tuple[Store | None, Client]:
        """Use *store* and *client*, for tests, in place of what the settings ask for.

        None as store ends that. Returns what was in use, to be given back afterwards. The settings
        stay as they are, so an application is tested as it is configured.
        """
        before = self._lent, self.client
        self._lent, self.client = store, client
        return before

    def _check_stores(self, values: Mapping[str, Any]) -> None:
        """Raise for a URL in *values*, which are settings, that this version has no store for."""
        broker, backend = values["broker_url"], values["result_backend"]
        if (broker, backend) == self._checked:
            return
        if broker is not None:
            stores.check_url(broker)
        in_memory = (broker or "").startswith("memory:")
        # Celery's name for results in memory, which beside a broker in memory is what they are.
        beside = backend in {*_NO_RESULTS, SAME_AS_BROKER} or (
            in_memory and backend == "cache+memory://"
        )
        if backend == "rpc://":
            if broker is None and self.conf.pending:
                return  # said once all is read
            warnings.warn(
                "backend='rpc://': results are kept in the broker's store, where any process can "
                "read them; leave the backend unset to say so",
                CeleryWarning,
                stacklevel=3,
            )
        elif not beside:
            stores.check_url(backend)
            if backend.startswith("memory:") and not in_memory:
                if broker is None and self.conf.pending:
                    return  # what is still to be read may name the broker
                url = shown(SETTINGS["result_backend"], backend)
                raise ImproperlyConfigured(
                    f"result_backend is {url}, a store that lives inside one process: what a "
                    "worker keeps there nobody else can read. Leave result_backend unset to keep "
                    "results beside the tasks, or name a store that both can reach."
                )
        self._checked = (broker, backend)
