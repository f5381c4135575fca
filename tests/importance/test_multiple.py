"""MultipleImportanceSampler and AMIS against theory, slow twins and themselves, and on bad input."""

from functools import cache
from math import prod

import numpy as np
import pytest
from scipy.stats import expon, multivariate_normal, multivariate_t, norm, uniform
from scipy.stats import t as student

from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import AMIS, MultipleImportanceSampler
from mcstat.importance._components import Component
from mcstat.importance._strata import apportion, effective_log_density
from mcstat.importance._student_mixture import StudentMixture
from tests.naive import multiple as naive
from tests.stat_asserts import assert_mean_close, two_stage_coverage

WIDE = [norm(scale=1.5), norm(-1, 2), norm(1, 2)]
POWERS = np.array([2, 4, 6])
DOUBLE_FACTORIALS = np.array([prod(range(1, power, 2)) for power in POWERS], dtype=float)
SCHEMES = [
    {"weights": "balance"},
    {"weights": "standard"},
    {"weights": "power"},
    {"weights": "partial", "groups": ["a", "b", "a"]},
]
# Of a few points, and of light tails: what is estimated is not what these tests look at.
quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
by_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme["weights"])


def even_powers(x):
    return x**POWERS


def mis(seed=0, **settings):
    settings = {"proposals": WIDE, "law": norm(), "budget": 3_000, "random_state": seed, "verbose": False} | settings
    return MultipleImportanceSampler(**settings)


def bell(x):
    """N(1, 0.25) without its constant sqrt(2 pi) / 2."""
    return -2.0 * (x[:, 0] - 1.0) ** 2


def amis(seed=0, target=bell, **settings):
    settings = {"initial": norm(scale=5), "budget": 4_000, "random_state": seed, "verbose": False} | settings
    return AMIS(target, **settings)


def replicated(make, fit, seeds):
    """Values and standard errors (seeds, J)."""
    found = [make(seed).fit(*fit).estimate() for seed in range(seeds)]
    return np.array([one.value for one in found]), np.array([one.std_error for one in found])


# Against theory ---------------------------------------------------------------------------------------------------


@by_scheme
def test_moments_are_double_factorials_without_bias_and_with_the_true_error(scheme):
    # Card, checks 5 and 7. |z| < 6 of a mean over 200 seeds fails a right method with probability 2e-9; the ratio of a
    # mean over 200 of errors to a standard deviation of 200 values has a relative error of 5 %, so 0.7 to 1.4 is six.
    values, errors = replicated(lambda seed: mis(seed, **scheme), (even_powers,), 200)
    spread = values.std(axis=0, ddof=1)
    assert_mean_close(values.mean(axis=0), DOUBLE_FACTORIALS, spread / np.sqrt(200))
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / spread
    assert np.all((ratio > 0.7) & (ratio < 1.4)), ratio


def test_balance_with_the_law_itself_is_the_plain_mean():
    # Card, check 8.
    sampler = mis(proposals=[norm(), norm(), norm()]).fit(even_powers)
    np.testing.assert_allclose(sampler.log_weights_, 0.0, atol=1e-14)
    np.testing.assert_allclose(sampler.estimate().value, sampler.values_.mean(axis=0), rtol=1e-14)


def test_one_proposal_makes_all_schemes_equal():
    values = [
        mis(proposals=WIDE[:1], **(scheme | ({"groups": [0]} if "groups" in scheme else {})))
        .fit(even_powers)
        .estimate()
        .value
        for scheme in SCHEMES
    ]
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-13)


def test_balance_has_no_more_variance_than_partial_nor_partial_than_standard():
    # Card, check 8; the variances by quadrature, so without Monte Carlo error.
    x = np.linspace(-15, 15, 20_001)
    step, f, phi = x[1] - x[0], norm.pdf(x), x**4
    h = np.array([law.pdf(x) for law in WIDE])
    counts = np.array([1, 1, 1])

    def variance(q_of):
        total = 0.0
        for t in range(3):
            row = phi * f / q_of(t)
            mean = np.sum(row * h[t]) * step
            total += counts[t] * (np.sum(row**2 * h[t]) * step - mean**2)
        return total / counts.sum() ** 2

    def q(weighting, groups=None):
        def of(t):
            labels = np.full(len(x), t)
            # The counts are those of labels; three rows a point put one point into each stratum.
            log_h = np.vstack([np.log(h.T)] * 3)
            everyone = np.concatenate([labels, np.full(len(x), (t + 1) % 3), np.full(len(x), (t + 2) % 3)])
            return np.exp(effective_log_density(log_h, everyone, weighting, power=2.0, groups=groups))[: len(x)]

        return of

    balance, standard = variance(q("balance")), variance(q("standard"))
    partial = variance(q("partial", np.array([0, 1, 1])))
    assert balance < partial < standard


@by_scheme
def test_a_constant_under_a_target_is_exact_and_its_scale_does_not_matter(scheme):
    def fitted(shift):
        return mis(law=None, target=lambda x: bell(x) + shift, **scheme).fit(lambda x: np.hstack([x**0, x])).estimate()

    estimate = fitted(0.0)
    assert estimate.value[0] == pytest.approx(1.0, abs=1e-14)
    assert estimate.std_error[0] < 1e-15
    moved = fitted(700.0)
    np.testing.assert_allclose(moved.value, estimate.value, rtol=1e-10)
    np.testing.assert_allclose(moved.std_error, estimate.std_error, rtol=1e-10, atol=1e-15)
    assert moved.diagnostics["log_mean_weight"][0] == pytest.approx(
        estimate.diagnostics["log_mean_weight"][0] + 700.0, rel=1e-12
    )


def test_normaliser_of_a_target():
    estimate = mis(law=None, target=bell, budget=20_000).fit().estimate()
    error = estimate.diagnostics["log_mean_weight_std_error"][0]
    assert_mean_close(estimate.diagnostics["log_mean_weight"][0], np.log(np.sqrt(2 * np.pi) / 2), error)
    assert error < 0.02


def test_disjoint_strata_integrate_a_step_without_error():
    # Within each proposal the summand is constant: fixed counts leave no variance at all.
    halves = [uniform(0, 0.5), uniform(0.5, 0.5)]
    estimate = mis(proposals=halves, law=uniform()).fit(lambda x: x > 0.5).estimate()
    assert float(estimate) == pytest.approx(0.5, abs=1e-15)
    assert estimate.std_error[0] < 1e-16


def test_many_laws_from_the_same_points():
    laws = [norm(shift) for shift in (-0.5, 0.0, 0.5)]
    estimate = mis(law=None, laws=laws, budget=20_000).fit(lambda x: x).estimate()
    assert_mean_close(estimate.value, [-0.5, 0.0, 0.5], estimate.std_error)
    one = mis(law=laws[2], budget=20_000).fit(lambda x: x).estimate()
    assert estimate.value[2] == pytest.approx(float(one), rel=1e-12)
    assert estimate.cov[0, 1] != 0.0


@pytest.mark.parametrize(("df", "n_components"), [(3.0, 1), (None, 1), pytest.param(10.0, 2, marks=pytest.mark.slow)])
def test_amis_is_right_and_its_error_nearly(df, n_components):
    # A bias of AMIS would show here only if it were near its error over sqrt(200); validation measures coverage.
    settings = {"df": df, "n_components": n_components, "n_iter": 5, "budget": 1_500}
    values, errors = replicated(lambda seed: amis(seed, **settings), (lambda x: x ** [1, 2],), 200)
    spread = values.std(axis=0, ddof=1)
    assert_mean_close(values.mean(axis=0), [1.0, 1.25], spread / np.sqrt(200))
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / spread
    assert np.all((ratio > 0.7) & (ratio < 1.4)), ratio


def test_coverage_of_amis():
    # False alarm below 1e-6 a moment (two stages).
    truth = np.array([1.0, 1.25])

    @cache
    def hits(start, n):
        inside = []
        for seed in range(start, start + n):
            ends = amis(seed, n_iter=5, budget=1_000).fit(lambda x: x ** [1, 2]).estimate().conf_int()
            inside.append((ends["lower"] <= truth) & (truth <= ends["upper"]))
        return np.sum(inside, axis=0)

    for j in range(2):
        two_stage_coverage(lambda start, n, j=j: hits(start, n)[j], 0.95)


def test_amis_learns_two_far_modes_in_three_dimensions():
    centres = np.array([[4.0, 0, 0], [-4.0, 0, 0]])

    def two_bells(x):
        return np.logaddexp(*(-0.5 * np.sum((x - centre) ** 2, axis=1) / 0.25 for centre in centres))

    wide = multivariate_normal(np.zeros(3), 25 * np.eye(3))
    fitted = amis(target=two_bells, initial=wide, n_components=2, budget=10_000).fit(lambda x: np.hstack([x, x**2]))
    estimate = fitted.estimate()
    assert_mean_close(estimate.value, [0, 0, 0, 16.25, 0.25, 0.25], estimate.std_error)
    assert estimate.diagnostics["ess"] > 4_000
    ess = fitted.history_["ess"]
    assert ess[0] < 50 < ess[-1]


def test_student_mixture_is_a_density_with_the_moments_of_the_gaussians():
    factors = np.array([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [0.0, 0.4]]])
    gaussians = Component(np.array([0.3, 0.7]), np.array([[1.0, 2.0], [-1.0, 0.0]]), factors)
    mixture = StudentMixture.with_moments(gaussians, 5.0)
    z = np.random.default_rng(0).standard_normal((50, 2))
    wanted = sum(
        weight * multivariate_t(mean, factor @ factor.T * 3 / 5, df=5).pdf(z)
        for weight, mean, factor in zip(gaussians.weights, gaussians.means, factors, strict=True)
    )
    np.testing.assert_allclose(np.exp(mixture.logpdf(z)), wanted, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariance(), gaussians.covariance(), rtol=1e-12)
    # 5 degrees of freedom: the fourth moment exists. Means of 2e5 draws within six errors.
    draws = mixture.rvs(200_000, np.random.default_rng(1))
    squares = np.column_stack([draws, draws**2, draws[:, 0] * draws[:, 1]])
    mean = gaussians.weights @ gaussians.means
    second = gaussians.covariance() + np.outer(mean, mean)
    error = squares.std(axis=0) / np.sqrt(200_000)
    assert_mean_close(squares.mean(axis=0), [*mean, second[0, 0], second[1, 1], second[0, 1]], error)


# Against slow twins ------------------------------------------------------------------------------------------------


@quiet
@by_scheme
def test_equals_the_naive_twin(scheme):
    sampler = mis(budget=60, shares=[3, 2, 1], **scheme).fit(lambda x: x**2)
    labels, x = sampler.strata_.tolist(), sampler.sample_[:, 0]
    counts, groups = [30, 20, 10], scheme.get("groups")
    weights = []
    for point, label in zip(x, labels, strict=True):
        h = [law.pdf(point) for law in WIDE]
        weights.append(norm.pdf(point) / naive.effective_density(h, counts, label, scheme["weights"], 2.0, groups))
    np.testing.assert_allclose(np.exp(sampler.log_weights_[:, 0]), weights, rtol=1e-12)
    value, error = naive.stratified((x**2).tolist(), weights, labels)
    estimate = sampler.estimate()
    assert float(estimate) == pytest.approx(value, rel=1e-12)
    assert estimate.std_error[0] == pytest.approx(error, rel=1e-12)
    value, error = naive.self_normalised((x**2).tolist(), weights, labels)
    same = mis(law=None, target=lambda x: norm.logpdf(x[:, 0]) + 3.0, budget=60, shares=[3, 2, 1], **scheme)
    estimate = same.fit(lambda x: x**2).estimate()
    assert float(estimate) == pytest.approx(value, rel=1e-12)
    assert estimate.std_error[0] == pytest.approx(error, rel=1e-12)


def test_amis_weighs_all_points_by_the_mixture_of_all_rounds():
    fitted = amis(n_iter=4, budget=1_000).fit(lambda x: x)
    x, labels = fitted.sample_, fitted.strata_
    counts = np.bincount(labels)
    mixture = sum(n * np.exp(h.logpdf(x)) for n, h in zip(counts, fitted.proposals_, strict=True)) / 1_000
    weights = np.exp(bell(x)) / mixture
    np.testing.assert_allclose(np.exp(fitted.log_weights_[:, 0]), weights, rtol=1e-10)
    value, error = naive.self_normalised(x[:, 0].tolist(), weights.tolist(), labels.tolist())
    estimate = fitted.estimate()
    assert float(estimate) == pytest.approx(value, rel=1e-10)
    assert estimate.std_error[0] == pytest.approx(error, rel=1e-10)


def test_the_first_fitted_proposal_has_the_weighted_moments():
    fitted = amis(n_iter=2, budget=2_000, df=None).fit()
    first = fitted.sample_[fitted.strata_ == 0][:, 0]
    weights = np.exp(bell(first[:, None])) / norm(scale=5).pdf(first)
    weights /= weights.sum()
    mean = weights @ first
    second = fitted.proposals_[1]
    assert float(second.centre[0] + second.scale[0] * second.component.means[0, 0]) == pytest.approx(mean, rel=1e-12)
    variance = second.scale[0] ** 2 * second.component.covariance()[0, 0]
    # The guard against few effective points shrinks a little towards the first round's covariance.
    assert variance == pytest.approx(weights @ (first - mean) ** 2, rel=0.05)


# Against itself ----------------------------------------------------------------------------------------------------


def test_apportionment():
    rng = np.random.default_rng(0)
    for _ in range(200):
        shares = rng.dirichlet(np.full(int(rng.integers(1, 9)), 0.5)) + 1e-3
        shares /= shares.sum()
        before = np.zeros(len(shares), dtype=int)
        for n in sorted(rng.integers(1, 3_000, 20).tolist()):
            counts = apportion(shares, n)
            assert counts.sum() == n
            assert np.all(counts >= before)
            assert np.all(np.abs(counts - n * shares) < len(shares))
            before = counts
    np.testing.assert_array_equal(apportion(np.full(3, 1 / 3), 4), [2, 1, 1])


@quiet
@pytest.mark.parametrize("budget", [6, 7, 100, 4_096, 4_097, 20_011])
def test_the_budget_is_spent_to_the_point(budget):
    calls = []

    def counted(x):
        calls.append(len(x))
        return x

    sampler = mis(budget=budget).fit(counted)
    assert sum(calls) == budget == sampler.n_calls_ == len(sampler.sample_)
    counts = np.bincount(sampler.strata_)
    assert counts.max() - counts.min() <= 1
    calls.clear()
    if budget >= 9:
        with_rounds = amis(budget=budget, n_iter=3).fit(counted)
        assert sum(calls) == budget == with_rounds.n_calls_


def test_extend_pools_exactly():
    sampler = mis(budget=4_096, shares=[5, 3, 2]).fit(even_powers)
    first = sampler.estimate()
    sampler.extend(3 * 4_096)
    longer = mis(budget=4 * 4_096, shares=[5, 3, 2]).fit(even_powers)
    np.testing.assert_array_equal(sampler.sample_, longer.sample_)
    np.testing.assert_array_equal(sampler.estimate().value, longer.estimate().value)
    assert np.all(sampler.estimate().std_error < first.std_error)
    with pytest.raises(InvalidParameter, match="extend\\(\\) wants n"):
        sampler.extend()


def test_amis_goes_on():
    fitted = amis(n_iter=5, budget=1_000).fit()
    first = fitted.estimate()
    fitted.extend(1_000)
    assert fitted.n_calls_ == 2_000
    assert len(fitted.proposals_) == 10
    assert fitted.estimate().std_error[0] < first.std_error[0]


@pytest.mark.parametrize("make", [mis, amis])
def test_what_fails_leaves_no_answer(make):
    calls = []

    def bad_later(x):
        calls.append(1)
        return x if len(calls) < 3 else x * np.nan

    sampler = make(budget=20_000)
    with pytest.raises(InvalidData, match="func must be finite"):
        sampler.fit(bad_later)
    assert not sampler.__sklearn_is_fitted__()


@pytest.mark.parametrize("make", [mis, amis])
def test_moving_and_scaling_a_function_does_what_it_should(make):
    plain = make().fit(lambda x: x).estimate()
    scaled = make().fit(lambda x: 1024 * x).estimate()
    np.testing.assert_array_equal(scaled.value, 1024 * plain.value)
    np.testing.assert_array_equal(scaled.std_error, 1024 * plain.std_error)


def test_amis_does_not_mind_units():
    plain = amis().fit().estimate()
    units = amis(target=lambda x: bell(x / 1e6), initial=norm(scale=5e6)).fit().estimate()
    assert float(units) == pytest.approx(1e6 * float(plain), rel=1e-8)


@pytest.mark.parametrize("make", [mis, amis])
def test_plot_and_arviz(make):
    pytest.importorskip("matplotlib").use("Agg")
    fitted = make().fit(names=["x"])
    axes = fitted.plot()
    assert len(axes) == 2
    pytest.importorskip("arviz")
    assert "x" in fitted.to_arviz()["posterior"]


# Warnings and bad input ---------------------------------------------------------------------------------------------


@quiet
def test_standard_weights_with_a_support_too_small_are_called_biased():
    def fit(**scheme):
        return mis(proposals=[norm(), expon(), norm(1)], **scheme).fit(lambda x: x)

    with pytest.warns(ReliabilityWarning, match=r"proposals\[1\] has density 0 where"):
        fit(weights="standard")
    with pytest.warns(ReliabilityWarning, match=r"proposals\[1\] has density 0 where"):
        fit(weights="partial", groups=[0, 1, 0])
    for scheme in ({"weights": "partial", "groups": [0, 1, 1]}, {"weights": "balance"}):
        assert not any("density 0" in text for text in fit(**scheme).estimate().warnings)


def test_a_light_tailed_proposal_is_flagged():
    with pytest.warns(ReliabilityWarning, match="one point makes up to"):
        mis(proposals=[norm()], law=student(3), budget=20_000).fit(lambda x: x**2)


def test_a_function_that_is_never_hit_has_no_error():
    with pytest.warns(ReliabilityWarning, match="were zero at every point"):
        estimate = mis().fit(lambda x: np.hstack([x, x > 99])).estimate()
    assert estimate.value[1] == 0.0
    assert np.isnan(estimate.std_error[1])
    assert np.isfinite(estimate.std_error[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"proposals": []}, "proposals must be a list"),
        ({"proposals": norm()}, "proposals must be a list"),
        ({"proposals": [norm(), 3]}, r"proposals\[1\] must have rvs"),
        ({"proposals": [norm(), multivariate_normal(np.zeros(2))]}, "one dimension"),
        ({"law": None}, "exactly one of law, laws and target"),
        ({"target": bell}, "exactly one of law, laws and target"),
        ({"law": None, "laws": []}, "laws must hold at least one"),
        ({"law": None, "target": 3}, "target must be callable"),
        ({"weights": "heuristic"}, "weights must be one of"),
        ({"weights": "partial"}, "groups goes with"),
        ({"groups": [0, 0, 1]}, "groups goes with"),
        ({"weights": "partial", "groups": [0]}, "groups must hold 3"),
        ({"power": 0.5, "weights": "power"}, "power must be a number"),
        ({"shares": [1, 1]}, "shares must be 3 positive"),
        ({"shares": [1, 0, 1]}, "shares must be 3 positive"),
        ({"shares": [1, 1e-6, 1]}, "budget must give each proposal 2 points"),
        ({"budget": 5}, "budget must be an integer >= 6"),
    ],
)
def test_bad_settings_of_mis(settings, words):
    with pytest.raises(InvalidParameter, match=words):
        mis(**settings).fit(even_powers)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"df": 2.0}, "df must be a number"),
        ({"df": "normal"}, "df must be a number"),
        ({"n_iter": 0}, "n_iter must be an integer"),
        ({"n_components": 0}, "n_components must be an integer"),
        ({"budget": 29}, "budget must be an integer >= 30"),
        ({"initial": None}, "initial must have rvs"),
        ({"initial": "mode"}, "initial must be one of"),
        ({"initial": "laplace"}, "wants start"),
        ({"target": None}, "target must be callable"),
        ({"covariance": "banded"}, "covariance must be one of"),
    ],
)
def test_bad_settings_of_amis(settings, words):
    with pytest.raises(InvalidParameter, match=words):
        amis(**settings).fit()


def test_a_target_that_the_first_round_misses():
    with pytest.raises(DegenerateWeightsError, match="give another initial law"):
        amis(target=lambda x: np.where(np.abs(x[:, 0] - 500) < 1, 0.0, -np.inf)).fit()
    with pytest.raises(DegenerateWeightsError, match="give proposals that reach it"):
        mis(law=None, target=lambda x: np.full(len(x), -np.inf)).fit()


@pytest.mark.parametrize(
    ("func", "error", "words"),
    [
        (3, InvalidParameter, "func must be callable"),
        (lambda x: x.astype(str), TypeError, "func must give real numbers"),
        (lambda x: x[:3], InvalidData, "func must give shape"),
        (lambda x: np.ones((len(x), 3 if len(x) > 4_000 else 1)), InvalidData, "same number of columns"),
        (lambda x: np.ones((len(x), 2)), InvalidData, "1 or 3 columns"),
    ],
)
def test_bad_functions(func, error, words):
    with pytest.raises(error, match=words):
        mis(law=None, laws=[norm()] * 3, budget=5_000).fit(func)


def test_names_must_fit():
    with pytest.raises(InvalidParameter, match="names must be 3"):
        mis().fit(even_powers, names=["a"])
