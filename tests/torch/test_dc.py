"""Dynamic compensation: nodes of the interpolation, the search, and the regression over settings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.torch.diffusion import (
    DDIM,
    DEIS,
    PLMS,
    CascadePolynomialRegression,
    DCSolver,
    Denoiser,
    DPMSolver,
    Euler,
    HeavyBall,
    UniPC,
    VPLinear,
    make_grid,
    sample,
)
from mcstat.torch.diffusion._coefficients import lagrange
from mcstat.torch.diffusion._dc import _reference
from tests.torch.problems import eight_modes, noise, rmse

GRID = make_grid(VPLinear(), 8)
BASES = [UniPC(2), UniPC(3, "bh1"), DPMSolver(2), DDIM(), DEIS(2), PLMS(3), Euler()]


@pytest.mark.parametrize("base", BASES, ids=repr)
def test_ratio_one_is_the_base(base):
    d, x = eight_modes(), noise(20)
    wanted = sample(base, d, x, GRID)
    got = sample(DCSolver(base, ratios=np.ones(8)), d, x, GRID)
    assert torch.equal(got.samples, wanted.samples)
    assert got.nfe == 8


def test_ratio_zero_takes_the_answer_before():
    d, x = eight_modes(), noise(20)
    solver = DCSolver(ratios=[1, 1, 1, 0, 1, 1, 1, 1])
    state = solver.init(x, GRID, d)
    for i in range(3):
        state = solver.step(state, i)
    before = state.history[1].clone()
    state = solver.step(state, 3)
    # What was second is now third; the one that stood before it has become equal to it.
    assert torch.equal(state.history[1], before)
    assert torch.equal(state.history[2], before)


def test_polynomials_in_time_are_followed():
    times = np.array([0.31, 0.45, 0.8])
    for power in range(3):
        for at in (0.2, 0.31, 0.45, 0.9):
            assert np.dot(lagrange(times, at), times**power) == pytest.approx(at**power)
    # A denoiser whose answer is a parabola in t: compensation at ratio r is the answer at the shifted time.
    fn = lambda t: 1.0 - 2.0 * t + 3.0 * t**2  # noqa: E731
    d = Denoiser(lambda x, t: fn(t[:, None]) * torch.ones_like(x), VPLinear(), "x0")
    solver = DCSolver(ratios=[1, 1, 1.4, 1, 1, 1, 1, 1])
    state = solver.init(noise(4), GRID, d)
    for i in range(3):
        state = solver.step(state, i)
    shifted = 1.4 * GRID.t[2] - 0.4 * GRID.t[1]
    np.testing.assert_allclose(state.history[1].numpy(), fn(shifted), rtol=1e-12)


def test_the_reference_goes_through_the_nodes():
    d, x = eight_modes(), noise(5)
    for grid in (GRID, make_grid(VPLinear(), 8, final="zero")):
        nodes = _reference(d, grid, x, "unipc3", 160)
        assert len(nodes) == 9
        assert torch.equal(nodes[0], x)
        fine = sample(UniPC(3), d, x, make_grid(VPLinear(), 400)).samples
        assert rmse(nodes[-1], fine) < 0.03


def test_the_search_never_loses_on_its_own_points():
    d, x = eight_modes(), noise(150)
    solver = DCSolver().fit(d, GRID, x, ref_steps=200)
    assert solver.ratios_.shape == (8,)
    assert (solver.ratios_[:2] == 1.0).all()
    assert ((solver.ratios_ >= 0.5) & (solver.ratios_ <= 1.5)).all()
    assert np.isnan(solver.loss_path_[:2]).all()
    assert (solver.loss_path_[2:, 1] <= solver.loss_path_[2:, 0]).all()
    reference = _reference(d, GRID, x, "unipc3", 200)[-1]
    ours, plain = (sample(s, d, x, GRID).samples for s in (solver, UniPC(2)))
    assert rmse(ours, reference) < rmse(plain, reference)
    # The last step's loss is that of the run.
    assert rmse(ours, reference) ** 2 == pytest.approx(solver.loss_path_[-1, 1])
    again = DCSolver(ratios=json.loads(json.dumps(solver.ratios_.tolist())))
    assert torch.equal(sample(again, d, x, GRID).samples, ours)


def test_the_search_of_a_predictor_alone_and_by_ddims_reference():
    d, x = eight_modes(), noise(120)
    solver = DCSolver(DPMSolver(2), n_iter=8).fit(d, GRID, x, reference="ddim", ref_steps=100)
    assert (solver.loss_path_[2:, 1] <= solver.loss_path_[2:, 0]).all()


@pytest.mark.parametrize("base", [UniPC(2), DPMSolver(2)], ids=repr)
def test_the_papers_search_finds_what_brents_does(base):
    d, x = eight_modes(), noise(120)
    settings = {"reference": "ddim", "ref_steps": 100}
    brent = DCSolver(base, n_iter=30).fit(d, GRID, x, **settings)
    adamw = DCSolver(base, optimizer="adamw").fit(d, GRID, x, **settings)
    assert (adamw.loss_path_[2:, 1] <= adamw.loss_path_[2:, 0]).all()
    assert ((adamw.ratios_ > 0.5) & (adamw.ratios_ < 1.5)).all()
    # The first loss is next to nothing with either.
    assert adamw.ratios_[2] == pytest.approx(brent.ratios_[2], abs=0.02)
    np.testing.assert_allclose(adamw.loss_path_[3:, 1], brent.loss_path_[3:, 1], rtol=0.1)
    assert adamw.loss_path_.dtype == float


def test_the_gradient_goes_through_the_network():
    # Half of the loss's slope comes by way of the corrector's question: against differences.
    d, x = eight_modes(), noise(50)
    solver = DCSolver()
    state = solver._start(x, GRID, d, np.ones(8))
    for i in range(3):
        state = solver.step(state, i)

    def loss(ratio):
        trial = replace(state, history=list(state.history), memory={"ratios": [1.0, 1.0, 1.0, ratio]})
        return solver.step(trial, 3).x.square().mean()

    at = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(at), at)
    with torch.no_grad():
        assert float(slope) == pytest.approx(float(loss(0.8 + 1e-6) - loss(0.8 - 1e-6)) / 2e-6, rel=1e-6)


def test_penalty_and_held_out_trajectories_pull_towards_one():
    d, x = eight_modes(), noise(120)
    free = DCSolver(n_iter=10).fit(d, GRID, x, ref_steps=100).ratios_
    tied = DCSolver(n_iter=10, l2=1e3).fit(d, GRID, x, ref_steps=100).ratios_
    assert np.abs(tied - 1).max() < 1e-3 < np.abs(free - 1).max()
    with pytest.warns(ReliabilityWarning, match="10 x 2 numbers"):
        few = DCSolver(n_iter=10, validation=0.5).fit(d, GRID, noise(20), ref_steps=100)
    with pytest.warns(ReliabilityWarning, match="10 x 2 numbers"):
        alone = DCSolver(n_iter=10).fit(d, GRID, noise(10), ref_steps=100)
    assert (few.ratios_ == 1.0).sum() > (alone.ratios_ == 1.0).sum()


def test_the_regression_finds_its_own_coefficients():
    rng = np.random.default_rng(3)
    coef = rng.standard_normal((5, 3, 3))

    def truth(w, n):
        z = np.arange(1, n + 1) / n
        out = sum(
            coef[p, q, r] * z**p * (w / 12) ** q * (n / 50) ** r for p in range(5) for q in range(3) for r in range(3)
        )
        out[:2] = 1.0
        return out

    settings = [(w, n) for w in (1.0, 2.0, 4.0, 8.0) for n in (8, 12, 20, 30)]
    model = CascadePolynomialRegression().fit(*zip(*settings, strict=True), [truth(w, n) for w, n in settings])
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(3.0, 16), truth(3.0, 16), atol=1e-7)
    np.testing.assert_array_equal(model.predict(3.0, 2), [1.0, 1.0])


def _spoilt(solver, denoiser, grid, x):
    """Two steps taken, and the answer for the third is NaN."""
    state = solver._start(x, grid, denoiser, np.ones(grid.n_steps))
    for i in range(2):
        state = solver.step(state, i)
    solver._ask_newest(state, 2)
    state.history[0] = state.history[0] * torch.nan
    return state


def test_bad_input():
    d, x = eight_modes(), noise(200)
    for solver, message in [
        (DCSolver(), "ratios must be given"),
        (DCSolver(ratios=np.ones(7)), "each of the 8 steps"),
        (DCSolver(HeavyBall(), ratios=np.ones(8)), "base must be"),
        (DCSolver(dc_order=8, ratios=np.ones(8)), "dc_order"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            sample(solver, d, x, GRID)
    for solver, message in [
        (DCSolver(bounds=(1.1, 2.0)), "bounds"),
        (DCSolver(validation=1.0), "validation"),
        (DCSolver(n_iter=0), "n_iter"),
        (DCSolver(optimizer="sgd"), "optimizer must be one of"),
        (DCSolver(lr=0.0), "lr"),
        (DCSolver(l2=-1.0), "l2"),
    ]:
        with pytest.raises(InvalidParameter, match=message):
            solver.fit(d, GRID, x)
    with pytest.raises(InvalidParameter, match="reference"):
        DCSolver().fit(d, GRID, x, reference="heun")
    with pytest.raises(InvalidData, match="at least 2 trajectories"):
        DCSolver().fit(d, GRID, x[:1])
    for optimizer in ("brent", "adamw"):
        solver = DCSolver(optimizer=optimizer)
        state = _spoilt(solver, d, make_grid(VPLinear(), 8, "time"), x)
        with pytest.raises(InvalidData, match="the loss of step 2 must be finite, got nan at ratio 1"):
            solver._search(state, 2, x, slice(0, 100))
    model = CascadePolynomialRegression()
    with pytest.raises(InvalidData, match="one length"):
        model.fit([1.0], [5, 6], [np.ones(5)])
    with pytest.raises(InvalidData, match="each of 5 steps"):
        model.fit([1.0], [5], [np.ones(4)])
    with pytest.raises(InvalidData, match="3 steps or more"):
        model.fit([1.0], [2], [np.ones(2)])
