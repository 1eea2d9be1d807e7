"""Replicas of one service in simulated time, and the sidecar before them.

Each call goes to the one with the fewest.

Knows what a replica costs, and not when replicas come and go (`benchmarks.autoscaler`) or how they work.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import simpy

from benchmarks.replica import Edit, Machine, Outcome, Replica, Waits

MAX_CALLS = 24
"""Calls in flight at one replica, further ones wait in the sidecar: `max_concurrent_streams` of sidecar.yaml."""


@dataclass
class Fleet:
    """The replicas of a service, and the sidecar before them.

    Least request, ties at random.

    policy: the kind of replica. load_seconds: from a new replica's start until it takes calls; its GPU is paid from the
    start until its last job is done.
    """

    env: simpy.Environment
    policy: type[Replica]
    machine: Machine
    dice: random.Random
    load_seconds: float
    replicas: list[Replica] = field(default_factory=list)
    gone: list[Replica] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    _pending: deque[simpy.Event] = field(default_factory=deque)
    _expected: int = 0

    def __post_init__(self) -> None:
        self._over = self.env.event()

    def add(self, *, loaded: bool = False) -> None:
        """Start a replica. loaded: it takes calls at once."""
        replica = self.policy(self.env, self.machine, random.Random(self.dice.random()))
        self.replicas.append(replica)
        self.env.process(self._load(replica, 0.0 if loaded else self.load_seconds))

    def remove(self) -> None:
        """End a replica: one that still loads, else the newest; it finishes what it has."""
        replica = min(self.replicas, key=lambda member: (member.ready, -member.started))
        self.replicas.remove(replica)
        self.gone.append(replica)
        replica.draining = True
        if not replica.calls:
            replica.ended = self.env.now

    @property
    def depth(self) -> int:
        """Jobs that run or wait at all replicas."""
        return sum(replica.depth for replica in (*self.replicas, *self.gone))

    def gpu_hours(self) -> float:
        """The cost until now."""
        return sum(min(r.ended, self.env.now) - r.started for r in (*self.replicas, *self.gone)) / 3600

    def serve(self, edits: Sequence[Edit]) -> None:
        """Send the edits at their times and run until the last has ended."""
        if edits:
            self._expected = len(edits)
            self.env.process(self._arrive(edits))
            self.env.run(self._over)

    def _arrive(self, edits: Sequence[Edit]) -> Waits:
        for edit in sorted(edits, key=lambda edit: edit.at):
            yield self.env.timeout(edit.at - self.env.now)
            self.env.process(self._call(edit))

    def _load(self, replica: Replica, seconds: float) -> Waits:
        yield self.env.timeout(seconds)
        replica.ready = True
        while self._pending:
            self._pending.popleft().succeed()

    def _call(self, edit: Edit) -> Waits:
        while (replica := self._pick()) is None:
            waiting = self.env.event()
            self._pending.append(waiting)
            yield waiting
        replica.calls += 1
        yield self.env.timeout(self.machine.overhead)
        end = yield replica.take(edit)
        replica.calls -= 1
        if replica.draining and not replica.calls:
            replica.ended = self.env.now
        if self._pending:
            self._pending.popleft().succeed()
        self.outcomes.append(Outcome(edit, end, self.env.now - edit.at))
        if len(self.outcomes) == self._expected:
            self._over.succeed()

    def _pick(self) -> Replica | None:
        """The replica with the fewest calls; None where all have as many as they may."""
        free = [replica for replica in self.replicas if replica.ready and replica.calls < MAX_CALLS]
        if not free:
            return None
        fewest = min(replica.calls for replica in free)
        return self.dice.choice([replica for replica in free if replica.calls == fewest])
