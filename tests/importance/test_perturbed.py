"""PerturbedLawIndices against closed forms, against a slow twin, and on bad input."""

import math

import numpy as np
import pytest
from scipy.stats import expon, gumbel_r, kstest, lognorm, norm, poisson, uniform

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.importance import PerturbedLawIndices
from mcstat.importance._perturbed import perturbed_indices
from mcstat.importance._tilts import IndependentLaw, tilted

SLOPES = np.array([0.6, 0.8, 0.0])
NORMALS = [norm(), norm(), norm()]
quiet = pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")


def linear(x):
    return 2.5 - x @ SLOPES


def linear_truth(perturb, deltas):
    """Index by input and change: failure has probability Phi(-2.5) and another mean or variance."""
    d = np.tile(deltas, 3)
    a = np.repeat(SLOPES, len(deltas))
    moved = norm.cdf(-2.5 + a * d) if perturb == "mean" else norm.cdf(-2.5 / np.sqrt(1 + a**2 * (d - 1)))
    return perturbed_indices(np.concatenate([[norm.cdf(-2.5)], moved]))[0]


class TestAgainstTheory:
    @pytest.mark.parametrize(("perturb", "deltas"), [("mean", [-0.8, 0.0, 0.8]), ("variance", [0.5, 1.0, 1.5])])
    def test_linear_limit_state(self, perturb, deltas):
        # |z| < 6 for 9 indices: false-alarm rate 2e-8. An input without slope and a change that is none give 0.
        pli = PerturbedLawIndices(NORMALS, deltas=deltas, perturb=perturb, random_state=0).fit(linear)
        est, truth = pli.estimate(), linear_truth(perturb, deltas)
        assert np.all(np.abs(est.value - truth) <= 6 * est.std_error + 1e-9)
        assert np.all(est.std_error < 0.03 * (1 + np.abs(truth)))
        assert est["PLI[x1, +0]" if perturb == "mean" else "PLI[x1, +1]"].std_error[0] < 1e-9
        assert pli.sampler_.n_calls_ == 20_000

    @quiet
    def test_is_centred_and_its_errors_are_true(self):
        # Mean z over 30 seeds: |mean| < 6 / sqrt(30), 2e-9 an index; mean square < 3.5, 3e-10 an index.
        z = []
        for seed in range(30):
            pli = PerturbedLawIndices(NORMALS, deltas=[-0.5, 0.5], budget=2_000, random_state=seed).fit(linear)
            est = pli.estimate()
            z.append((est.value - linear_truth("mean", [-0.5, 0.5])) / est.std_error)
        assert np.all(np.abs(np.mean(z, axis=0)) < 6 / math.sqrt(30))
        assert np.all(np.mean(np.square(z), axis=0) < 3.5)

    def test_shared_points_make_a_small_change_known_well(self):
        pli = PerturbedLawIndices(NORMALS, deltas=[0.01], random_state=0).fit(linear)
        relative = pli.probabilities_.std_error / pli.probabilities_.value
        assert np.all(pli.estimate().std_error < 0.1 * relative[1:])

    def test_a_positive_function_instead_of_failures(self):
        # E exp(a x) = exp(a^2 / 2), times exp(a d) under a shift by d.
        pli = PerturbedLawIndices(NORMALS[:1], deltas=[-0.5, 0.5], threshold=None, random_state=0)
        est = pli.fit(lambda x: np.exp(0.7 * x)).estimate()
        change = math.exp(0.35) - 1
        assert np.all(np.abs(est.value - [-change, change]) < 6 * est.std_error + 1e-12)

    def test_uniform_inputs(self):
        # Failure is x <= 1 on (0, 10); its tilted probability is (e^s - 1) / (e^(10 s) - 1) for a slope of s.
        law = uniform(0, 10)
        slope = tilted("law[0]", law, "mean", 0.5).slopes[0] / law.std()
        truth = perturbed_indices(np.array([0.1, math.expm1(slope) / math.expm1(10 * slope)]))[0]
        est = PerturbedLawIndices([law], deltas=[0.5], threshold=1.0, random_state=0).fit(lambda x: x).estimate()
        assert abs(est.value[0] - truth[0]) < 6 * est.std_error[0]


class TestTilts:
    @pytest.mark.parametrize(
        ("perturb", "delta", "expected"),
        [("mean", 1.3, norm(3 + 2.6, 2)), ("variance", 0.25, norm(3, 1)), ("variance", 1.44, norm(3, 2.4))],
    )
    def test_a_normal_stays_normal(self, perturb, delta, expected):
        law = norm(3, 2)
        x = np.linspace(-5, 11, 50)
        ratio = tilted("law[0]", law, perturb, delta).log_ratio(x)
        np.testing.assert_allclose(ratio, expected.logpdf(x) - law.logpdf(x), atol=1e-8)

    @pytest.mark.parametrize("law", [uniform(-1, 2), gumbel_r(), expon()], ids=lambda law: law.dist.name)
    @pytest.mark.parametrize(("perturb", "delta"), [("mean", -0.4), ("mean", 0.4), ("variance", 0.7)])
    def test_moments_by_quadrature(self, law, perturb, delta):
        from scipy.integrate import quad

        tilt = tilted("law[0]", law, perturb, delta)
        ends = law.ppf(1e-14), law.isf(1e-14)

        def moment(k):
            return quad(lambda x: x**k * math.exp(law.logpdf(x) + tilt.log_ratio(np.array([x]))[0]), *ends, limit=200)[
                0
            ]

        mean = moment(1)
        assert moment(0) == pytest.approx(1, abs=2e-5)
        assert (mean - law.mean()) / law.std() == pytest.approx(delta if perturb == "mean" else 0.0, abs=1e-4)
        if perturb == "variance":
            assert (moment(2) - mean**2) / law.var() == pytest.approx(delta, abs=2e-4)

    @pytest.mark.parametrize("delta", [-2.0, 1.0])
    def test_draws_follow_the_density(self, delta):
        # Kolmogorov-Smirnov p-value: false-alarm rate 1e-6 each.
        draws = tilted("law[0]", norm(3, 2), "mean", delta).rvs(100_000, np.random.default_rng(0))
        assert kstest(draws, norm(3 + 2 * delta, 2).cdf).pvalue > 1e-6
        draws = tilted("law[0]", uniform(), "mean", 0.5).rvs(100_000, np.random.default_rng(1))
        slope = tilted("law[0]", uniform(), "mean", 0.5).slopes[0] / uniform().std()
        assert kstest(draws, lambda x: np.expm1(slope * x) / np.expm1(slope)).pvalue > 1e-6

    def test_only_one_marginal_changes(self):
        law = IndependentLaw(tuple(NORMALS), 1, tilted("law[1]", norm(), "mean", 2.0))
        x = law.rvs(1000, np.random.default_rng(0))
        np.testing.assert_allclose(law.logpdf(x), norm.logpdf(x - [0.0, 2.0, 0.0]).sum(axis=1), atol=1e-7)
        assert np.all(np.abs(x.mean(axis=0) - [0.0, 2.0, 0.0]) < 6 / math.sqrt(1000))

    @pytest.mark.parametrize(
        ("law", "perturb", "delta"), [(lognorm(1.0), "mean", 0.5), (uniform(), "mean", 2.0), (expon(), "variance", 2.0)]
    )
    def test_laws_that_have_no_tilt(self, law, perturb, delta):
        with pytest.raises(InvalidParameter, match=r"law\[2\] has no nearest law"):
            tilted("law[2]", law, perturb, delta)


class TestAgainstNaive:
    def test_definition_and_derivatives(self):
        p = np.array([0.02, 0.01, 0.02, 0.05, 0.3])
        value, slopes = perturbed_indices(p)
        for j, moved in enumerate(p[1:]):
            expected = moved / p[0] - 1 if moved >= p[0] else 1 - p[0] / moved
            assert value[j] == pytest.approx(expected, abs=1e-15)
        for k in range(len(p)):
            step = np.zeros(len(p))
            step[k] = 1e-7
            numeric = (perturbed_indices(p + step)[0] - perturbed_indices(p - step)[0]) / 2e-7
            np.testing.assert_allclose(slopes[:, k], numeric, rtol=1e-4, atol=1e-4)

    def test_antisymmetric_in_up_and_down(self):
        up, down = perturbed_indices(np.array([0.1, 0.3]))[0], perturbed_indices(np.array([0.3, 0.1]))[0]
        assert up[0] == pytest.approx(-down[0])


class TestAnswer:
    def test_names_and_coordinates(self):
        pli = PerturbedLawIndices(NORMALS[:2], deltas=[-1, 2], names=["load", "steel"], budget=2_000, random_state=0)
        est = pli.fit(lambda x: 1 - x[:, 0]).estimate()
        assert est.names == ("PLI[load, -1]", "PLI[load, +2]", "PLI[steel, -1]", "PLI[steel, +2]")
        assert list(est.coords["input"]) == ["load", "load", "steel", "steel"]
        assert list(est.coords["delta"]) == [-1, 2, -1, 2]
        assert pli.probabilities_.names[:2] == ("P", "P[load, -1]")

    def test_extend_sharpens(self):
        pli = PerturbedLawIndices(NORMALS, deltas=[0.5], budget=4_000, random_state=0).fit(linear)
        before = pli.estimate()
        assert np.all(pli.extend(20_000).estimate().std_error[:2] < 0.6 * before.std_error[:2])
        assert pli.sampler_.n_calls_ == 24_000

    def test_plot_has_a_line_an_input(self):
        pytest.importorskip("matplotlib").use("Agg")
        pli = PerturbedLawIndices(NORMALS, deltas=[0.5, -0.5], budget=4_000, random_state=0)
        pli.fit(lambda x: 1 - x[:, 0])
        ax = pli.plot()
        lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
        assert len(lines) == 3
        np.testing.assert_allclose(lines[0].get_xdata(), [-0.5, 0.5])
        np.testing.assert_allclose(lines[0].get_ydata(), pli.estimate().value[[1, 0]])

    def test_a_failure_that_is_never_met(self):
        pli = PerturbedLawIndices(NORMALS, deltas=[0.5], budget=2_000, random_state=0)
        with pytest.warns(ReliabilityWarning, match="zero at every point"):
            pli.fit(lambda x: 50 - x[:, 0])
        est = pli.estimate()
        assert np.isnan(est.value).all()
        assert "not found positive" in est.warnings[-1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"law": norm()}, "law must be a list of marginals"),
        ({"law": []}, "law must be a list of marginals"),
        ({"law": [poisson(3)]}, r"law\[0\] must be continuous"),
        ({"deltas": []}, "deltas must be at least one number"),
        ({"deltas": [0.5, 0.5]}, "deltas must be at least one number, each once"),
        ({"deltas": [np.nan]}, "deltas must be finite"),
        ({"deltas": [-0.5], "perturb": "variance"}, "deltas must be positive"),
        ({"perturb": "median"}, "perturb must be one of"),
        ({"threshold": np.inf}, "threshold must be a number"),
        ({"names": ["a"]}, r"names must be 3 string\(s\)"),
        ({"names": ["a", "a", "b"]}, "names must be unique"),
    ],
)
def test_settings_are_refused_in_fit_by_name(settings, words):
    pli = PerturbedLawIndices(**({"law": NORMALS, "budget": 2_000, "random_state": 0} | settings))
    with pytest.raises((InvalidParameter, InvalidData), match=words):
        pli.fit(linear)
    assert not pli.__sklearn_is_fitted__()


def test_what_func_must_be():
    with pytest.raises(InvalidParameter, match="func must be callable"):
        PerturbedLawIndices(NORMALS, budget=2_000).fit(3.0)
    with pytest.raises(InvalidData, match="func must not be negative"):
        PerturbedLawIndices(NORMALS, threshold=None, budget=2_000).fit(linear)
