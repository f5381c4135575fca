"""Samples of rows: probabilities, unbiased totals with honest errors, small distortion where uniform fails."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.subsampling import LpSampler, embedding_distortion
from mcstat.subsampling._designs import draw, inclusion_probabilities

RNG = np.random.default_rng(8)
X = RNG.normal(size=(1_500, 4))
X[:10] *= 30


@pytest.mark.parametrize("size", [1, 2.5, 40, 400, 1499])
def test_probabilities_sum_to_the_size(size):
    scores = RNG.exponential(size=1_500) ** 3
    q = inclusion_probabilities(scores, size)
    assert abs(q.sum() - size) < 1e-9
    assert ((q >= 0) & (q <= 1)).all()
    free = q < 1
    np.testing.assert_allclose(q[free] / scores[free], (q[free] / scores[free])[0], rtol=1e-9)
    assert (scores[~free].min(initial=np.inf)) >= scores[free].max(initial=0)


def test_advice_from_a_pilot_is_kept():
    pilot = LpSampler(p=2, n_samples=200, design="fixed", random_state=0).fit(X)
    size = pilot.n_samples_for(X, 0.01)
    assert size == int(np.ceil(200 * (pilot.distortion(X).value / 0.01) ** 2))
    others = [LpSampler(p=2, n_samples=size, design="fixed", random_state=k).fit(X) for k in range(9)]
    # D of both samples is random: its median over samples is within a factor of two of the goal.
    assert 0.005 < np.median([other.distortion(X).value for other in others]) < 0.02
    assert pilot.n_samples_for(X, 1e-6) == len(X)
    with pytest.raises(InvalidParameter, match="distortion"):
        pilot.n_samples_for(X, 0.0)


def test_plots_show_scores_and_the_distortion():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the plot extra is not installed")
    sampler = LpSampler(p=2, n_samples=100, random_state=0).fit(X)
    ax = sampler.plot()
    assert ax.lines[0].get_ydata()[0] == sampler.scores_.max()
    left, right = sampler.plot(X)
    assert left.get_ylabel() == "score (lewis)"
    drawn = right.lines[0]
    np.testing.assert_array_equal(np.unique(drawn.get_xdata()), [12, 25, 50, 100])
    again = LpSampler(p=2, n_samples=100, random_state=2).fit(X).distortion(X).value
    assert drawn.get_ydata()[-1] == again
    pyplot.close("all")


def test_scores_of_zero_are_never_drawn_and_few_scores_are_all_taken():
    q = inclusion_probabilities(np.array([0.0, 1.0, 2.0, 0.0]), 3)
    np.testing.assert_array_equal(q, [0, 1, 1, 0])
    with pytest.raises(InvalidData, match="all be zero"):
        inclusion_probabilities(np.zeros(3), 1)
    with pytest.raises(InvalidData, match="not negative"):
        inclusion_probabilities(np.array([1.0, -1.0]), 1)


@pytest.mark.parametrize("design", ["poisson", "fixed", "with_replacement"])
def test_designs_draw_with_their_probabilities(design):
    q = inclusion_probabilities(np.array([1.0, 2.0, 3.0, 4.0, 30.0, 0.0]), 3)
    runs, rng = 20_000, np.random.default_rng(0)
    counts = np.zeros(6)
    for _ in range(runs):
        taken = draw(q, design, rng)
        counts[taken.indices] += taken.counts
        np.testing.assert_allclose(taken.expected, q[taken.indices], rtol=1e-12)
        if design != "poisson":
            assert taken.counts.sum() == 3
    # Each count has a standard deviation of at most sqrt(3 runs); 6 of them: under 1e-8.
    assert (np.abs(counts - runs * q) < 6 * np.sqrt(3 * runs)).all()
    assert counts[5] == 0


@pytest.mark.parametrize("design", ["poisson", "fixed", "with_replacement"])
def test_totals_are_unbiased_and_their_errors_right(design):
    truth = (np.abs(X) ** 1.5).sum(axis=0)
    runs = [LpSampler(1.5, n_samples=80, design=design, random_state=k).fit(X).estimate() for k in range(400)]
    values = np.array([run.value for run in runs])
    spread = values.std(axis=0, ddof=1)
    z = (values.mean(axis=0) - truth) / (spread / np.sqrt(len(runs)))
    assert (np.abs(z) < 6).all()
    ratio = np.sqrt(np.mean([run.std_error**2 for run in runs], axis=0)) / spread
    # A standard deviation from 400 runs errs by 3.5 %; heavier tails double that.
    assert (np.abs(ratio - 1) < 0.4).all()


@pytest.mark.parametrize("p", [1, 1.5, 4])
def test_norms_are_kept_where_uniform_sampling_fails(p):
    spiky = RNG.normal(size=(4_000, 6))
    spiky[:20] *= 50
    spiky[20:32] = 30 * np.tile(np.eye(6), (2, 1))
    uniform, ours = (
        np.median(
            [LpSampler(p, score=s, n_samples=600, random_state=k).fit(spiky).distortion(spiky).value for k in range(3)]
        )
        for s in ("uniform", "lewis")
    )
    assert ours < 0.25
    assert uniform > 2 * ours


def test_root_leverage_shrinks_in_rounds_and_keeps_totals():
    sampler = LpSampler(1, score="root_leverage", n_samples=200, random_state=0).fit(X)
    assert len(sampler.indices_) < 260
    assert sampler.distortion(X).value < 0.5
    # The weights' sum estimates the number of rows.
    assert abs(sampler.estimate(lambda rows: np.ones(len(rows))).value[0] / 1_500 - 1) < 0.5


@pytest.mark.parametrize("p", [1, 2, 4])
def test_taking_all_rows_is_the_matrix_itself(p):
    sampler = LpSampler(p, score="lewis", n_samples=1_500, random_state=0).fit(X)
    np.testing.assert_array_equal(sampler.sample_, X)
    assert sampler.distortion(X).value < 1e-9


def test_exact_distortions():
    two = X[:300, :2]
    half = two[::2] * 2
    assert embedding_distortion(two, two * 1.1, 1).kind == "exact"
    np.testing.assert_allclose(embedding_distortion(two, two * 1.1, 1).value, 0.1, rtol=1e-9)
    np.testing.assert_allclose(embedding_distortion(X, X * 1.1, 2).value, 0.21, rtol=1e-9)
    found = embedding_distortion(two, half, 1)
    angles = np.linspace(0, np.pi, 20_001)
    x = np.stack([np.cos(angles), np.sin(angles)])
    grid = np.abs(np.abs(half @ x).sum(axis=0) / np.abs(two @ x).sum(axis=0) - 1)
    assert grid.max() <= found.value + 1e-12
    np.testing.assert_allclose(found.value, grid.max(), rtol=1e-3)
    ratio = np.abs(half @ found.direction).sum() / np.abs(two @ found.direction).sum()
    np.testing.assert_allclose(abs(ratio - 1), found.value, rtol=1e-9)


def test_lower_bound_is_attained_and_beats_random_directions():
    sampler = LpSampler(3, n_samples=150, random_state=1).fit(X)
    found = sampler.distortion(X)
    assert found.kind == "lower bound"
    sample = sampler.sample_

    def error(x):
        return abs((np.abs(sample @ x) ** 3).sum() / (np.abs(X @ x) ** 3).sum() - 1)

    np.testing.assert_allclose(error(found.direction), found.value, rtol=1e-9)
    assert found.value >= max(error(x) for x in RNG.normal(size=(200, 4)))


def test_sample_weight_counts_rows():
    weight = np.ones(1_500)
    weight[5] = 3.0
    repeated = np.vstack([X, X[5], X[5]])
    ours = LpSampler(1.5, n_samples=1_500, random_state=0).fit(X, sample_weight=weight)
    np.testing.assert_allclose(ours.estimate().value, (np.abs(repeated) ** 1.5).sum(axis=0), rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"p": 0.5}, "p must be"),
        ({"score": "best"}, "score must be"),
        ({"design": "bernoulli"}, "design must be"),
        ({"n_samples": 0}, "n_samples must be"),
        ({"p": 3, "score": "root_leverage"}, "p < 2"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InvalidParameter, match=words):
        LpSampler(**settings).fit(X)


def test_a_sample_that_lacks_a_direction_has_distortion_one():
    X = np.repeat(np.eye(3), 5, axis=0)
    sketch = X[X[:, 2] == 0]
    for p in (1.0, 1.5, 4.0):
        assert embedding_distortion(X, sketch, p).value >= 1.0
