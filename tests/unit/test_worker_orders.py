"""Which signals of the operating system a worker obeys."""

import signal

import pytest

from celeriac.worker.orders import HANGUP, exit_signals

STOPS = {int(each): int(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}


@pytest.mark.parametrize("now", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_hang_up_that_nohup_ignores_stays_ignored(now):
    before = signal.signal(HANGUP, now)
    try:
        found = exit_signals()
    finally:
        signal.signal(HANGUP, before)
    assert found == STOPS | ({HANGUP: HANGUP} if now is signal.SIG_DFL else {})


def test_sigterm_may_mean_sigquit(monkeypatch):
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    assert exit_signals()[signal.SIGTERM] == signal.SIGQUIT
    monkeypatch.setenv("REMAP_SIGTERM", "SIGINT")  # Celery knows no other
    assert exit_signals()[signal.SIGTERM] == signal.SIGTERM
