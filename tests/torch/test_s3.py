"""The search of schedules: every candidate is valid, the best is no worse than the presets, and seeds decide."""

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.torch.diffusion import (
    Denoiser,
    S3Search,
    SolverSchedule,
    StepConfig,
    UniPC,
    USFSolver,
    VPCosine,
    VPLinear,
    make_grid,
    ode_error,
    sample,
)
from mcstat.torch.diffusion._s3_predictors import PREDICTORS, rank_correlation
from mcstat.torch.diffusion._s3_space import Space, features
from tests.torch.problems import eight_modes, noise

SMALL = {"n_evaluations": 40, "population_size": 24, "n_stages": 2, "random_state": 0, "verbose": False}


def space(nfe, schedule=None):
    """All schedules of a number of questions over the whole range."""
    schedule = VPLinear() if schedule is None else schedule
    lam = make_grid(schedule, 1).lam
    return Space(schedule, nfe, float(lam[0]), float(lam[1]))


def truth(denoiser, x):
    """Where the ODE takes x."""
    return sample(UniPC(3, lower_order_final=False), denoiser, x, make_grid(denoiser.schedule, 500)).samples


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine()], ids=repr)
@pytest.mark.parametrize("nfe", [2, 3, 5, 10])
def test_every_candidate_is_valid_and_spends_the_budget(nfe, schedule):
    """A property of 300 candidates each: SolverSchedule itself refuses equal or falling nodes and corrected ends."""
    rng, where = np.random.default_rng(0), space(nfe, schedule)
    presets = list(where.presets().values())
    pool = presets + [where.random(rng) for _ in range(100)]
    for _ in range(100):
        one, other = (pool[i] for i in rng.integers(len(pool), size=2))
        pool += [where.mutated(rng, one), where.crossed(rng, one, other)]
    for candidate in pool:
        assert isinstance(candidate, SolverSchedule)
        assert candidate.nfe == nfe
        lam = candidate.grid.lam
        assert (lam[0], lam[-1]) == pytest.approx((where.start, where.end), abs=1e-9)
        assert features(candidate, nfe).shape == features(presets[0], nfe).shape
        assert SolverSchedule.from_json(candidate.to_json()).to_json() == candidate.to_json()
    # The count is what the denoiser sees, too.
    d, x = eight_modes(schedule), noise(2)
    for candidate in pool[-20:]:
        assert sample(USFSolver(candidate), d, x, candidate.grid).nfe == nfe


def test_repair():
    rng, where = np.random.default_rng(0), space(4)
    good = where.presets()["2M, logsnr"]
    lam = good.grid.lam
    # Falling nodes are sorted, equal ones drawn apart.
    shuffled = where.repaired(rng, good.steps, lam[[0, 3, 1, 2, 4]])
    np.testing.assert_allclose(shuffled.grid.lam, lam, rtol=1e-12)
    apart = where.repaired(rng, good.steps, lam[[0, 1, 1, 1, 4]])
    assert (np.diff(apart.grid.lam) > 0.0).all()
    assert apart.nfe == 4
    # Too dear, by singlesteps: nodes go. Too cheap: nodes come.
    dear = StepConfig(order=3, derivative="singlestep")
    assert len(where.repaired(rng, [dear] * 4, lam).steps) < 4
    assert where.repaired(rng, [dear] * 4, lam).nfe == 4
    assert len(where.repaired(rng, good.steps[:1], lam[[0, 4]]).steps) == 4
    assert space(2).repaired(rng, [dear], lam[[0, 4]]).nfe == 2


@pytest.mark.parametrize(
    "settings",
    [{}, {"predictor": "mlp"}, {"predictor": "none"}, {"strategy": "evolution"}, {"strategy": "random"}],
    ids=str,
)
def test_search(settings):
    d, x = eight_modes(), noise(1200)
    search = S3Search(5, **SMALL | settings).fit(d, x)
    values = np.array([trial.value for trial in search.history_])
    assert search.n_evaluations_ == len(values) == 40
    assert search.best_value_ == values.min()
    # Elitism: the published solvers are in the first population.
    presets = {trial.origin: trial.value for trial in search.history_ if trial.origin in space(5).presets()}
    assert len(presets) == 14
    assert search.best_value_ <= min(presets.values())
    assert all(trial.schedule.nfe == 5 for trial in search.history_)
    assert search.best_schedule_ is search.history_[int(values.argmin())].schedule
    assert np.isfinite(search.predictor_rank_corr_) == (settings in ({}, {"predictor": "mlp"}))
    # The user's denoiser is not counted on.
    assert d.nfe == 0
    again = S3Search(5, **SMALL | settings, n_jobs=2).fit(d, x)
    assert [trial.value for trial in again.history_] == values.tolist()
    assert again.best_schedule_.to_json() == search.best_schedule_.to_json()
    other = S3Search(5, **SMALL | settings | {"random_state": 1}).fit(d, x)
    assert other.best_schedule_.to_json() != search.best_schedule_.to_json()


def test_estimate_is_of_rows_that_the_search_has_not_seen():
    """Spoiling the reference of rows one at a time moves either the search's values or the estimate, never both."""
    d, x = eight_modes(), noise(1200)
    target = truth(d, x)
    plain = S3Search(4, **SMALL).fit(d, x, target)
    seen = 0
    for row in range(8):
        spoiled = target.clone()
        spoiled[row] += 100.0
        other = S3Search(4, **SMALL | {"strategy": "random"}).fit(d, x, spoiled)
        first = other.history_[0].value != plain.history_[0].value
        # One of 600 rows that is 100 off in both coordinates: rmse near 100 / sqrt(600) = 4.
        assert first == (other.history_[0].value > 2.0)
        assert (float(other.estimate()) > 2.0) == (not first)
        seen += first
    assert 0 < seen < 8


def test_estimate_has_the_error_of_the_rows():
    d, x = eight_modes(), noise(1200)
    search = S3Search(5, **SMALL).fit(d, x, truth(d, x))
    est = search.estimate()
    fresh = noise(20_000, seed=9)
    samples = sample(USFSolver(search.best_schedule_), d, fresh, search.best_schedule_.grid).samples
    wanted = ode_error(samples, truth(d, fresh))
    # 5.5 standard errors: by chance 4e-8.
    assert abs(float(est) - float(wanted)) < 5.5 * np.hypot(est.std_error[0], wanted.std_error[0])
    assert est.std_error[0] == pytest.approx(wanted.std_error[0] * np.sqrt(20_000 / 600), rel=0.5)
    assert est.diagnostics["best preset"] in space(5).presets()
    assert float(est) < est.diagnostics["best preset's"]
    assert est.names == ("rmse",)


def test_finished_work_answers_after_an_interrupt():
    d, x = eight_modes(), noise(1200)
    calls = []

    def network(x, t):
        calls.append(len(x))
        if len(calls) == 4 * 30:
            raise KeyboardInterrupt
        return d.eps(x, float(t[0]))

    search = S3Search(4, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        search.fit(Denoiser(network, d.schedule), x, truth(d, x))
    assert 14 <= search.n_evaluations_ < 40
    assert search.estimate().warnings == (f"interrupted: {search.n_evaluations_} of 40 schedules were run",)
    assert search.best_value_ == min(trial.value for trial in search.history_)


def test_mmd_wants_data():
    d = eight_modes()
    x, data = noise(1200), d.sample(1000, random_state=0)
    with pytest.raises(InvalidData, match="reference must be given"):
        S3Search(3, metric="mmd", **SMALL).fit(d, x)
    search = S3Search(3, metric="mmd", **SMALL | {"n_evaluations": 24}).fit(d, x, data)
    assert search.estimate().names == ("mmd2",)
    assert search.best_value_ < 0.05


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_rank_schedules(name):
    """Of the log distance to one of them in two settings: easy, so that they must do well."""
    rng, where = np.random.default_rng(0), space(6)
    pool = [where.random(rng) for _ in range(80)]
    x = np.array([features(schedule, 6) for schedule in pool])
    y = np.array([np.abs(schedule.grid.lam[2]) + np.mean(schedule.orders) for schedule in pool])
    tau = rank_correlation(PREDICTORS[name], x, y, np.random.default_rng(1))
    # Were they independent, tau would have a standard deviation of 0.076.
    assert tau > 0.42
    assert tau == rank_correlation(PREDICTORS[name], x, y, np.random.default_rng(1))


def test_schedules_that_leave_the_numbers_are_ranked_last():
    class Wild(type(eight_modes())):
        def _eps(self, x, level):
            return super()._eps(x, level) * float("inf")

    plain = eight_modes()
    wild = Wild(plain.weights, plain.means, np.full((8, 2), 0.02))
    x = noise(1200)
    search = S3Search(4, **SMALL).fit(wild, x, truth(plain, x))
    values = np.array([trial.value for trial in search.history_])
    assert np.isinf(values).any()
    assert np.isfinite(search.best_value_)
    assert all(step.prediction == "data" for step in search.best_schedule_.steps)


def test_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    S3Search(3, predictor="mlp", **SMALL).fit(eight_modes(), noise(1200))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bad_input():
    d, x = eight_modes(), noise(1200)
    for settings, message in [
        ({"nfe": 1}, "nfe"),
        ({"metric": "fid"}, "metric"),
        ({"strategy": "grid"}, "strategy"),
        ({"predictor": "lstm"}, "predictor"),
        ({"n_evaluations": 5}, "n_evaluations"),
        ({"population_size": 5}, "population_size"),
        ({"n_stages": 0}, "n_stages"),
        ({"validation": 1.0}, "validation"),
        ({"t_end": 2.0}, "t_end"),
    ]:
        search = S3Search(**{"nfe": 5} | SMALL | settings)
        with pytest.raises(InvalidParameter, match=message):
            search.fit(d, x)
    search = S3Search(5, **SMALL)
    with pytest.raises(InvalidParameter, match="denoiser"):
        search.fit("denoiser", x)
    with pytest.raises(TypeError, match="x_T"):
        search.fit(d, x.numpy())
    with pytest.raises(InvalidData, match="reference must have the shape"):
        search.fit(d, x, x[:5])
    with pytest.raises(InvalidData, match="x_T must have at least 2 rows"):
        search.fit(d, x[:3])
    with pytest.warns(ReliabilityWarning, match="fits these and not others"):
        search.fit(d, x[:20])
