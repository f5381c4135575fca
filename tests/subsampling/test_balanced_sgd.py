"""Domain streams and BalancedSGD over partial_fit."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import check_estimator

from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.laws import Binomial
from mcstat.subsampling import BalancedSGD, scalarization_weights, temperature_probabilities, variance_inflation
from mcstat.subsampling._balanced_sgd import _count_test
from mcstat.subsampling._domains import DomainStream
from tests.stat_asserts import assert_mean_close

SIZES = np.array([60, 30, 10])
CODES = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], SIZES))


def make_stream(seed=0, **settings):
    return DomainStream(CODES, np.random.default_rng(seed), **settings)


def test_rows_belong_to_their_domains_and_passes_are_whole():
    stream = make_stream()
    used = np.zeros(100, dtype=int)
    for size in (1, 7, 300, 13):
        rows, domains = stream.draw(np.array([0.2, 0.3, 0.5]), size)
        np.testing.assert_array_equal(CODES[rows], domains)
        np.add.at(used, rows, 1)
        assert all(np.ptp(used[k == CODES]) <= 1 for k in range(3))


def test_a_change_of_shares_leaves_the_walks_where_they_are():
    stream = make_stream()
    used = np.zeros(100, dtype=int)
    for shares in ([0, 0, 1], [1, 0, 0], [0, 0, 1]):
        rows, _ = stream.draw(np.array(shares, dtype=float), 15)
        np.add.at(used, rows, 1)
    np.testing.assert_array_equal(used[CODES == 2], 3)  # 30 draws of 10 rows
    assert used[CODES == 1].sum() == 0


def test_every_order_of_a_pass_is_as_likely():
    runs, counts = 6000, {}
    for seed in range(runs):
        rows, _ = DomainStream(np.zeros(3, dtype=int), np.random.default_rng(seed)).draw(np.ones(1), 6)
        for part in (rows[:3], rows[3:]):
            counts[tuple(part)] = counts.get(tuple(part), 0) + 1
    assert len(counts) == 6
    # Six cells of 2000 expected: a deviation of 6 standard errors.
    assert_mean_close(np.array(list(counts.values())) / (2 * runs), 1 / 6, np.sqrt(5 / 36 / (2 * runs)))


def test_counts_follow_the_shares():
    shares = np.array([0.5, 0.3, 0.2])
    _, domains = make_stream().draw(shares, 100_000)
    statistic, p_value = _count_test(np.bincount(domains), shares[None], 100_000)
    expected = 100_000 * shares
    np.testing.assert_allclose(statistic, ((np.bincount(domains) - expected) ** 2 / expected).sum())  # Pearson
    assert p_value > 1e-6
    assert _count_test(np.array([51_000, 29_000, 20_000]), shares[None], 100_000)[1] < 1e-6


def test_stratified_batches_have_the_expected_counts():
    shares, b = np.array([0.52, 0.33, 0.15]), 10
    stream, counts = make_stream(stratified=True), []
    for _ in range(4000):
        rows, domains = stream.draw(shares, b)
        assert len(rows) == b
        counts.append(np.bincount(domains, minlength=3))
    counts = np.array(counts)
    assert (np.abs(counts - b * shares) < 1).all()
    assert_mean_close(counts.mean(axis=0), b * shares, counts.std(axis=0) / np.sqrt(4000))


class Recorder(RegressorMixin, BaseEstimator):
    """Learns nothing; remembers its calls. X's first column is the row's number."""

    def __init__(self, eta0=0.5):
        self.eta0 = eta0

    def partial_fit(self, X, y, sample_weight=None):
        self.calls_ = [*getattr(self, "calls_", []), (X[:, 0].astype(int), self.eta0, sample_weight)]
        return self

    def predict(self, X):
        return np.zeros(len(X))


NUMBERS = np.arange(100.0)


def recorded(groups=CODES, sample_weight=None, **settings):
    options = {"n_iter": 30, "batch_size": 5, "random_state": 0, "validation_fraction": 0} | settings
    return BalancedSGD(Recorder(), **options).fit(NUMBERS[:, None], NUMBERS, groups, sample_weight)


def test_scalarize_draws_all_rows_alike_and_weighs_them():
    model = recorded(strategy="scalarize", tau=5.0, n_iter=20)
    factors = scalarization_weights(SIZES, 5)
    for rows, _, weight in model.estimator_.calls_:
        np.testing.assert_allclose(weight, factors[CODES[rows]])
    np.testing.assert_allclose(model.expected_passes_, 1)
    np.testing.assert_allclose(model.n_effective_, 100 / variance_inflation(SIZES, 5))
    weighted = recorded(strategy="scalarize", n_iter=20, sample_weight=NUMBERS + 1)
    for rows, _, weight in weighted.estimator_.calls_:
        np.testing.assert_allclose(weight, factors[CODES[rows]] * (rows + 1))


def test_temperature_draws_by_shares_without_weights():
    model = recorded(tau=2.0, n_iter=20)
    assert all(weight is None for _, _, weight in model.estimator_.calls_)
    np.testing.assert_allclose(model.expected_passes_, 100 * temperature_probabilities(SIZES, 2) / SIZES)
    drawn = np.concatenate([CODES[rows] for rows, _, _ in model.estimator_.calls_])
    np.testing.assert_array_equal(model.domain_counts_, np.bincount(drawn))
    assert model.p_value_ > 1e-6
    assert model.n_effective_ == 100


@pytest.mark.filterwarnings("ignore:many expected passes")
def test_cooldown_switches_the_temperature_and_not_the_rate():
    model = recorded(strategy="cooldown", tau=np.inf, n_iter=12, n_evaluations=12, stratified=True, batch_size=30)
    assert model.history_["tau"].tolist() == [np.inf] * 6 + [1.0] * 6
    calls = model.estimator_.calls_
    for rows, rate, _ in calls[:6]:
        np.testing.assert_array_equal(np.bincount(CODES[rows]), 10)
        assert rate == 0.5
    for rows, rate, _ in calls[6:]:
        np.testing.assert_array_equal(np.bincount(CODES[rows]), [18, 9, 3])
        assert rate == 0.5
    # 60 rows of the third domain in the hot half: each of its ten rows six times; then 18 more.
    rows = np.concatenate([rows for rows, _, _ in calls])
    assert sorted(np.bincount(rows, minlength=100)[CODES == 2]) == [7, 7, 8, 8, 8, 8, 8, 8, 8, 8]
    assert np.isnan(model.p_value_)


def test_given_shares_take_the_place_of_the_temperature():
    model = recorded(probabilities=[0.0, 0.5, 0.5], n_iter=10, batch_size=4, stratified=True)
    np.testing.assert_array_equal(model.domain_counts_, [0, 20, 20])
    assert np.isnan(model.history_["tau"]).all()
    with pytest.warns(ReliabilityWarning, match="divided"):
        scaled = recorded(probabilities=[0.0, 2.0, 2.0], n_iter=10, batch_size=4, stratified=True)
    np.testing.assert_array_equal(scaled.domain_counts_, [0, 20, 20])


def test_many_passes_raise_the_alarm():
    with pytest.warns(ReliabilityWarning, match=r"2 5\.0"):
        model = recorded(tau=np.inf)  # 150 draws, 50 of each domain: 5 passes of 10 rows
    np.testing.assert_allclose(model.expected_passes_, [50 / 60, 50 / 30, 5])
    est = BalancedSGD(Recorder(), tau=np.inf, n_iter=30, batch_size=6, random_state=0)
    with pytest.warns(ReliabilityWarning, match="passes"):
        est.fit(NUMBERS[:, None], NUMBERS, CODES)
    assert "passes" in est.estimate().warnings[0]


def test_groups_are_labels_of_a_classifier_or_one_domain():
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = np.where(X[:, 0] > 1, "rare", "common")
    model = BalancedSGD(SGDClassifier(), tau=2, n_iter=20, batch_size=8, random_state=0).fit(X, y)
    assert model.groups_.tolist() == ["common", "rare"]
    one = recorded(groups=None, n_iter=10)
    assert one.groups_.tolist() == ["all"]
    assert one.p_value_ == 1.0


def two_domains(seed=0):
    """A large domain whose label is the sign of x0, and a small one with the sign of x1."""
    rng = np.random.default_rng(seed)
    X, groups = rng.normal(size=(2200, 3)), np.repeat(["large", "small"], [2000, 200])
    X[:, 2] = groups == "small"
    X = np.column_stack([X, X[:, :2] * X[:, 2:]])
    return X, np.where(groups == "large", X[:, 0], X[:, 1]) > 0, groups


def test_the_small_domain_is_learnt_and_answered_by_itself():
    X, y, groups = two_domains()
    settings = {"n_iter": 150, "batch_size": 10, "eta0": 0.02, "validation_fraction": 0.3, "random_state": 0}
    plain = BalancedSGD(SGDClassifier(loss="log_loss"), tau=1, **settings).fit(X, y, groups)
    hot = BalancedSGD(SGDClassifier(loss="log_loss"), tau=3, **settings).fit(X, y, groups)
    loss = {name: model.history_["loss[small]"].iloc[-1] for name, model in (("plain", plain), ("hot", hot))}
    assert loss["hot"] < loss["plain"] - 0.05
    est = hot.estimate()
    assert est.names == ("accuracy[large]", "accuracy[small]")
    assert isinstance(est.law, Binomial)
    np.testing.assert_array_equal(est.law.trials, [600, 60])
    assert est.coords["group"].tolist() == ["large", "small"]
    curve = hot.history_["loss[small]"]
    assert hot.best_step_[1] == hot.history_["step"][curve.argmin()]


def test_history_has_log_loss_by_domain():
    X, y, groups = two_domains()
    model = BalancedSGD(SGDClassifier(loss="log_loss"), tau=2, n_iter=20, n_evaluations=1, random_state=0)
    model.set_params(validation_fraction=0.5).fit(X, y, groups)
    est = model.estimate()
    assert len(model.history_) == 1
    # The mean of a log loss is above that of a coin's only where the accuracy is poor, and below log 2 otherwise.
    assert 0 < model.history_["loss[large]"].iloc[0] < np.log(2)
    assert est.value[0] > 0.7
    hinge = BalancedSGD(SGDClassifier(), tau=2, n_iter=20, n_evaluations=1, random_state=0).fit(X, y, groups)
    wrong = hinge.history_[["loss[large]", "loss[small]"]].iloc[0].to_numpy()
    np.testing.assert_allclose(1 - wrong, hinge.estimate().value)


def test_a_domain_of_one_row_is_trained_on_and_left_out_of_the_answer():
    groups = np.where(np.arange(100) == 0, "single", "others")
    model = recorded(groups=groups, tau=1.0, validation_fraction=0.2)
    assert 0 in np.concatenate([rows for rows, _, _ in model.estimator_.calls_])
    est = model.estimate()
    assert est.names == ("mean squared error[others]",)
    assert "left out" in est.warnings[0]
    with pytest.raises(InvalidData, match="validation_fraction"):
        recorded(tau=1.0).estimate()


class Interrupted(Recorder):
    """Ctrl-C in the fourth call."""

    def partial_fit(self, X, y, sample_weight=None):
        super().partial_fit(X, y, sample_weight)
        if len(self.calls_) == 4:
            raise KeyboardInterrupt
        return self


def test_an_interrupted_fit_answers_with_a_warning():
    model = BalancedSGD(Interrupted(), tau=1, n_iter=10, n_evaluations=10, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(NUMBERS[:, None], NUMBERS, CODES)
    assert model.domain_counts_.sum() == 3 * 32
    assert "interrupted after 3 of 10 steps" in model.estimate().warnings


@pytest.mark.parametrize(
    ("setting", "values"),
    {
        "strategy": ["?", None],
        "tau": [0, -1, np.nan, "?", None, True],
        "tau_cold": [0, -1, np.nan, "?"],
        "switch": [-0.1, 1.1, np.nan, None],
        "schedule": ["?", None, [], [(0.1, 2)]],
        "probabilities": [[0.5, 0.5], [-1, 1, 1], [0, 0, 0]],
        "n_iter": [0, 0.5, "?"],
        "batch_size": [0, 0.5, None],
        "learning_rate": ["?", None],
        "eta0": [0, -1, "?"],
        "validation_fraction": [-0.1, 1.0, None],
        "n_evaluations": [0, None],
    }.items(),
)
def test_bad_settings(setting, values):
    for value in values:
        model = BalancedSGD(SGDRegressor(), **({"n_iter": 10, "batch_size": 2} | {setting: value}))
        with pytest.raises(InvalidParameter, match=setting):
            model.fit(NUMBERS[:, None], NUMBERS, CODES)
        with pytest.raises(NotFittedError):
            model.estimate()


class Weightless(ClassifierMixin, BaseEstimator):
    """Takes no weights."""

    def partial_fit(self, X, y, classes=None):
        return self


def test_bad_input():
    X, y = NUMBERS[:, None], NUMBERS
    with pytest.raises(TypeError, match="partial_fit"):
        BalancedSGD(LinearRegression()).fit(X, y)
    for bad in (CODES[:-1], CODES[:, None], np.where(CODES == 0, np.nan, 1.0)):
        with pytest.raises(InvalidData, match="groups"):
            BalancedSGD(SGDRegressor()).fit(X, y, bad)
    with pytest.raises(InvalidParameter, match="groups"):
        BalancedSGD(MLPClassifier()).fit(X, np.column_stack([CODES == 0, CODES == 1]).astype(int))
    with pytest.raises(TypeError, match="scalarize"):
        BalancedSGD(MLPRegressor(), strategy="scalarize").fit(X, y, CODES)
    with pytest.raises(TypeError, match="scalarize"):
        BalancedSGD(Weightless(), strategy="scalarize").fit(X, CODES)
    with pytest.raises(InvalidParameter, match="probabilities"):
        BalancedSGD(SGDRegressor(), strategy="cooldown", probabilities=[0.2, 0.3, 0.5]).fit(X, y, CODES)


WEIGHTS = "a row of weight two is drawn as one row, a repeated row as two: equal on average only"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [SGDClassifier(), SGDRegressor()])
def test_is_a_scikit_learn_estimator(estimator):
    expected = {f"check_sample_weight_equivalence_on_{kind}_data": WEIGHTS for kind in ("dense", "sparse")}
    check_estimator(BalancedSGD(estimator, n_iter=100, random_state=0), expected_failed_checks=expected)
