"""The cost model: a line through noisy durations, and what it decides."""

import asyncio
from typing import Any

import numpy as np
import pytest

from services.diffusion.engine.adapter import Workload
from services.diffusion.engine.cost import DOUBT, TRUSTED, CostModel, Estimate, Line
from services.diffusion.engine.engine import Engine
from tests.support.engine import Clockwork, Task, finish, with_engine


def workload(tokens: int = 100, passes: int = 1, steps: int = 10, key: str | None = "k") -> Workload:
    return Workload(steps=steps, tokens=tokens, passes=passes, nbytes=0, batch_key=key)


def test_nothing_is_predicted_from_nothing() -> None:
    assert Line().predict(100) is None
    assert CostModel().left(workload()) is None
    assert not CostModel().batch_pays(workload(), 2)


def test_one_amount_of_work_is_taken_as_proportional() -> None:
    line = Line()
    for _ in range(3):
        line.observe(100, 2.0)
    assert line.predict(200) == pytest.approx(4.0)
    assert not line.knows_overhead


def test_a_line_is_found_in_noise() -> None:
    line, noise = Line(), np.random.default_rng(0)
    for _ in range(200):
        work = float(noise.integers(100, 5000))
        line.observe(work, (0.05 + 2e-4 * work) * noise.normal(1, 0.05))
    for work in (200, 4000):
        assert line.predict(work) == pytest.approx(0.05 + 2e-4 * work, rel=0.15)


def test_it_follows_a_machine_that_changes_its_speed() -> None:
    line = Line()
    for factor in (1.0, 3.0):
        for step in range(300):
            work = 100.0 * (1 + step % 5)
            line.observe(work, factor * 1e-3 * work)
    assert line.predict(300) == pytest.approx(0.9, rel=0.05)


def test_one_hiccup_moves_it_little() -> None:
    line = Line()
    for _ in range(50):
        line.observe(100, 1.0)
    line.observe(100, 600.0)
    assert line.predict(100) == pytest.approx(1.0, rel=0.2)


def test_it_never_predicts_a_negative_time() -> None:
    line = Line()
    for work in (1000.0, 2000.0, 3000.0):
        line.observe(work, work**2 * 1e-6)
    assert line.predict(10) >= 0  # type: ignore[operator]
    falling = Line()
    for work in (100.0, 200.0, 300.0):
        falling.observe(work, 1.0 - work / 1000)
    assert falling.predict(5000) >= 0  # type: ignore[operator]


def seconds(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.seconds


def test_a_job_is_its_preparation_its_steps_and_its_decoding() -> None:
    model = CostModel()
    model.observe_prepare(workload(), 1.0)
    model.observe_step([workload()], 0.5)
    model.observe_decode(workload(), 2.0)
    assert seconds(model.left(workload(steps=10))) == pytest.approx(8.0)
    assert seconds(model.left(workload(steps=10), prepared=True, steps_done=6)) == pytest.approx(4.0)
    assert seconds(model.left(workload(steps=10, passes=2, key="two"))) == pytest.approx(13.0)


def measured(durations: list[float], **options: Any) -> CostModel:
    """A model that has seen a quick preparation and these steps of one shape."""
    model = CostModel()
    model.observe_prepare(workload(**options), 1e-6)
    for duration in durations:
        model.observe_step([workload(**options)], duration)
    return model


def test_a_shape_that_was_measured_is_judged_by_its_own_durations_and_not_by_the_line() -> None:
    model = measured([0.1] * 5, tokens=100, key="small")
    for tokens in (1000, 2000, 4000):  # attention is quadratic, the line is not
        for _ in range(20):
            model.observe_step([workload(tokens, key=str(tokens))], 1e-6 * tokens**2)
    assert seconds(model.left(workload(100, key="small"))) == pytest.approx(1.0, rel=1e-3)


def test_one_slow_step_does_not_change_what_is_expected() -> None:
    model = measured([5.0, 0.1, 0.1, 0.1, 3.0])
    estimate = model.left(workload(steps=10))
    assert seconds(estimate) == pytest.approx(1.0, rel=1e-3)
    assert estimate is not None
    assert estimate.least == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("durations", [[5.0], [5.0, 5.0]])
def test_the_first_durations_may_be_hiccups_so_only_a_part_of_them_is_certain(durations: list[float]) -> None:
    estimate = measured(durations).left(workload(steps=10))
    assert estimate is not None
    assert estimate.least == pytest.approx(DOUBT * 50.0, rel=1e-3)


def test_what_is_certain_shrinks_with_the_noise_of_the_measurements() -> None:
    steady, noisy = measured([1.0] * 9), measured([1.0, 0.6, 1.4] * 3)
    for model, least in ((steady, 10.0), (noisy, 6.0)):
        estimate = model.left(workload(steps=10))
        assert estimate is not None
        assert estimate.seconds == pytest.approx(10.0, rel=1e-3)
        assert estimate.least == pytest.approx(least, rel=1e-3)


def test_a_guess_for_a_new_shape_is_not_taken_for_certain_and_less_so_where_guesses_were_wrong() -> None:
    straight, bent = CostModel(), CostModel()
    for _ in range(40):
        for tokens in (100, 1000):
            straight.observe_step([workload(tokens, key=str(tokens))], 1e-3 * tokens)
        for tokens, seconds in ((100, 0.01), (100, 1.0)):
            bent.observe_step([workload(tokens, key=str(tokens))], seconds)
    guesses = [model.step.estimate("new", 500.0) for model in (straight, bent)]
    parts = [guess.least / guess.seconds for guess in guesses if guess]
    assert parts[0] == pytest.approx(DOUBT)
    assert parts[1] < parts[0]


def test_a_batch_pays_where_the_overhead_is_large_and_not_where_the_work_is() -> None:
    model = CostModel()
    for tokens in (100, 5000):
        for _ in range(5):
            model.observe_step([workload(tokens, key=str(tokens))], 0.1 + 1e-3 * tokens)
    assert model.batch_pays(workload(100, key="100"), 2)
    assert not model.batch_pays(workload(5000, key="5000"), 2)


def test_what_was_measured_beats_what_was_predicted() -> None:
    model = CostModel()
    for tokens in (100, 5000):
        model.observe_step([workload(tokens, key=str(tokens))], 0.1 + 1e-3 * tokens)
    small = workload(100, key="100")
    assert model.batch_pays(small, 2)
    for _ in range(TRUSTED):
        model.observe_step([small, small], 0.41)
    assert not model.batch_pays(small, 2)


def test_the_first_batch_of_a_shape_may_be_slow_without_being_the_last() -> None:
    model = CostModel()
    for tokens in (100, 5000):
        model.observe_step([workload(tokens, key=str(tokens))], 0.1 + 1e-3 * tokens)
    small = workload(100, key="100")
    model.observe_step([small, small], 5.0)
    assert model.batch_pays(small, 2)
    for _ in range(TRUSTED):
        model.observe_step([small, small], 0.3)
    assert model.batch_pays(small, 2)
    assert model.share(small, 4) == pytest.approx(0.3 / 0.4, rel=0.05)


def test_a_job_that_shares_no_step_pays_its_steps_alone() -> None:
    assert measured([1.0] * 5).share(workload(key=None), 4) == 1.0


def test_a_batch_that_failed_never_pays_again() -> None:
    model = CostModel()
    for tokens in (100, 5000):
        model.observe_step([workload(tokens)], 1.0 + 1e-3 * tokens)
    assert model.batch_pays(workload(), 2)
    model.forbid_batch(workload(), 2)
    assert not model.batch_pays(workload(), 2)


def run_three(model: Clockwork, **options: Any) -> list[str]:
    """An engine with learned durations, and three jobs that could share a batch."""

    async def scenario(engine: Engine[Any, Any, Any]) -> None:
        for tokens in (50, 400) * 20:
            engine.cost.observe_step([workload(tokens, key=None)], model.overhead + tokens * 1e-4)
        engine.cost.observe_step = lambda *_, **__: None  # type: ignore[method-assign]  # a busy machine's sleeps teach overhead
        model.gate.clear()
        tasks = [Task(name, seconds=0.01, tokens=100, key="same") for name in "abc"]
        jobs = [asyncio.create_task(finish(engine, task)) for task in tasks]
        await asyncio.sleep(0.02)
        model.gate.set()
        await asyncio.gather(*jobs)

    with_engine(model, scenario, **options)
    return model.log


def test_jobs_of_one_shape_share_their_steps_where_it_pays() -> None:
    assert "step a+b+c" in run_three(Clockwork(overhead=0.05))


def test_jobs_run_alone_where_a_batch_saves_nothing() -> None:
    assert not any("+" in entry for entry in run_three(Clockwork(overhead=0.0)))


def test_batching_can_be_turned_off() -> None:
    assert not any("+" in entry for entry in run_three(Clockwork(overhead=0.05), max_batch=1))
