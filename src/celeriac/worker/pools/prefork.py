"""The prefork pool: executors as processes, watched from the supervisor's main thread.

Layer 5. It makes them, feeds their sockets, reads what they say, enforces limits and explains
their deaths. What a death means for the task is decided in ``policies``; what happens to
deliveries is the dispatch's business.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from celeriac import states
from celeriac.exceptions import DecodeError
from celeriac.outcome import Outcome
from celeriac.records import Delivery
from celeriac.worker import frames, resources
from celeriac.worker.admission import marks
from celeriac.worker.deaths import Death, judge
from celeriac.worker.dispatch import Dispatch, Hand, Held
from celeriac.worker.pools.attendant import Attendant
from celeriac.worker.pools.autoscale import Autoscale
from celeriac.worker.pools.nursery import EXECUTOR, Nursery, Process

#: What the supervisor is told of a death: how, and what had begun and not ended.
OnDeath = Callable[[Death, list[Held]], None]

logger = logging.getLogger("celeriac.worker.pool")

#: A run longer than this is reported to the store as begun and keeps nothing behind it.
LONG_SECONDS: Final = 0.05
#: Executors that die younger than this without having run anything slow their own replacement.
_YOUNG_SECONDS: Final = 2.0
_RESPAWN_MAX: Final = 10.0
_STRAYS_KEPT: Final = 64


@dataclass(slots=True)
class Executor:
    """A process and what it holds."""

    process: Process
    hand: Hand
    #: Why we ended it; "" while we have not.
    doomed: str = ""
    retiring: bool = False
    over_memory: bool = False
    stopped_since: float | None = None
    #: Key behind which nothing may begin, while it runs long.
    hold_above: int | None = None
    #: When its socket closed while the process was not known to be dead.
    silent_since: float | None = None
    #: Its zygote died without telling its pid: it tells so itself, or its socket closes.
    unclaimed: bool = False

    @property
    def spent(self) -> bool:
        """It is to end: nothing is given to it any more."""
        return self.retiring or self.over_memory or bool(self.doomed)


class Prefork:
    """See the module's docstring. All methods run in the main thread, ``_send`` excepted."""

    def __init__(
        self,
        nursery: Nursery,
        dispatch: Dispatch,
        selector: selectors.BaseSelector,
        size: int,
        on_death: OnDeath,
        max_tasks: int | None = None,
    ) -> None:
        self.executors: dict[int, Executor] = {}
        self.size = size
        self.closing = False
        #: How many are wanted follows the work there is; None where the number is fixed.
        self.scale: Autoscale | None = None
        #: Deliveries to go back to the store, because others can run them sooner.
        self.returned: list[Held] = []
        self._nursery = nursery
        self._dispatch = dispatch
        self._selector = selector
        self._on_death = on_death
        self._max_tasks = max_tasks
        self._respawn_at = self._respawn_delay = 0.0
        self._born = 0
        self._oom_kills = resources.oom_kills()
        self._send_lock = threading.Lock()
        #: Calls receivers, and handlers outside the executors; ``notices`` is what it is told.
        self.hooks = Attendant(nursery, selector, self, dispatch.wake)
        self.notices = self.hooks.notices
        #: The most tasks that one executor runs at once, where it is several; else None.
        self.widest: int | None = None
        #: Frames that each executor gets first, by what they are about.
        self.greeting: dict[str, bytes] = {}
        #: Events that were nothing but words of executors; the supervisor counts them.
        self.heard = 0
        self._unsent: set[int] = set()
        #: Wait status and peak memory (KiB) of children reaped before anybody knew their pid.
        self._strays: dict[int, tuple[int, int]] = {}

    # --- making -------------------------------------------------------------------------------
    def fill(self) -> None:
        """Make executors until there are enough, unless they die as fast as they are made."""
        if self.closing or time.monotonic() < self._respawn_at or self._nursery.sock is None:
            return
        if self.scale is not None:
            self._rescale(self.scale)
        try:
            self._make_missing()
        except (BlockingIOError, ConnectionError) as error:
            # The zygote is dead, which its own event is about to tell, or behind: at a later turn.
            logger.debug("The zygote does not take requests: %s", error)

    def _make_missing(self) -> None:
        alive = sum(1 for item in self.executors.values() if not item.retiring)
        while alive < self.size:
            self._make_executor()
            alive += 1

    def _rescale(self, scale: Autoscale) -> None:
        """Have as many as the work there is asks for; idle ones that are too many end."""
        busy = sum(1 for item in self.executors.values() if item.hand.held)
        self.size = self._scaled(scale, busy)
        alive = [item for item in self.executors.values() if not item.retiring]
        idle = [item for item in alive if item.hand.ready and not item.hand.held]
        for executor in idle[: max(0, len(alive) - self.size)]:
            self.retire(executor)

    def _scaled(self, scale: Autoscale, busy: int) -> int:
        """How many tasks at once are wanted, *busy* of them running now."""
        before, size = scale.size, scale.decide(time.monotonic(), busy, *self._dispatch.pressure())
        if size != before:
            logger.info("Autoscaling: %d task(s) at once (before: %d)", size, before)
        self._dispatch.spare = scale.spare
        return size

    def _make_executor(self) -> None:
        process = self._nursery.make(EXECUTOR, self._next_title())
        hand = Hand(process.index, lambda first, items: self._send(process, first, items))
        hand.left = self._max_tasks
        self._admit(Executor(process, hand))

    def _next_title(self) -> str:
        self._born += 1
        return f"celeriac: executor {self._born} {self._nursery.spec.hostname}"

    def _admit(self, executor: Executor) -> None:
        """Take a new executor in, and watch it."""
        process = executor.process
        self.executors[process.index] = executor
        self._selector.register(
            process.sock, selectors.EVENT_READ, lambda mask: self._on_socket(executor, mask)
        )
        if process.pid:
            pid, process.pid = process.pid, 0
            self.forked(process.index, pid)

    def forked(self, index: int, pid: int) -> None:
        """The process in slot *index* has *pid*."""
        if self.hooks.forked(index, pid):
            return
        executor = self.executors.get(index)
        if executor is not None and not executor.process.pid:
            self.know(executor.process, pid, lambda: self._bury(executor))

    def know(self, process: Process, pid: int, died: Callable[[], None]) -> None:
        """Watch *pid*, which is *process*; 0: it could not be forked."""
        if pid == 0:
            logger.error("The zygote could not fork: is there a limit on processes or memory?")
            died()
            return
        process.pid = pid
        try:
            process.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            died()  # so soon that it was reaped as a stray
            return
        self._strays.pop(pid, None)  # of an earlier process that had the same number
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda _mask: died())

    def zygote_died(self) -> None:
        """The zygote is gone: what it had not forked by then, it will not."""
        for executor in list(self.executors.values()):
            if executor.process.pid:
                continue
            executor.unclaimed = True
            if executor.silent_since is not None:
                self._bury(executor)
            else:
                self._on_socket(executor, selectors.EVENT_READ)
        self.hooks.zygote_died()

    # --- talking ------------------------------------------------------------------------------
    def _send(self, process: Process, first: int, items: list[Delivery]) -> None:
        """Write a Run frame; called under the dispatch's lock from any thread."""
        self.write(process, frames.encode(frames.Run(first, items)))

    def limit(self, task: str, soft: float | None) -> None:
        """Set the soft time limit of *task* in all executors, those yet to be made, too."""
        frame = self.greeting[task] = frames.encode(frames.SoftLimit(task, soft))
        for executor in self.executors.values():
            if executor.hand.ready:
                self.write(executor.process, frame)

    def write(self, process: Process, data: bytes) -> None:
        with self._send_lock:
            process.out += data
            try:
                del process.out[: process.sock.send(process.out)]
            except BlockingIOError:
                pass
            except OSError:
                return  # it is dying; its death accounts for what it holds
            if process.out:
                self._unsent.add(process.index)
                self._dispatch.wake()

    def flush(self) -> None:
        """Register sockets that could not take everything for writing."""
        self.hooks.flush()
        with self._send_lock:
            indexes, self._unsent = self._unsent, set()
        for index in indexes:
            executor = self.executors.get(index)
            if executor is not None and executor.silent_since is None:
                self._watch(executor, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _watch(self, executor: Executor, events: int) -> None:
        self._selector.modify(
            executor.process.sock, events, lambda mask: self._on_socket(executor, mask)
        )

    def _on_socket(self, executor: Executor, mask: int) -> None:
        if self.executors.get(executor.process.index) is not executor:
            return  # buried by an event that came in the same turn
        if mask & selectors.EVENT_WRITE:
            self._write_more(executor)
        if not mask & selectors.EVENT_READ:
            return
        if self._read(executor) != 0:
            self.heard += 1
        else:
            self._selector.unregister(executor.process.sock)
            executor.silent_since = time.monotonic()
            executor.hand.closed = True
            if executor.unclaimed and not executor.process.pid:
                self._bury(executor)

    def _write_more(self, executor: Executor) -> None:
        process = executor.process
        self.write(process, b"")
        if not process.out:
            self._watch(executor, selectors.EVENT_READ)

    def _read(self, executor: Executor) -> int:
        """Take in what the executor says; returns the bytes read, 0 at end of stream (or where it
        cannot be understood) and -1 if there is nothing to read now."""
        try:
            data = executor.process.sock.recv(frames.READ_SIZE)
        except BlockingIOError:
            return -1
        except ConnectionError:
            return 0
        results: list[tuple[int, Outcome, float]] = []
        count = len(data)
        try:
            for frame in executor.process.inbox.feed(data):
                if isinstance(frame, frames.Done):
                    if frame.outcome.state != states.SUCCEEDED and not frame.sound:
                        raise DecodeError("an outcome that cannot be committed")
                    results.append((frame.key, frame.outcome, frame.runtime))
                else:
                    self._hear(executor, frame)
        except DecodeError as error:
            # User code wrote into our socket. Nothing that follows can be trusted.
            logger.error("Executor %d: %s", executor.process.pid, error)
            self.kill(executor, "what it sent was no message")
            count = 0
        if results:
            self._finish(executor, results)
        self._end_if_spent(executor)
        return count

    def _hear(self, executor: Executor, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Ready):
            self.forked(executor.process.index, frame.pid)  # should its zygote have died meanwhile
            for each in self.greeting.values():
                self.write(executor.process, each)
            self._dispatch.join(executor.hand)
        elif isinstance(frame, frames.Update):
            held = executor.hand.held.get(frame.key)
            if not frame.sound:
                pid = executor.process.pid
                logger.warning("Executor %d: a state that is no text was not shown", pid)
            elif held is not None:
                self._dispatch.note_update(held.delivery.fence, frame.state, frame.meta)
        elif isinstance(frame, frames.Skipped):
            self._dispatch.skipped(executor.hand, frame.key)
        elif isinstance(frame, frames.Broken):
            self._nursery.note_refusal(frame)

    def _finish(self, executor: Executor, results: list[tuple[int, Outcome, float]]) -> None:
        hand = executor.hand
        above = executor.hold_above
        if above is not None and any(key == above for key, _, _ in results):
            executor.hold_above = None
            # What stood behind the long run stays held (the executor says Skipped); keys given
            # out from now on may begin.
            self._nursery.slots.hold(executor.process.index, above + 1, hand.next_key)
            hand.closed = executor.spent
        self._respawn_delay = 0.0
        self._dispatch.done(hand, results)

    def _end_if_spent(self, executor: Executor) -> None:
        """An executor that holds nothing any more and should not be given anything ends now."""
        hand = executor.hand
        if hand.held:
            return
        if executor.doomed:
            self.kill(executor, executor.doomed)  # it outlived the signal that was to end its task
        elif executor.over_memory or (hand.left is not None and hand.left <= 0):
            self.retire(executor)

    # --- ending -------------------------------------------------------------------------------
    def retire(self, executor: Executor) -> None:
        """Let an executor end after what it runs now, and make another in its place."""
        if executor.retiring:
            return
        executor.retiring = True
        executor.hand.closed = True
        self.write(executor.process, frames.encode(frames.Stop()))
        self.fill()

    def kill(self, executor: Executor, why: str, number: int = signal.SIGKILL) -> None:
        """End an executor now; the first *why* goes into the report. SIGKILL ends one that
        outlived another signal."""
        if not executor.process.pid or (executor.doomed and number != signal.SIGKILL):
            return
        executor.doomed = executor.doomed or why
        executor.hand.closed = True
        os.kill(executor.process.pid, number)

    def _bury(self, executor: Executor) -> None:
        """An executor is dead: read its pipe to the end, then judge."""
        process = executor.process
        if self.executors.get(process.index) is not executor:
            return  # buried by an event that came in the same turn
        if process.pidfd >= 0:
            self._selector.unregister(process.pidfd)
        while self._read(executor) > 0:
            pass
        try:
            self._selector.unregister(process.sock)
        except KeyError:
            logger.debug("Socket of executor %d was closed before", process.pid)
        self._account(executor, self._post_mortem(executor))

    def _account(self, executor: Executor, death: Death) -> None:
        process, hand = executor.process, executor.hand
        held = self._dispatch.remove(hand)
        begun = [held.pop(key) for key in self.begun(executor) if key in held]
        del self.executors[process.index]
        self._nursery.give_back(process)
        if not (executor.retiring or executor.doomed):
            self._slow_down(executor, bool(hand.ran or begun))
        self._on_death(death, begun)
        self._dispatch.requeue(held.values())
        self.fill()

    def end_run(self, held: Held, outcome: Outcome, how: str, stack: str = "") -> None:
        """Settle a run that we ended, or that died with its executor: tell, commit, handlers."""
        name = f"{held.name}[{held.delivery.id}]"
        last = f"\nThe last Python stack was:\n{stack}" if stack else ""
        extra = marks(held.delivery, held.name)
        logger.error("Task %s: %s; %s%s", name, how, what_follows(outcome), last, extra=extra)
        self._dispatch.commit(held.delivery.fence, outcome)
        self.notices.ended(held.delivery, outcome)
        if held.facts.hooks and (outcome.terminal or outcome.charge == "retry"):
            self.notices.hook(held.delivery, outcome)

    def _post_mortem(self, executor: Executor) -> Death:
        process = executor.process
        if not process.pid:
            logger.error("An executor was not made: its zygote could not, or ended before")
            return Death(0, None, 0, 0)
        status, peak = self.reap(process.pid)
        kills = resources.oom_kills()
        near = peak * 1024 > 0.9 * resources.memory_limit()
        oom = kills > self._oom_kills or near
        self._oom_kills = kills
        return judge(
            process.pid, status, peak, ordered=executor.doomed, oom=oom, stack=process.stack()
        )

    def reap(self, pid: int) -> tuple[int, int]:
        """Wait status and peak memory in KiB of an ended child."""
        if pid in self._strays:
            return self._strays.pop(pid)
        try:
            _, status, usage = os.wait4(pid, 0)
        except ChildProcessError:
            return signal.SIGKILL, 0  # reaped as a stray and since forgotten
        return status, usage.ru_maxrss

    def reap_strays(self) -> None:
        """Reap children that are nobody's: as sub-reaper we inherit what tasks leave behind, and
        they would stay zombies as long as the worker lives."""
        known = {executor.process.pid for executor in self.executors.values()}
        known |= {self._nursery.pid, self.hooks.pid}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in known:
                return
            _, status, usage = os.wait4(found.si_pid, 0)
            while len(self._strays) >= _STRAYS_KEPT:
                self._strays.pop(next(iter(self._strays)))
            self._strays[found.si_pid] = (status, usage.ru_maxrss)

    def _slow_down(self, executor: Executor, useful: bool) -> None:
        """Executors that die at birth must not be made a hundred times a second."""
        now = time.monotonic()
        old = executor.process.pid and now - executor.process.born > _YOUNG_SECONDS
        if useful or old or now < self._respawn_at:
            return  # several that are born together count once
        self._respawn_delay = min(_RESPAWN_MAX, max(0.1, self._respawn_delay * 2))
        self._respawn_at = now + self._respawn_delay
        logger.error(
            "An executor ended before it could run anything; the next one is made in %.1f s",
            self._respawn_delay,
        )

    def kill_all(self, why: str) -> None:
        """Kill every executor."""
        for executor in list(self.executors.values()):
            self.kill(executor, why)

    # --- holds --------------------------------------------------------------------------------
    def begun(self, executor: Executor) -> list[int]:
        """Keys of what has begun last; only an outcome tells whether it still runs."""
        return [self._nursery.slots.running(executor.process.index)[0]]

    def hold_back(self, executor: Executor) -> None:
        """Keep everything from beginning that has not begun; to be collected one tick later."""
        if executor.hold_above is None:
            self.close_behind(executor, self.begun(executor)[0])

    def terminate(self, executor: Executor, key: int, number: int, why: str = "") -> bool:
        """End a run, revoked or for *why*; False: to be asked again at the next turn."""
        if executor.hold_above != key:
            # Nothing else may begin in that process before the signal arrives: hold now, signal
            # at the next turn.
            self.close_behind(executor, key)
            return False
        self.kill(executor, why or f"revoked, {signal.Signals(number).name}", number)
        return True

    def outgrown(self, executor: Executor) -> None:
        """It uses more memory than it may: it ends once nothing runs in it."""
        executor.over_memory = True
        executor.hand.closed = True  # else it would never be idle while there is work
        if not executor.hand.held:
            self.retire(executor)

    def close_behind(self, executor: Executor, key: int) -> None:
        """Keep everything behind *key* from beginning; collect it one tick later."""
        executor.hold_above = key
        executor.hand.closed = True
        self._nursery.slots.hold(executor.process.index, key + 1)

    def collect_held_back(self, executor: Executor) -> list[Held]:
        """Deliveries behind the hold, which certainly have not begun."""
        key, _ = self._nursery.slots.running(executor.process.index)
        above = max(key, executor.hold_above or 0)
        return self._dispatch.take_back(executor.hand, above)


def what_follows(outcome: Outcome) -> str:
    """What becomes of a task whose run ended so, for the log."""
    if outcome.state == states.QUEUED:
        return "it runs again at once"
    if outcome.state == states.SCHEDULED:
        return f"it runs again in {outcome.delay:.1f} s"
    if outcome.state == states.DEAD:
        return "it is put aside as dead"
    return f"it has {'been revoked' if outcome.state == states.CANCELLED else 'failed'}"


__all__ = ["LONG_SECONDS", "Executor", "OnDeath", "Prefork", "what_follows"]
