"""AdaptiveImportanceSampler against theory, against a slow twin, and on bad input."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, uniform

from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import AdaptiveImportanceSampler
from mcstat.importance._components import Component, ComponentFitter
from mcstat.importance._controls import CONTROLS, least_squares, own_coefficients, residuals
from mcstat.importance._exploration import own_ratios
from mcstat.importance._laws import AdaptedLaw, Nominal
from mcstat.importance._proposal import Proposal
from mcstat.importance._shares import optimal_shares
from tests.naive.importance import family_estimate, log_normal, shares_objective

# Fits of a thousand points may warn that a single one decides much: what is tested here is the value.
quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")

TILTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.5], [-2.0, 0.0], [1.5, -1.5]])
TILTED_TRUTH = np.exp(np.sum(TILTS**2, axis=1) / 2)


def exponentials(x):
    return np.exp(x @ TILTS.T)


def moments(x):
    return x ** np.array([2, 4, 6])


def exact_proposal(shares):
    nominal = Nominal([AdaptedLaw("law", multivariate_normal(np.zeros(2)))])
    parts = tuple(Component(np.ones(1), tilt[None], np.eye(2)[None]) for tilt in TILTS)
    return Proposal(nominal, shares, parts, np.zeros(2), np.ones(2))


def integrand_and_ratios(proposal, x):
    log_base, log_laws = proposal.nominal.log_densities(x)
    parts = proposal.log_parts(x, log_base)
    log_h = proposal.log_density(parts)
    return exponentials(x) * np.exp(log_laws - log_h[:, None]), np.exp(parts - log_h[:, None])


class TestAgainstTheory:
    @pytest.mark.parametrize("seed", range(3))
    def test_exact_parts_leave_no_variance(self, seed):
        # Card, exact check 1: with g_j = phi_j f / I_j and b_j = I_j every summand is I_j, for any shares.
        rng = np.random.default_rng(seed)
        proposal = exact_proposal(rng.dirichlet(np.ones(len(TILTS) + 1)))
        T, C = integrand_and_ratios(proposal, proposal.rvs(1000, rng))
        rows = residuals(T, own_ratios(C, len(TILTS)), TILTED_TRUTH)
        np.testing.assert_allclose(rows, np.broadcast_to(TILTED_TRUTH, rows.shape), rtol=1e-12)

    def test_ratios_average_to_one(self):
        # Card, exact check 3: sum_k a_k C_k = 1 at every point.
        shares = np.full(6, 1 / 6)
        proposal = exact_proposal(shares)
        _, C = integrand_and_ratios(proposal, proposal.rvs(500, np.random.default_rng(0)))
        np.testing.assert_allclose(C @ shares, 1.0, atol=1e-12)

    def test_own_coefficients_find_the_expectations(self):
        proposal = exact_proposal(np.full(6, 1 / 6))
        T, C = integrand_and_ratios(proposal, proposal.rvs(500, np.random.default_rng(0)))
        np.testing.assert_allclose(own_coefficients(T, own_ratios(C, 5)), TILTED_TRUTH, rtol=1e-12)
        coefficients = least_squares(T, C)
        assert np.var(residuals(T, C, coefficients), axis=0).max() < 1e-3 * np.var(T, axis=0).max()

    def test_constant_ratio_gives_no_coefficient(self):
        # Card, exact check 4: with one part alone C = 1 and the coefficient is 0, not 0/0.
        T = np.random.default_rng(0).normal(size=(50, 1))
        assert own_coefficients(T, np.ones((50, 1))) == 0.0

    def test_exponentials_to_one_in_a_thousand(self):
        # Card, exact check 2: relative sd of each <= 1e-3 at 20 000 points. At z = 6 the false-alarm rate is 1e-8.
        law = multivariate_normal(np.zeros(2))
        sampler = AdaptiveImportanceSampler(law=law, budget=20_000, random_state=1).fit(exponentials)
        est = sampler.estimate()
        assert np.all(est.std_error / TILTED_TRUTH <= 1e-3)
        assert np.all(np.abs(est.value - TILTED_TRUTH) <= 6 * est.std_error + 1e-12)
        assert sampler.n_calls_ == 20_000

    @quiet
    @pytest.mark.parametrize("family", ["gaussian", "gmm"])
    def test_even_moments_of_the_normal(self, family):
        # Card, exact check 7: E[X^2j] = (2j - 1)!!; false-alarm rate 3 * 2e-9.
        est = AdaptiveImportanceSampler(law=norm(), family=family, budget=8_000, random_state=3).fit(moments).estimate()
        assert np.all(np.abs(est.value - [1, 3, 15]) < 6 * est.std_error)

    @quiet
    @pytest.mark.parametrize("control", CONTROLS)
    def test_every_control_is_centred(self, control):
        # Card, exact check 5 in small: mean z over 40 seeds; |mean| < 6 / sqrt(40), false-alarm rate 6e-9 a column.
        z = []
        for seed in range(40):
            est = AdaptiveImportanceSampler(law=norm(), control=control, budget=2_000, random_state=seed)
            est = est.fit(moments).estimate()
            z.append((est.value - [1, 3, 15]) / est.std_error)
        assert np.all(np.abs(np.mean(z, axis=0)) < 6 / math.sqrt(40))

    @quiet
    def test_controls_reduce_the_variance(self):
        relative = {}
        for control in ("none", "own", "crossfit"):
            sampler = AdaptiveImportanceSampler(law=norm(), family="gmm", control=control, random_state=0).fit(moments)
            relative[control] = np.sum((sampler.estimate().std_error / [1, 3, 15]) ** 2)
        assert relative["own"] < 0.1 * relative["none"]
        assert relative["crossfit"] < 0.1 * relative["none"]

    def test_scaling_a_function_changes_nothing_else(self):
        # Card, exact check 6: c phi_j with w_j / c^2, by a power of two bit for bit.
        c = np.array([2.0**40, 2.0**-20, 4.0])
        weights = np.array([1.0, 2.0, 3.0])
        plain = AdaptiveImportanceSampler(law=norm(), weights=weights, random_state=5).fit(moments).estimate()
        scaled = AdaptiveImportanceSampler(law=norm(), weights=weights / c**2, random_state=5)
        scaled = scaled.fit(lambda x: c * moments(x)).estimate()
        np.testing.assert_array_equal(scaled.value, c * plain.value)

    @pytest.mark.parametrize("scale", [1e-150, 1e150])
    def test_extreme_scales(self, scale):
        plain = AdaptiveImportanceSampler(law=norm(), random_state=5).fit(moments).estimate()
        scaled = AdaptiveImportanceSampler(law=norm(), random_state=5).fit(lambda x: scale * moments(x)).estimate()
        np.testing.assert_allclose(scaled.value / scale, plain.value, rtol=1e-8)

    def test_units_of_the_inputs_do_not_matter(self):
        plain = AdaptiveImportanceSampler(law=norm(), random_state=5).fit(moments).estimate()
        moved = AdaptiveImportanceSampler(law=norm(3e6, 1e6), random_state=5)
        moved = moved.fit(lambda x: moments((x - 3e6) / 1e6)).estimate()
        np.testing.assert_allclose(moved.value, plain.value, rtol=1e-6)

    def test_many_laws(self):
        laws = [norm(loc, 1.0) for loc in (-1.0, 0.0, 0.5, 2.0)]
        est = AdaptiveImportanceSampler(laws=laws, weights="uniform", random_state=2).fit(lambda x: x**2).estimate()
        truth = np.array([2.0, 1.0, 1.25, 5.0])
        assert np.all(np.abs(est.value - truth) < 6 * est.std_error)
        assert np.all(est.std_error < np.sqrt(6.0 / 5_000))

    def test_as_many_functions_as_laws(self):
        laws = [norm(0, 1), norm(1, 2)]
        est = AdaptiveImportanceSampler(laws=laws, random_state=2).fit(lambda x: np.hstack([x**2, x**4])).estimate()
        assert np.all(np.abs(est.value - [1.0, 1 + 6 * 4 + 3 * 16]) < 6 * est.std_error)

    @pytest.mark.parametrize("signed", ["abs", "split"])
    def test_signed_functions(self, signed):
        est = AdaptiveImportanceSampler(law=norm(1, 1), signed=signed, random_state=4)
        est = est.fit(lambda x: np.hstack([x, x**3])).estimate()
        assert np.all(np.abs(est.value - [1.0, 4.0]) < 6 * est.std_error)

    @quiet
    def test_splitting_removes_variance_of_signed_functions(self):
        errors = {}
        for signed in ("abs", "split"):
            est = AdaptiveImportanceSampler(
                law=norm(0, 1), signed=signed, family="gmm", weights="uniform", random_state=4
            )
            errors[signed] = est.fit(lambda x: x**3).estimate().std_error[0]
        assert errors["split"] < 0.2 * errors["abs"]

    def test_shift_by_a_known_bound(self):
        est = AdaptiveImportanceSampler(law=uniform(), signed="shift", lower=[-1.0], random_state=4)
        est = est.fit(lambda x: np.cos(2 * np.pi * x) + 0.25).estimate()
        assert abs(est.value[0] - 0.25) < 6 * est.std_error[0]

    @pytest.mark.parametrize("family", ["gaussian", "gmm"])
    def test_far_points_do_not_carry_enormous_weights(self, family):
        # x^4 f has heavier tails than the Gaussians fitted to it: where the initial law alone covers them, 5 sd out,
        # x^4 f / h is 12 500; the wide part makes it smaller than the expectation, 3.
        sampler = AdaptiveImportanceSampler(law=norm(), family=family, budget=4_000, random_state=0)
        proposal = sampler.fit(lambda x: x ** np.array([2, 4])).proposal_
        far = np.array([[-7.0], [-5.0], [5.0], [7.0]])
        summands = far[:, 0] ** 4 * np.exp(norm.logpdf(far[:, 0]) - proposal.logpdf(far))
        assert summands.max() < 3.0

    def test_without_any_floor(self):
        est = AdaptiveImportanceSampler(law=norm(), defensive=0.0, alpha_min=0.0, random_state=0).fit(moments)
        est = est.estimate()
        assert np.all(np.abs(est.value - [1, 3, 15]) < 6 * est.std_error)

    def test_rare_event_mean(self):
        # P(X > 3.5): the first batch may miss it, later ones find it.
        est = AdaptiveImportanceSampler(law=norm(), budget=40_000, random_state=0).fit(lambda x: (x > 3.5) * 1.0)
        est = est.estimate()
        assert abs(float(est) - norm.sf(3.5)) < 6 * est.std_error[0]
        assert est.std_error[0] < 0.05 * norm.sf(3.5)


class TestUnnormalisedTarget:
    @staticmethod
    def target(x):
        return -0.5 * ((x[:, 0] - 3.0) / 2.0) ** 2 - 0.5 * (x[:, 1] + 1.0) ** 2 + 12_345.0

    @pytest.mark.parametrize("control", ["own", "crossfit", "none"])
    def test_gaussian_target_from_laplace(self, control):
        sampler = AdaptiveImportanceSampler(
            target=self.target, initial="laplace", start=[0.0, 0.0], control=control, random_state=0
        )
        est = sampler.fit(names=["a", "b"]).estimate()
        assert np.all(np.abs(est.value - [3.0, -1.0]) < 6 * est.std_error)
        log_normaliser = 12_345.0 + math.log(2 * math.pi * 2.0)
        gap = est.diagnostics["log_normaliser"] - log_normaliser
        assert abs(gap) < 6 * est.diagnostics["log_normaliser_std_error"] + 1e-6

    def test_from_a_wide_law(self):
        law = multivariate_normal(np.zeros(2), 25 * np.eye(2))
        sampler = AdaptiveImportanceSampler(target=self.target, initial=law, random_state=0)
        est = sampler.fit(lambda x: np.column_stack([x, x[:, 0] ** 2])).estimate()
        assert np.all(np.abs(est.value - [3.0, -1.0, 13.0]) < 6 * est.std_error)
        assert est.diagnostics["ess"] > 0.5 * est.info["final_points"]

    def test_support_that_ends(self):
        # An exponential law known up to its constant; no density left of 0.
        def target(x):
            with np.errstate(invalid="ignore"):
                return np.where(x[:, 0] >= 0, -x[:, 0], -np.inf)

        sampler = AdaptiveImportanceSampler(target=target, initial=norm(0, 3), random_state=0)
        assert abs(float(sampler.fit().estimate()) - 1.0) < 6 * sampler.estimate().std_error[0]

    def test_target_that_is_nowhere(self):
        with pytest.raises(DegenerateWeightsError, match="target is -inf"):
            AdaptiveImportanceSampler(target=lambda x: np.full(len(x), -np.inf), initial=norm()).fit()


class TestAgainstNaive:
    def test_family_estimate(self):
        rng = np.random.default_rng(0)
        shares = np.array([0.2, 0.5, 0.3])
        parts = (Component(np.ones(1), np.array([[1.0]]), np.array([[[0.7]]])),
                 Component(np.array([0.4, 0.6]), np.array([[-1.0], [2.0]]), np.array([[[0.5]], [[1.5]]])))  # fmt: skip
        nominal = Nominal([AdaptedLaw("law", norm())])
        proposal = Proposal(nominal, shares, parts, np.array([0.5]), np.array([2.0]))
        x = rng.normal(size=(40, 1))
        log_base, _ = nominal.log_densities(x)
        log_parts = proposal.log_parts(x, log_base)
        log_h = proposal.log_density(log_parts)
        phi, betas = np.hstack([x**2, np.abs(x)]), np.array([1.1, 0.7])
        C = np.exp(log_parts - log_h[:, None])
        fast = residuals(phi * np.exp(log_base - log_h)[:, None], own_ratios(C, 2), betas).mean(axis=0)

        def naive_parts(point):
            z = (point - 0.5) / 2.0
            second = 0.4 * math.exp(log_normal(z, -1.0, 0.5)) + 0.6 * math.exp(log_normal(z, 2.0, 1.5))
            return [log_normal(point, 0, 1), log_normal(z, 1.0, 0.7) - math.log(2), math.log(second) - math.log(2)]

        slow = family_estimate(
            phi.tolist(), [log_normal(p, 0, 1) for p in x[:, 0]], [naive_parts(p) for p in x[:, 0]], shares, betas
        )
        np.testing.assert_allclose(fast, slow, rtol=1e-12)

    @pytest.mark.parametrize("seed", range(5))
    def test_shares_meet_the_optimality_conditions(self, seed):
        # Card, exact check 3: F = sum_k a_k (-dF/da_k) always; at the optimum -dF/da_k <= F everywhere.
        rng = np.random.default_rng(seed)
        ratios, numerators = rng.gamma(0.5, size=(300, 8)), rng.gamma(0.3, size=300)
        shares = optimal_shares(ratios, numerators, np.zeros(8), np.full(8, 1 / 8))
        value, gradient = shares_objective(ratios, numerators, shares)
        assert math.isclose(value, -np.dot(shares, gradient), rel_tol=1e-12)
        assert max(-np.array(gradient)) - value < 1.01e-4 * value
        for _ in range(20):
            other = rng.dirichlet(np.ones(8))
            assert shares_objective(ratios, numerators, other)[0] >= value * (1 - 1e-4)
            middle = shares_objective(ratios, numerators, (shares + other) / 2)[0]
            assert middle <= (value + shares_objective(ratios, numerators, other)[0]) / 2 * (1 + 1e-12)

    def test_weighted_fit_is_weighted_maximum_likelihood(self):
        rng = np.random.default_rng(0)
        z, weights = rng.normal(size=(200, 3)), rng.gamma(1.0, size=200)
        fitted = ComponentFitter(1, False, 1e-12).fit(z, weights, np.eye(3))
        mean = np.average(z, axis=0, weights=weights)
        cov = np.cov(z, rowvar=False, aweights=weights, ddof=0)
        np.testing.assert_allclose(fitted.means[0], mean, rtol=1e-10)
        # The guard mixes in ((d + 2) / ess)^2 of the identity.
        shrink = (5 / (weights.sum() ** 2 / np.sum(weights**2))) ** 2
        np.testing.assert_allclose(fitted.covariance(), (1 - shrink) * cov + shrink * np.eye(3), rtol=1e-8)

    def test_mixture_fit_finds_two_modes(self):
        rng = np.random.default_rng(0)
        z = np.concatenate([rng.normal(-3, 0.5, size=(500, 1)), rng.normal(3, 1.0, size=(1500, 1))])
        fitted = ComponentFitter(2, False, 1e-9).fit(z, np.ones(2000), np.eye(1))
        order = np.argsort(fitted.means[:, 0])
        np.testing.assert_allclose(fitted.weights[order], [0.25, 0.75], atol=0.01)
        np.testing.assert_allclose(fitted.means[order, 0], [-3, 3], atol=0.1)
        np.testing.assert_allclose(fitted.factors[order, 0, 0], [0.5, 1.0], atol=0.1)


class TestNames:
    def test_columns_of_a_data_frame_come_out(self):
        import pandas as pd
        import polars as pl

        for kind in (pd, pl):
            sampler = AdaptiveImportanceSampler(law=norm(), random_state=0)
            sampler.fit(lambda x, kind=kind: kind.DataFrame({"square": x[:, 0] ** 2, "fourth": x[:, 0] ** 4}))
            assert sampler.estimate().names == ("square", "fourth")

    def test_given_names_win(self):
        sampler = AdaptiveImportanceSampler(law=norm(), random_state=0).fit(moments, names=["a", "b", "c"])
        assert sampler.estimate().names == ("a", "b", "c")
        with pytest.raises(InvalidParameter, match="names must be 3"):
            sampler.fit(moments, names=["a"])


class TestBudgetAndExtend:
    def test_all_points_are_spent_and_none_more(self):
        seen = []

        def counted(x):
            seen.append(len(x))
            return moments(x)

        AdaptiveImportanceSampler(law=norm(), budget=12_347, random_state=0).fit(counted)
        assert sum(seen) == 12_347

    def test_extend_keeps_what_is_there(self):
        sampler = AdaptiveImportanceSampler(law=norm(), budget=20_000, random_state=0).fit(moments)
        before, error = sampler.sample_.copy(), sampler.estimate().std_error
        sampler.extend(30_000)
        np.testing.assert_array_equal(sampler.sample_[: len(before)], before)
        assert len(sampler.sample_) == len(before) + 30_000
        np.testing.assert_allclose(sampler.estimate().std_error, error / math.sqrt(4), rtol=0.2)

    def test_estimate_is_the_mean_of_the_weighted_sample(self):
        sampler = AdaptiveImportanceSampler(law=norm(), control="none", random_state=0).fit(moments)
        direct = np.mean(sampler.values_ * np.exp(sampler.log_weights_), axis=0)
        np.testing.assert_allclose(sampler.estimate().value, direct, rtol=1e-12)
        np.testing.assert_allclose(
            sampler.proposal_.logpdf(sampler.sample_), norm.logpdf(sampler.sample_[:, 0]) - sampler.log_weights_[:, 0]
        )


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"budget": 29}, r"budget must be an integer >= 30, got 29"),
            ({"budget": 2000.0}, "budget must be an integer"),
            ({"budget": True}, "budget must be an integer"),
            ({"weights": [1.0, -1.0, 1.0]}, "weights must be positive"),
            ({"weights": [1.0, 1.0]}, r"weights must hold 3 number\(s\)"),
            ({"weights": "relativ"}, "weights must be one of 'relative', 'uniform'"),
            ({"alpha_min": 0.4}, "alpha_min must be a number in"),
            ({"family": "gmm", "n_components": 500}, "n_components must be at most a batch"),
            ({"family": "vmf"}, "family must be one of"),
            ({"control": "ours"}, "control must be one of"),
            ({"signed": "maybe"}, "signed must be one of"),
            ({"lower": [0.0]}, "lower goes with signed='shift'"),
            ({"signed": "shift"}, "lower goes with signed='shift'"),
            ({"signed": "shift", "lower": [0.0, 1.0]}, "lower must hold 3"),
            ({"defensive": 0.5}, "defensive must be a number in"),
            ({"batch": 0.7}, "batch must be a number in"),
            ({"random_state": "x"}, "random_state must be"),
            ({"random_state": np.random.RandomState(0)}, "default_rng"),
            ({"law": None}, "exactly one of law, laws and target"),
            ({"laws": [norm()]}, "exactly one of law, laws and target"),
            ({"law": object()}, "law must have rvs"),
            ({"law": None, "laws": []}, "laws must hold at least one"),
            ({"law": None, "laws": [norm(), multivariate_normal(np.zeros(2))]}, "laws must be of one dimension"),
            ({"law": None, "laws": [norm(), norm(1)]}, "func must give 1 or 2 columns for 2 laws, got 3"),
            ({"law": None, "target": lambda x: -(x[:, 0] ** 2)}, "target wants initial="),
            ({"law": None, "target": lambda x: -(x[:, 0] ** 2), "initial": "laplace"}, "wants start"),
            ({"chunk_size": 0}, "chunk_size must be an integer >= 1"),
        ],
    )
    def test_settings_are_refused_in_fit_by_name(self, settings, words):
        sampler = AdaptiveImportanceSampler(**({"law": norm(), "budget": 2_000, "random_state": 0} | settings))
        with pytest.raises((InvalidParameter, InvalidData), match=words):
            sampler.fit(moments)

    @pytest.mark.parametrize(
        ("func", "error", "words"),
        [
            (lambda x: x[:5], InvalidData, r"func must give shape \(200, J\)"),
            (lambda x: np.where(x > 0, np.nan, x), InvalidData, "func must be finite, got .* at the point"),
            (lambda x: np.where(x > 1, np.inf, x), InvalidData, "func must be finite"),
            (lambda x: x.astype(str), TypeError, "func must give real numbers"),
            (lambda x: x[:, :, None], InvalidData, "func must give shape"),
        ],
    )
    def test_what_func_returns(self, func, error, words):
        with pytest.raises(error, match=words):
            AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0).fit(func)

    def test_number_of_columns_that_changes(self):
        calls = []

        def func(x):
            calls.append(1)
            return np.repeat(x, 1 + len(calls), axis=1)

        with pytest.raises(InvalidData, match="func must give the same number of columns at every call"):
            AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0).fit(func)

    def test_negative_values_where_none_were_promised(self):
        with pytest.raises(InvalidData, match="signed='nonneg'"):
            AdaptiveImportanceSampler(law=norm(), budget=2_000, signed="nonneg", random_state=0).fit(lambda x: x)

    def test_values_below_the_lower_bound(self):
        sampler = AdaptiveImportanceSampler(law=norm(), budget=2_000, signed="shift", lower=[0.0], random_state=0)
        with pytest.raises(InvalidData, match="lower"):
            sampler.fit(lambda x: x)

    def test_dropping_says_so(self):
        sampler = AdaptiveImportanceSampler(law=norm(), budget=2_000, nan="drop", random_state=0)
        with pytest.warns(ReliabilityWarning, match="left out"):
            sampler.fit(lambda x: np.where(x > 2, np.nan, x**2))
        assert "biased" in " ".join(sampler.estimate().warnings)

    def test_a_law_without_density_at_its_own_draws(self):
        class Wrong:
            def rvs(self, size, random_state):
                return random_state.normal(size=size)

            def logpdf(self, x):
                return np.full(len(x), -np.inf)

        with pytest.raises(InvalidData, match=r"law\.logpdf must be finite at the law's own draws"):
            AdaptiveImportanceSampler(law=Wrong(), budget=2_000, random_state=0).fit(moments)

    def test_a_function_that_is_never_hit(self):
        sampler = AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0)
        with pytest.warns(ReliabilityWarning, match="zero at every point"):
            sampler.fit(lambda x: np.hstack([x**2, (x > 50) * 1.0]))
        est = sampler.estimate()
        assert est.value[1] == 0.0
        assert np.isnan(est.std_error[1])
        assert np.isfinite(est.std_error[0])

    def test_functions_that_are_all_never_hit(self):
        sampler = AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0)
        with pytest.warns(ReliabilityWarning, match="zero at every point"):
            sampler.fit(lambda x: (x > 50) * 1.0)
        assert sampler.estimate().value[0] == 0.0
        assert np.isnan(sampler.estimate().std_error[0])
        assert sampler.stop_reason_ == "exploration reached max_explore"

    def test_a_first_batch_without_hit(self):
        # With this seed the 400 points of the first batch miss the event, and the second finds it.
        sampler = AdaptiveImportanceSampler(law=norm(), budget=4_000, random_state=1).fit(lambda x: (x > 2.9) * 1.0)
        assert not np.any(sampler._exploration.rounds[0].block.values)
        assert abs(float(sampler.estimate()) - norm.sf(2.9)) < 6 * sampler.estimate().std_error[0]

    def test_a_law_without_full_dimension(self):
        law = multivariate_normal([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], allow_singular=True)
        with pytest.warns(ReliabilityWarning, match="covariance of the law's own draws is singular"):
            AdaptiveImportanceSampler(law=law, budget=2_000, random_state=0).fit(lambda x: x**2)

    def test_an_error_of_func_comes_through(self):
        def func(x):
            raise ZeroDivisionError("mine")

        with pytest.raises(ZeroDivisionError, match="mine"):
            AdaptiveImportanceSampler(law=norm(), budget=2_000, random_state=0).fit(func)

    def test_heavy_tail_is_flagged(self):
        # Tails of X^2 under a Cauchy have no mean; a Gaussian part cannot tame them.
        from scipy.stats import t

        with pytest.warns(ReliabilityWarning, match="khat"):
            AdaptiveImportanceSampler(law=t(1.2), random_state=0, control="none").fit(lambda x: np.abs(x) ** 3)
