"""Tasks and workers of a year, event by event (SimPy): claim, train, vanish, lapse, sweep, resume.

As the service does it: a model's tasks one after another, owners in turns, a lease that a vanished
worker leaves behind, sweeps that find it, checkpoints in the store every so often, three tries
without an epoch. One try is one event: what it had done when it was cut off is worked out then.
"""

import math
from collections.abc import Generator, Sequence
from random import Random
from typing import Any, cast

import simpy

from benchmarks.simulated_company import DAY, Post
from benchmarks.simulated_inputs import Assumptions, Rules
from benchmarks.simulated_tasks import Account, End, Outage, Queue, Task

Doing = Generator[simpy.Event, Any, None]
VANISHED, LEASE_LOST = "vanished", "lease lost"
HOME = 0
"""The region that has the database; the other one has workers and replicas alone."""


class Year:
    """Workers of two regions, and what they make of a year's posts.

    Args:
        posts: in their order.
        days: how long it is.
        seed: of losses, sweeps and the gate.
        assumed: how many machines, how they vanish.
        rules: the service's.
        outage: a region that is down for a while, if one is.
    """

    def __init__(
        self,
        posts: Sequence[Post],
        days: float,
        seed: int,
        assumed: Assumptions,
        rules: Rules,
        outage: Outage | None,
    ) -> None:
        self._posts, self._ends, self._seed = posts, days * DAY, seed
        self._assumed, self._rules, self._outage = assumed, rules, outage
        self._env = simpy.Environment()
        self._rng = Random(f"sweeps {seed}")
        self._queue = Queue()
        self._idle: list[simpy.Event] = []
        self._trying: dict[simpy.Process, tuple[int, float]] = {}
        """Who trains: its region, and since when."""
        self._alive = 0
        self._arrival = self._env.event()
        self._down: int | None = None
        self._goes_down = [self._env.event(), self._env.event()]
        self._comes_back = self._env.event()
        self._there: dict[object, float] = {}
        """Since when each machine is there."""
        self._busy_since = 0.0
        self.account = Account()

    def run(self) -> Account:
        """Let it pass."""
        self._env.process(self._post())
        if self._outage is not None:
            self._env.process(self._fall(self._outage))
        for number in range(int(self._assumed.gpus)):
            self._env.process(self._machine(number % 2, Random(f"gpu {self._seed} {number}")))
        self._env.run(until=self._ends)
        self._note_busy()
        self.account.paid += sum(self._ends - since for since in self._there.values())
        self.account.in_hand = sum(self._ends - since for _, since in self._trying.values())
        return self.account

    @property
    def _database_down(self) -> bool:
        return self._down == HOME

    def _post(self) -> Doing:
        """Post what is to be posted; while the database is down, clients come again."""
        for sequence, post in enumerate(self._posts):
            yield self._env.timeout(max(0.0, post.at - self._env.now))
            if self._database_down:
                yield self._comes_back
            self.account.posts_delayed += self._env.now - post.at > 1
            task = Task(post, sequence)
            self.account.tasks.append(task)
            self._wake(self._queue.add(task))

    def _fall(self, outage: Outage) -> Doing:
        """Take a region away and give it back; without the database leases run out everywhere."""
        yield self._env.timeout(outage.begins)
        self._down = outage.region
        self._goes_down[outage.region].succeed()
        lasts = outage.ends - outage.begins
        if outage.region == HOME:
            lease = min(self._rules.lease, lasts)
            yield self._env.timeout(lease)
            if lease == self._rules.lease:
                for process, (region, _) in list(self._trying.items()):
                    if region != HOME:
                        process.interrupt(LEASE_LOST)
            lasts -= lease
        yield self._env.timeout(lasts)
        self._down = None
        self._goes_down[outage.region] = self._env.event()
        self._comes_back.succeed()
        for bell in self._idle[:]:
            self._idle.remove(bell)
            bell.succeed()

    def _machine(self, region: int, rng: Random) -> Doing:
        """A place for a GPU: one comes, works until it is taken away, and after a while another."""
        place = object()
        while True:
            if self._down == region:
                yield self._comes_back
            self._there[place] = self._env.now
            body = self._env.process(self._work(region))
            mean = 3600 * self._assumed.gpu_hours_between_losses
            yield self._env.timeout(rng.expovariate(1 / mean)) | self._goes_down[region]
            self.account.paid += self._env.now - self._there.pop(place)
            self.account.vanished += 1
            body.interrupt(VANISHED)
            mean = 60 * self._assumed.gpu_back_minutes
            yield self._env.timeout(rng.expovariate(1 / mean))

    def _work(self, region: int) -> Doing:
        """One worker until it vanishes."""
        there = False
        try:
            yield self._env.timeout(self._assumed.gpu_boot_seconds)
            there = True
            self._alive += 1
            self._arrival.succeed()
            self._arrival = self._env.event()
            while True:
                task = None if self._database_down else self._queue.take()
                if task is None:
                    yield from self._listen()
                else:
                    yield from self._try(task, region)
        except simpy.Interrupt:
            self._alive -= there

    def _listen(self) -> Doing:
        bell = self._env.event()
        self._idle.append(bell)
        try:
            yield bell
        except simpy.Interrupt:
            if bell in self._idle:
                self._idle.remove(bell)
            else:
                self._wake(True)  # it rang as this one vanished: somebody else is to hear it
            raise

    def _wake(self, can_be_taken: bool) -> None:
        if can_be_taken and self._idle and not self._database_down:
            self._idle.pop(0).succeed()

    def _try(self, task: Task, region: int) -> Doing:
        """Train a task to its end, or until the machine or the lease is gone."""
        env, post = self._env, task.post
        began, me = env.now, cast(simpy.Process, env.active_process)
        if task.claimed_at is None:
            task.claimed_at = began
        if task.lost_at is not None:
            self.account.resumed_after.append(began - task.lost_at)
            task.lost_at = None
        task.end, task.tries = End.RUNNING, task.tries + 1
        self._note_busy()
        self._trying[me] = (region, began)
        takes = post.before + post.epoch * (post.epochs - task.kept) + post.after
        try:
            yield env.timeout(takes)
            if self._database_down:
                yield self._comes_back  # nothing can be registered; the lease may run out first
                self.account.lost += env.now - began - takes
        except simpy.Interrupt as interrupt:
            self._lose(task, began, str(interrupt.cause))
            if interrupt.cause == VANISHED:
                raise
            return
        finally:
            self._note_busy()
            del self._trying[me]
        self.account.useful += takes
        held = Random(f"gate {self._seed} {task.sequence}").random() < self._assumed.held_share
        self._finish(task, End.HELD if held else End.LIVE)

    def _finish(self, task: Task, end: End) -> None:
        task.end, task.ended_at = end, self._env.now
        self._wake(self._queue.release(task, again=False))

    def _lose(self, task: Task, began: float, cause: str) -> None:
        """Keep what the store has of a try that was cut off; the lease is left to run out."""
        now, post = self._env.now, task.post
        # While the database is down no row can name a newer checkpoint.
        noted = self._outage.begins if self._database_down and self._outage else now
        trained = max(0.0, noted - began - post.before)
        left = post.epochs - task.kept
        # One pass is written as a result alone, no checkpoint.
        finished = min(left, math.floor(trained / post.epoch)) if post.epochs > 1 else 0
        looks = math.floor(trained / self._rules.checkpoint_seconds)
        shared = min(finished, math.floor(looks * self._rules.checkpoint_seconds / post.epoch))
        if task.kept + finished > task.furthest:
            task.furthest, task.tries = task.kept + finished, 0
        task.kept += shared
        self.account.useful += shared * post.epoch
        self.account.lost += now - began - shared * post.epoch
        self.account.tries_lost += 1
        task.lost_at = now
        self._env.process(self._lapse(task, cause))

    def _lapse(self, task: Task, cause: str) -> Doing:
        """Wait until the lease has run out and a sweep finds it."""
        if cause == VANISHED:
            since = self._rng.uniform(0, self._rules.heartbeat)
            yield self._env.timeout(self._rules.lease - since)
        if self._database_down:
            yield self._comes_back
        while not self._alive:
            yield self._arrival
        yield self._env.timeout(self._rng.uniform(0, self._rules.sweep) / max(1, self._alive))
        if task.tries >= self._rules.max_tries:
            self._finish(task, End.FAILED)
            return
        task.end = End.WAITING
        self._wake(self._queue.release(task, again=True))

    def _note_busy(self) -> None:
        self.account.busy[len(self._trying)] += self._env.now - self._busy_since
        self._busy_since = self._env.now
