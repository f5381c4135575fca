"""Streams and coresets: the same bits for any chunks, unbiased totals with honest errors, norms and losses kept."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.subsampling import Coreset, MergeReduceCoreset, OnlineSampler, embedding_distortion

RNG = np.random.default_rng(4)
X = RNG.normal(size=(6_000, 3))
X[::500] *= 40
STREAMS = [MergeReduceCoreset(p=1, n_samples=150, random_state=0), OnlineSampler(oversampling=8, random_state=0)]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: type(stream).__name__)
@pytest.mark.parametrize("chunk", [1, 7, 1_000, 4_001])
def test_chunks_do_not_matter(stream, chunk):
    rows = X[:400] if chunk == 1 else X
    whole = type(stream)(**stream.get_params()).fit(rows)
    parts = type(stream)(**stream.get_params())
    for start in range(0, len(rows), chunk):
        parts.partial_fit(rows[start : start + chunk])
    np.testing.assert_array_equal(parts.rows_, whole.rows_)
    np.testing.assert_array_equal(parts.weights_, whole.weights_)
    np.testing.assert_array_equal(parts.estimate().cov, whole.estimate().cov)


@pytest.mark.parametrize(
    "make",
    [
        lambda k: MergeReduceCoreset(p=1, n_samples=150, random_state=k),
        lambda k: OnlineSampler(oversampling=8, random_state=k),
        lambda k: Coreset("kmeans", n_samples=200, random_state=k),
        lambda k: Coreset("logistic", n_samples=200, random_state=k),
    ],
    ids=["merge-reduce", "online", "kmeans", "logistic"],
)
def test_totals_are_unbiased_and_their_errors_right(make):
    power = getattr(make(0), "p", 2)
    truth = (np.abs(X) ** power).sum(axis=0)
    runs = [make(k).fit(X).estimate() for k in range(120)]
    values = np.array([run.value for run in runs])
    spread = values.std(axis=0, ddof=1)
    z = (values.mean(axis=0) - truth) / (spread / np.sqrt(len(runs)))
    assert (np.abs(z) < 6).all()
    ratio = np.sqrt(np.mean([run.std_error**2 for run in runs], axis=0)) / spread
    # A standard deviation from 120 runs errs by 6 %, more where tails are heavy.
    assert (np.abs(ratio - 1) < 0.5).all()


def test_merge_and_reduce_keeps_the_norm_in_logarithmic_memory():
    coreset = MergeReduceCoreset(p=1, n_samples=300, random_state=0).fit(X)
    assert coreset.n_rows_seen_ == 6_000
    assert coreset.n_levels_ == 4
    assert len(coreset.rows_) < 5 * 360 + 600
    assert embedding_distortion(X, coreset.rows_ * coreset.scale_[:, None], 1).value < 0.5


def test_online_sampling_keeps_the_norm_and_few_rows():
    sampler = OnlineSampler(oversampling=40, random_state=0).fit(X)
    assert len(sampler.rows_) < 3_000
    sketch = sampler.rows_ * np.sqrt(sampler.weights_)[:, None]
    assert embedding_distortion(X, sketch, 2).value < 0.5
    np.testing.assert_array_equal(X[sampler.indices_], sampler.rows_)


def test_online_probabilities_are_those_of_a_plain_loop():
    sampler = OnlineSampler(oversampling=3, ridge=0.1, random_state=0).fit(X[:300])
    metric, kept = 0.1 * np.eye(3), dict(zip(sampler.indices_, 1 / sampler.weights_, strict=True))
    for i, row in enumerate(X[:300]):
        probability = min(1.0, 3 * row @ np.linalg.solve(metric, row))
        if i in kept:
            np.testing.assert_allclose(kept[i], probability, rtol=1e-9)
            metric += np.outer(row, row) / probability


def test_logistic_coreset_gives_nearly_the_same_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3))
    y = rng.random(20_000) < 1 / (1 + np.exp(-(x @ [1.0, -2.0, 0.5])))
    coreset = Coreset("logistic", n_samples=2_000, random_state=0).fit(x, y)
    full = LogisticRegression(C=1e6).fit(x, y)
    small = LogisticRegression(C=1e6).fit(coreset.rows_, y[coreset.indices_], sample_weight=coreset.weights_)
    # Coefficients of 2000 rows err by about 0.1; 6 of those.
    assert np.abs(small.coef_ - full.coef_).max() < 0.6


def test_kmeans_loss_of_any_centres_is_within_its_error():
    centres = RNG.normal(size=(4, 3)) * 5

    def loss(rows):
        return ((rows[:, None] - centres) ** 2).sum(axis=2).min(axis=1)

    est = Coreset("kmeans", n_samples=600, random_state=0).fit(X).estimate(loss)
    assert abs(float(est) - loss(X).sum()) < 6 * est.std_error[0]
    assert est.std_error[0] < 0.2 * loss(X).sum()


def test_quantile_coreset_scores_the_response_too():
    y = np.zeros(6_000)
    y[3] = 1e4
    coreset = Coreset("quantile", n_samples=100, random_state=0).fit(X, y)
    assert coreset.scores_[3] > 0.9
    with pytest.raises(InvalidParameter, match="wants y"):
        Coreset("quantile").fit(X)


def test_bad_input():
    with pytest.raises(InvalidData, match="columns like the chunks before"):
        MergeReduceCoreset(n_samples=10).fit(X).partial_fit(X[:, :2])
    with pytest.raises(InvalidData, match="columns like the chunks before"):
        OnlineSampler().fit(X).partial_fit(X[:, :2])
    with pytest.raises(InvalidParameter, match="target must be None"):
        MergeReduceCoreset(n_samples=10, random_state=0).fit(X).estimate(lambda rows: rows)
    with pytest.raises(InvalidParameter, match="at least the 3 columns"):
        MergeReduceCoreset(n_samples=2).fit(X)
    with pytest.raises(InvalidParameter, match="ridge"):
        OnlineSampler(ridge=0).fit(X)
    with pytest.raises(InvalidParameter, match="task"):
        Coreset("svm").fit(X)
