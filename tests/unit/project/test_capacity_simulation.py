"""The capacity benchmark's parts.

Replicas, balancing, KEDA's rules, a day, and the prediction of a real run.
"""

import itertools
import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
import simpy

from benchmarks import capacity
from benchmarks.autoscaler import FOLDER, Autoscaler, Rules
from benchmarks.fleet import MAX_CALLS, Fleet
from benchmarks.fleet_run import Run
from benchmarks.replica import MAX_WAITING, Durations, Edit, EngineReplica, LockReplica, Machine, Replica, Waits

pytestmark = pytest.mark.slow

TAKES = Durations(prepare=1.0, step=1.0, decode=1.0)
EXACT = Machine(noise=0.0)
LOADING = 120.0
BOTH = pytest.mark.parametrize("policy", [EngineReplica, LockReplica])


class BusyForever(Replica):
    """Takes every edit and never ends one."""

    def refuses(self, job: object) -> bool:
        return False

    def turn(self) -> Waits:
        yield self._env.event()


def edit(at: float, steps: int, patience: float = 1e6) -> Edit:
    return Edit(at, steps, 1024, patience, TAKES)


def fleet_of(policy: type[Replica], replicas: int, machine: Machine = EXACT) -> Fleet:
    fleet = Fleet(simpy.Environment(), policy, machine, random.Random(1), LOADING)
    for _ in range(replicas):
        fleet.add(loaded=True)
    return fleet


def autoscaled(policy: type[Replica]) -> Autoscaler:
    scaler = Autoscaler(Rules.read(FOLDER / "fill.yaml"), fleet_of(policy, 0))
    scaler.start()
    return scaler


def poisson(count: int, every: float) -> list[Edit]:
    dice, at, found = random.Random(3), 0.0, []
    for _ in range(count):
        at += dice.expovariate(1 / every)
        steps = dice.choice((4, 12))
        found.append(edit(at, steps, dice.choice((2.0, 8.0)) * TAKES.solo(steps)))
    return found


@BOTH
@pytest.mark.parametrize("every", [1.0, 3.0, 20.0])
def test_every_edit_ends_exactly_once_at_every_load(policy: type[Replica], every: float) -> None:
    edits = poisson(400, every)
    fleet = fleet_of(policy, 2, Machine())
    fleet.serve(edits)
    assert Counter(id(outcome.edit) for outcome in fleet.outcomes) == Counter(map(id, edits))
    assert all(outcome.latency >= 0 for outcome in fleet.outcomes)
    assert fleet.depth == 0
    busy = sum(o.edit.durations.solo(o.edit.steps) for o in fleet.outcomes if o.end == "finished")
    assert busy <= 1.1 * 2 * fleet.env.now  # no device does two things at once


@BOTH
def test_no_edit_is_lost_while_replicas_come_and_go(policy: type[Replica]) -> None:
    scaler = autoscaled(policy)
    edits = [*poisson(300, 3.0), edit(20_000.0, 4)]
    scaler.fleet.serve(edits)
    sizes = [size for _, size in scaler.sizes]
    assert max(sizes) > 2
    assert sizes[-1] == 1
    assert Counter(id(outcome.edit) for outcome in scaler.fleet.outcomes) == Counter(map(id, edits))


def test_an_urgent_edit_overtakes_a_long_one_in_ours_and_not_behind_the_lock() -> None:
    trace = [edit(0.0, 28, patience=60.0), edit(4.5, 4, patience=10.0)]
    ours, lock = (fleet_of(policy, 1, Machine(noise=0.0, max_batch=1)) for policy in (EngineReplica, LockReplica))
    ours.serve(trace)
    lock.serve(trace)
    assert {outcome.edit.steps: outcome.latency for outcome in ours.outcomes} == {4: 6.5, 28: 36.0}
    assert {outcome.edit.steps: outcome.met for outcome in ours.outcomes} == {4: True, 28: True}
    assert {outcome.edit.steps: outcome.met for outcome in lock.outcomes} == {4: False, 28: True}


def test_the_lock_is_first_come_first_served() -> None:
    edits = [edit(0.1 * number, 28 - number) for number in range(10)]
    fleet = fleet_of(LockReplica, 1)
    fleet.serve(edits)
    assert [outcome.edit for outcome in fleet.outcomes] == edits
    assert fleet.env.now == pytest.approx(sum(TAKES.solo(member.steps) for member in edits))


def test_ours_refuses_what_cannot_be_done_and_what_is_too_much() -> None:
    known = [edit(0.0, 4), edit(50.0, 4), edit(100.0, 4)]
    hopeless = edit(150.0, 28, patience=5.0)
    crowd = [edit(200.0, 4) for _ in range(MAX_WAITING + 3)]
    fleet = fleet_of(EngineReplica, 1)
    fleet.serve([*known, hopeless, *crowd])
    refused = [outcome.edit.at for outcome in fleet.outcomes if outcome.end == "refused"]
    assert refused == [150.0, 200.0, 200.0, 200.0]


def test_a_batch_that_saves_is_made_and_one_that_does_not_is_not() -> None:
    edits = [edit(0.0, 28) for _ in range(8)]
    lasted = {}
    for part in (0.1, 1.0):
        fleet = fleet_of(EngineReplica, 1, Machine(noise=0.0, batch_share=part))
        fleet.serve(edits)
        lasted[part] = fleet.env.now
    assert lasted[1.0] == pytest.approx(8 * TAKES.solo(28))
    assert lasted[0.1] < 0.6 * lasted[1.0]


def test_calls_go_to_the_replica_with_the_fewest() -> None:
    fleet = fleet_of(BusyForever, 3)
    for _ in range(7):
        fleet.env.process(fleet._call(edit(0.0, 4)))
    fleet.env.run(1.0)
    assert sorted(replica.calls for replica in fleet.replicas) == [2, 2, 3]


def test_calls_beyond_the_budget_of_a_replica_wait_until_another_is_there() -> None:
    fleet = fleet_of(BusyForever, 1)
    for _ in range(MAX_CALLS + 5):
        fleet.env.process(fleet._call(edit(0.0, 4)))
    fleet.env.run(1.0)
    assert fleet.depth == MAX_CALLS
    fleet.add()
    fleet.env.run(1.0 + LOADING - 0.1)
    assert [replica.calls for replica in fleet.replicas] == [MAX_CALLS, 0]
    fleet.env.run(1.0 + LOADING + 0.1)
    assert [replica.calls for replica in fleet.replicas] == [MAX_CALLS, 5]


def test_a_replica_is_paid_from_its_start_until_its_last_job_is_done() -> None:
    fleet = fleet_of(LockReplica, 2)
    for _ in range(2):
        fleet.env.process(fleet._call(edit(0.0, 1798)))  # 1800 s
    fleet.env.run(900.0)
    fleet.remove()
    fleet.env.run(3600.0)
    assert fleet.gpu_hours() == 1.5
    fleet.add()
    fleet.env.run(3600.0 + LOADING / 2)
    fleet.remove()
    assert len(fleet.replicas) == 1
    assert fleet.gpu_hours() == pytest.approx(1.5 + 2 * LOADING / 2 / 3600)


def test_keda_adds_as_many_replicas_as_it_may_when_it_may() -> None:
    scaler = autoscaled(BusyForever)
    for _ in range(12):  # 12 jobs, 2 per replica: 6 are wished, 2 may come a minute, the first look is at 15 s
        scaler.fleet.env.process(scaler.fleet._call(edit(0.0, 4)))
    scaler.fleet.env.run(75.0 + LOADING - 1)
    assert scaler.sizes == [(0.0, 1), (15.0, 3), (75.0, 5), (135.0, 6)]
    assert sum(replica.ready for replica in scaler.fleet.replicas) == 3  # the others still load


def test_keda_keeps_to_its_maximum_and_minds_no_small_difference() -> None:
    for jobs, size in ((200, 8), (2, 1), (3, 2)):
        scaler = autoscaled(BusyForever)
        for _ in range(jobs):
            scaler.fleet.env.process(scaler.fleet._call(edit(0.0, 4)))
        scaler.fleet.env.run(1000.0)
        assert scaler.sizes[-1][1] == size


def test_keda_takes_replicas_away_one_by_one_after_ten_quiet_minutes() -> None:
    scaler = autoscaled(BusyForever)
    for _ in range(8):
        scaler.fleet.env.process(scaler.fleet._call(edit(0.0, 4)))
    scaler.fleet.env.run(300.0)
    for replica in scaler.fleet.replicas:
        replica.jobs.clear()
    scaler.fleet.env.run(2000.0)
    assert [size for _, size in scaler.sizes] == [1, 3, 4, 3, 2, 1]
    falls = [at for at, _ in scaler.sizes[3:]]
    assert 900.0 <= falls[0] <= 900.0 + scaler.rules.average
    assert all(after - at == 120.0 for at, after in itertools.pairwise(falls))


@pytest.mark.parametrize("service", ["fill", "qwen-edit", "segmentation"])
def test_the_rules_are_those_of_the_cluster(service: str) -> None:
    rules = Rules.read(FOLDER / f"{service}.yaml")
    assert rules.minimum == 1
    assert rules.average == 60.0
    assert rules.up.window < rules.down.window


def test_rules_that_are_not_simulated_are_refused(tmp_path: Path) -> None:
    text = (FOLDER / "fill.yaml").read_text(encoding="utf-8")
    for old, new in (("type: Pods, value: 2", "type: Percent, value: 100"), ("avg_over_time", "max_over_time")):
        file = tmp_path / "changed.yaml"
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=r"not simulated|not an average"):
            Rules.read(file)


def test_arrivals_follow_the_curve_of_the_day() -> None:
    load = capacity.Load(peak=2000, trough=0.1, rush=2.0)
    hours = Counter(int(at / 1800) / 2 for at in load.arrivals(24, random.Random(1)))
    for hour in (3.0, 9.0, 15.0, 20.0, 20.5):
        expected = load.per_hour(hour + 0.25) / 2
        assert hours[hour] == pytest.approx(expected, abs=5 * math.sqrt(expected))
    assert load.per_hour(15.0) == pytest.approx(2000)
    assert load.per_hour(3.0) == pytest.approx(200)


def test_an_hour_ends_with_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(["--hours", "1", "--peak", "600", "--fixed", "1", "--real-seconds", "0"])
    *table, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["days"]
    assert [(row["replicas"], row["policy"]) for row in rows] == [
        ("keda", "ours"),
        ("keda", "lock"),
        (1, "ours"),
        (1, "lock"),
    ]
    assert len(table) == len(rows)
    assert len({row["edits"] for row in rows}) == 1
    for row in rows:
        assert row["in_time"] + row["refused"] + row["late"] == pytest.approx(1.0)
        assert row["gpu_hours"] >= 0.99


def test_the_same_seed_gives_the_same_day(capsys: pytest.CaptureFixture[str]) -> None:
    days = []
    for seed in ("1", "1", "2"):
        capacity.main(["--hours", "0.5", "--peak", "600", "--fixed", "--seeds", seed, "--real-seconds", "0"])
        days.append([row | {"cpu_seconds": 0} for row in json.loads(capsys.readouterr().out.splitlines()[-1])["days"]])
    assert days[0] == days[1] != days[2]


def test_a_run_that_went_as_simulated_is_predicted_well() -> None:
    fleet = fleet_of(EngineReplica, 2, Machine(overhead=0.5, noise=0.0, max_batch=1))
    fleet.serve(poisson(150, 8.0))
    run = Run(fleet.outcomes, overhead=0.5, seconds=fleet.env.now)
    measured, predicted = capacity.figures(run.outcomes, run.seconds), capacity.predict(run, seed=2)
    assert predicted["per_second"] == pytest.approx(measured["per_second"], rel=0.02)
    assert predicted["p50"] == pytest.approx(measured["p50"], rel=0.1)
    assert predicted["p95"] == pytest.approx(measured["p95"], rel=0.15)
