"""What goes wrong, and when. All of it ends when the rough time does."""

from simulation.failover import Past
from simulation.world import Actor


class Faults:
    """Draws faults for the rough time of one seed."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.world = simulation.world
        self._fate = Actor("fate")

    def draw(self, until):
        """Set the network's shares, and when what happens."""
        world, network = self.world, self.simulation.network
        network.loss = world.random.choice([0.0, 0.02, 0.1, 0.25])
        network.repeat = world.random.choice([0.0, 0.05, 0.2])
        network.slow = world.random.choice([0.0, 0.0, 0.05, 0.2])
        kinds = [
            self.kill_worker, self.kill_worker, self.stop_worker, self.pause_worker,
            self.pause_worker, self.pause_supervisor, self.pause_supervisor, self.kill_executor,
            self.kill_executor, self.outage, self.restart, self.set_clock, self.sleep,
        ]  # fmt: skip
        if "boots" in self.simulation.features:
            kinds += [self.boot] * 4
        if network.tells_run:
            kinds += [self.fail_over] * 4
        if network.far is not None:
            network.far.loss = world.random.choice([0.0, 0.1, 0.25])
            network.far.slow = world.random.choice([0.0, 0.2])
            kinds += [self.far_away] * 4
        for _ in range(world.random.randint(0, 9)):
            kind = world.random.choice(kinds)
            world.after(world.between(0.5, until), self._fate, kind)

    def _worker(self):
        """One that runs something, rather than one that does not."""
        alive = [each for each in self.simulation.workers if each.alive and not each.paused]
        busy = [each for each in alive if any(hand.held for hand in each.dispatch.hands.values())]
        found = busy if busy and self.world.chance(0.8) else alive
        return self.world.random.choice(found) if found else None

    def _length(self):
        """Of a stop: within the lease, or beyond it."""
        within = self.world.chance(0.3)
        return self.world.between(0.5, 12.0) if within else self.world.between(14.0, 40.0)

    def kill_worker(self):
        worker = self._worker()
        if worker is not None:
            worker.die("killed")

    def stop_worker(self):
        worker = self._worker()
        if worker is not None:
            worker.stop()

    def pause_worker(self):
        worker = self._worker()
        if worker is not None:
            self._pause(worker.everything(), self._length())

    def pause_supervisor(self):
        """Its executors run on."""
        worker = self._worker()
        if worker is not None:
            self._pause([worker], self._length())

    def _pause(self, actors, seconds):
        self.world.tell(actors[0].name, "stopped for %.1f s (%d processes)", seconds, len(actors))
        for each in actors:
            self.world.pause(each)

        def go_on():
            self.world.tell(actors[0].name, "goes on")
            for each in actors:
                self.world.resume(each)

        self.world.after(seconds, self._fate, go_on)

    def kill_executor(self):
        worker = self._worker()
        if worker is None:
            return
        processes = [each for each in worker.pool.processes.values() if each.alive]
        busy = [each for each in processes if each.running] or processes
        if busy:
            self.world.random.choice(busy).die("killed from outside")

    def boot(self):
        """The machine that the store and its workers are on starts anew. The store has kept what
        it acknowledged."""
        self.world.tell("everything", "on this machine ends, and it starts anew")
        self.simulation.reopen()
        for worker in list(self.simulation.workers):
            worker.die("ended with its machine")
        self.restart()

    def fail_over(self):
        """The server dies in a moment, and its replica takes over, which hears nothing any more
        from now on."""
        past = Past(self.simulation)

        def take_over():
            if self.world.rough and past.come_back():
                self.world.tell("store", "another server has what this one had %.1f s ago", seconds)
                self.restart()

        seconds = self.world.between(0.05, 8.0)
        self.world.after(seconds, self._fate, take_over)

    def outage(self):
        self._away(self.world.between(1.0, 25.0))

    def restart(self):
        """Every connection is cut; what was under way is answered by nobody."""
        self.simulation.network.epoch += 1
        self._away(self.world.between(0.0, 3.0))

    def _away(self, seconds):
        self.world.tell("store", "cannot be reached for %.1f s", seconds)
        network = self.simulation.network
        if network.doorbell is not None:
            network.doorbell.cut()
        network.down_until = max(network.down_until, self.world.now + seconds)

    def far_away(self):
        """The store of results cannot be reached."""
        seconds = self.world.between(1.0, 25.0)
        self.world.tell("results", "cannot be reached for %.1f s", seconds)
        self.simulation.network.far.down_until = self.world.now + seconds

    def set_clock(self):
        # Not far back: what is due at a time of day would rightly wait for it once more.
        step = self.world.random.choice([-20.0, -9.0, -5.0, 5.0, 9.0, 20.0, 3600.0])
        self.world.tell("store", "its wall clock is set by %g s", step)
        self.simulation.clock.ahead += step
        self.simulation.clock.set_back |= step < 0

    def sleep(self):
        seconds = self.world.between(5.0, 40.0)
        self.world.tell("everything", "sleeps for %.1f s", seconds)
        self.world.sleep(seconds)
        self.simulation.watch.lifetimes.disturb(seconds)
