"""RS2Estimator and compare_selection over partial_fit."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import check_estimator

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.laws import Binomial
from mcstat.subsampling import RS2Estimator, compare_selection

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 3))
LABELS = np.where(X[:, 0] + 0.3 * RNG.normal(size=600) > 0, "yes", "no")
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=600)


class Recorder(RegressorMixin, BaseEstimator):
    """Learns nothing; remembers its calls. X's first column is the row's number."""

    def __init__(self, eta0=0.5):
        self.eta0 = eta0

    def partial_fit(self, X, y, sample_weight=None):
        self.calls_ = [*getattr(self, "calls_", []), (X[:, 0].astype(int), self.eta0, sample_weight)]
        return self

    def predict(self, X):
        return np.zeros(len(X))


def numbered(n):
    return np.arange(n, dtype=float)[:, None], np.arange(n, dtype=float)


@pytest.mark.parametrize("mode", ["with_replacement", "without_replacement"])
def test_batches_rates_and_counts(mode):
    settings = {"ratio": 0.25, "n_rounds": 6, "batch_size": 10, "validation_fraction": 0.2, "mode": mode}
    model = RS2Estimator(Recorder(), eta_min=0.1, random_state=0, **settings).fit(*numbered(125))
    calls = model.estimator_.calls_
    assert [len(rows) for rows, _, _ in calls] == [10, 10, 5] * 6  # m = 25 of 100
    rates = np.array([rate for _, rate, _ in calls])
    np.testing.assert_allclose(rates, 0.1 + 0.2 * (1 + np.cos(np.pi * np.arange(18) / 18)))
    rounds = [np.concatenate([rows for rows, _, _ in calls[i : i + 3]]) for i in range(0, 18, 3)]
    assert all(len(set(rows)) == 25 for rows in rounds)
    assert len({tuple(sorted(rows)) for rows in rounds}) == 6
    seen = set(np.concatenate(rounds))
    assert model.n_seen_ == len(seen)
    assert model.seen_fraction_ == len(seen) / 100
    if mode == "without_replacement":
        assert len(set(np.concatenate(rounds[:4]))) == 100
        np.testing.assert_array_equal(model.history_["seen_fraction"], [0.25, 0.5, 0.75, 1, 1, 1])
    assert model.history_["updates"].tolist() == [3, 6, 9, 12, 15, 18]
    assert (np.diff(model.history_["training_seconds"]) > 0).all()
    # The held-out rows are the others; the recorder predicts 0.
    held_out = np.array(sorted(set(range(125)) - seen if mode == "without_replacement" else []), dtype=float)
    if mode == "without_replacement":
        est = model.estimate()
        np.testing.assert_allclose(est.value, (held_out**2).mean())
        np.testing.assert_allclose(est.std_error, (held_out**2).std(ddof=1) / 5)


def test_sparse_rows_give_what_dense_ones_give():
    sparse = csr_array(np.where(np.abs(X) > 0.5, X, 0.0))
    # SGD moves its intercept more slowly on sparse rows.
    learner = SGDClassifier(loss="log_loss", fit_intercept=False)
    for other in (sparse, sparse.toarray()):
        model = RS2Estimator(learner, n_rounds=10, batch_size=20, random_state=0)
        found = model.fit(other, LABELS)
        if other is sparse:
            first = found
    np.testing.assert_allclose(first.estimator_.coef_, found.estimator_.coef_, rtol=1e-9)
    np.testing.assert_array_equal(first.predict(sparse), found.predict(sparse.toarray()))
    assert first.score(sparse, LABELS) > 0.7
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        RS2Estimator(GaussianNB(), n_rounds=2).fit(sparse, LABELS)


def test_weights_are_routed_and_rows_of_weight_zero_left_out():
    features, y = numbered(40)
    weight = np.arange(40.0) * (np.arange(40) % 2)
    model = RS2Estimator(Recorder(), ratio=0.5, n_rounds=4, random_state=0).fit(features, y, sample_weight=weight)
    for rows, _, passed in model.estimator_.calls_:
        np.testing.assert_array_equal(passed, rows)
        assert (rows % 2 == 1).all()


@pytest.mark.parametrize(
    ("estimator", "y", "floor"),
    [
        (SGDClassifier(loss="log_loss"), LABELS, 0.8),
        (SGDRegressor(), Y, 0.95),
        (MLPClassifier((8,)), LABELS, 0.8),
        (MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01), Y, 0.9),
        (MLPClassifier((8,), learning_rate_init=0.01), np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int), 0.8),
        (MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01), X[:, :2], 0.9),
        (GaussianNB(), LABELS, 0.8),
    ],
)
def test_learns_with_estimators_of_all_kinds(estimator, y, floor):
    model = RS2Estimator(estimator, ratio=0.5, n_rounds=100, batch_size=30, random_state=0).fit(X, y)
    assert model.score(X, y) > floor
    assert model.predict(X).shape == y.shape
    assert not hasattr(estimator, "coef_")  # a clone was trained


def test_the_rate_of_a_perceptron_is_in_force():
    # A rate that falls to almost nothing: later updates must hardly move the coefficients.
    settings = {"ratio": 1.0, "learning_rate": "constant", "validation_fraction": 0, "random_state": 0}
    inner = MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", momentum=0.0)
    model = RS2Estimator(inner, n_rounds=2, eta0=0.1, **settings).fit(X, Y)
    still = RS2Estimator(inner, n_rounds=2, eta0=0.1, eta_min=0.1 - 1e-12, **settings).set_params(
        learning_rate="cosine"
    )
    np.testing.assert_allclose(still.fit(X, Y).estimator_.coefs_[0], model.estimator_.coefs_[0], rtol=1e-9)
    from mcstat.core.rng import root_seed
    from mcstat.subsampling._partial import Learner

    learner = Learner(inner, None, None, root_seed(0), "test")
    learner.update(X, Y, None, 0.1)
    before = learner.model.coefs_[0].copy()
    learner.update(X, Y, None, 1e-13)
    np.testing.assert_allclose(learner.model.coefs_[0], before, rtol=0, atol=1e-10)
    learner.update(X, Y, None, 0.1)
    assert np.abs(learner.model.coefs_[0] - before).max() > 1e-4


def test_accuracy_has_the_exact_binomial_law():
    model = RS2Estimator(SGDClassifier(), validation_fraction=0.25, random_state=0).fit(X, LABELS)
    est = model.estimate()
    assert isinstance(est.law, Binomial)
    assert est.law.trials == 150
    assert est.law.successes / 150 == est.value == model.history_["score"].iloc[-1]
    ends = est.conf_int().loc["accuracy"]
    assert ends["lower"] < est.value[0] < ends["upper"]


def test_stratified_batches_hold_every_class():
    rare = np.where(np.arange(600) < 12, "rare", LABELS)
    model = RS2Estimator(GaussianNB(), stratify=True, ratio=0.05, n_rounds=3, random_state=0).fit(X, rare)
    assert (model.estimator_.class_count_ > 0).all()
    np.testing.assert_allclose(model.estimator_.class_count_[1] / 3, 1)


def test_early_stopping_and_target():
    options = {"ratio": 0.3, "n_rounds": 200, "random_state": 0, "early_stopping": True}
    stopped = RS2Estimator(SGDClassifier(), n_iter_no_change=3, **options).fit(X, LABELS)
    scores = stopped.history_["score"].to_numpy()
    assert len(scores) < 200
    assert scores.argmax() == len(scores) - 4
    assert "chose when to stop" in stopped.estimate().warnings[0]
    reached = RS2Estimator(SGDClassifier(), target=0.8, n_iter_no_change=100, **options).fit(X, LABELS)
    scores, last = reached.history_["score"].to_numpy(), reached.history_.iloc[-1]
    assert scores[-1] >= 0.8
    assert (scores[:-1] < 0.8).all()
    assert reached.time_to_target_ == last["selection_seconds"] + last["training_seconds"]
    never = RS2Estimator(SGDClassifier(), target=1.1, n_rounds=3, random_state=0).fit(X, LABELS)
    assert never.time_to_target_ == np.inf
    assert np.isnan(RS2Estimator(SGDClassifier(), n_rounds=2).fit(X, LABELS).time_to_target_)


def test_no_held_out_rows():
    model = RS2Estimator(SGDRegressor(), validation_fraction=0, n_rounds=20, random_state=0).fit(X, Y)
    assert model.seen_fraction_ == 1
    with pytest.raises(InvalidData, match="validation_fraction"):
        model.estimate()
    with pytest.raises(InvalidParameter, match="validation_fraction"):
        RS2Estimator(SGDRegressor(), validation_fraction=0, early_stopping=True).fit(X, Y)


class Interrupted(SGDRegressor):
    """Ctrl-C in the fourth call."""

    def partial_fit(self, X, y, sample_weight=None):
        self.calls_ = getattr(self, "calls_", 0) + 1
        if self.calls_ == 4:
            raise KeyboardInterrupt
        return super().partial_fit(X, y, sample_weight)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_answers_with_a_warning(early_stopping):
    model = RS2Estimator(Interrupted(), n_rounds=10, early_stopping=early_stopping, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert len(model.history_) == 3
    assert model.estimate().warnings[-1] == "interrupted after 3 of 10 rounds"


@pytest.mark.parametrize(
    ("setting", "values"),
    {
        "ratio": [0, -0.1, 1.1, np.nan, "?", None, 1e-6],
        "n_rounds": [0, 0.5, "?", None, True],
        "mode": ["?", None, 1],
        "batch_size": [0, 0.5, "?"],
        "learning_rate": ["?", None],
        "eta0": [0, -1, np.nan, "?"],
        "eta_min": [-1, np.nan, "?", 0.02],
        "validation_fraction": [-0.1, 1.0, np.nan, None],
        "n_iter_no_change": [0, 0.5, None],
        "target": [np.nan, "?"],
    }.items(),
)
def test_bad_settings(setting, values):
    for value in values:
        model = RS2Estimator(SGDClassifier(), **{setting: value})
        with pytest.raises(InvalidParameter, match=setting):
            model.fit(X, LABELS)
        with pytest.raises(NotFittedError):
            model.estimate()


def test_bad_input():
    for estimator in (LinearRegression(), KMeans(), SGDClassifier, None, "?"):
        with pytest.raises(TypeError, match="partial_fit"):
            RS2Estimator(estimator).fit(X, Y)
    weightless = type("Weightless", (Recorder,), {"partial_fit": lambda self, X, y: self})
    with pytest.raises(TypeError, match="sample_weight"):
        RS2Estimator(weightless()).fit(X, Y, sample_weight=np.ones(600))
    with pytest.raises(InvalidParameter, match="eta0"):
        RS2Estimator(GaussianNB(), eta0=0.1).fit(X, LABELS)
    with pytest.raises(InvalidParameter, match="stratify"):
        RS2Estimator(SGDRegressor(), stratify=True).fit(X, Y)
    with pytest.raises(InvalidParameter, match="strata"):
        RS2Estimator(SGDClassifier(), stratify=True, ratio=0.01).fit(X, np.arange(600) % 30)
    with pytest.raises(InvalidData, match="inconsistent"):
        RS2Estimator(SGDClassifier()).fit(X, LABELS[:-1])
    with pytest.raises(InvalidData, match="class"):
        RS2Estimator(SGDClassifier()).fit(X, np.zeros(600))
    with pytest.raises(InvalidData, match="sample_weight"):
        RS2Estimator(SGDClassifier()).fit(X, LABELS, sample_weight=-np.ones(600))
    with pytest.raises(InvalidData):
        RS2Estimator(SGDClassifier()).fit(X[:0], LABELS[:0])


WEIGHTS = "a row of weight two is drawn as one row, a repeated row as two: equal on average only"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [SGDClassifier(), SGDRegressor()])
def test_is_a_scikit_learn_estimator(estimator):
    expected = {f"check_sample_weight_equivalence_on_{kind}_data": WEIGHTS for kind in ("dense", "sparse")}
    check_estimator(RS2Estimator(estimator, random_state=0), expected_failed_checks=expected)


def teacher(n):
    """Labels of a rule that needs many rows: 40 coefficients."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(n, 40))
    return features, features @ rng.normal(size=40) + 2 * rng.normal(size=n) > 0


def first_rows(X, y, m, rng):
    return np.arange(m)


def test_comparison_finds_a_static_subset_worse():
    found = compare_selection(
        SGDClassifier(loss="log_loss"), *teacher(4000), ratio=0.02, n_rounds=50, batch_size=16, target=0.85,
        selectors={"first": first_rows}, random_state=0,
    )  # fmt: skip
    full, static, without, with_ = found.scores.value[:4]
    assert found.scores.names[0] == "full data, equal updates"
    assert min(full, without, with_) > static + 0.1
    assert found.scores.draws.shape == (1, 5, 5)
    table = found.to_frame().set_index("method")
    assert table.loc["static random", "time_to_target"].startswith("> ")
    assert float(table.loc["rs2, with replacement", "time_to_target"]) > 0
    assert (found.history.groupby(["method", "replicate"])["updates"].max() == 50 * 4).all()
    assert "full data, equal updates" in repr(found)


def test_comparison_is_the_same_for_any_number_of_jobs():
    def scores(n_jobs):
        return compare_selection(
            SGDRegressor(), X, Y, n_rounds=3, n_replicates=3, n_jobs=n_jobs, random_state=0
        ).scores.draws

    np.testing.assert_array_equal(scores(1), scores(2))


def test_time_of_a_selector_counts():
    def slow(X, y, m, rng):
        total = 0.0
        for row in range(20_000):
            total += row**0.5
        return rng.permutation(len(X))[:m]

    table = compare_selection(SGDRegressor(), X, Y, n_rounds=2, n_replicates=2, selectors={"slow": slow}).to_frame()
    seconds = table.set_index("method")["selection_seconds"]
    assert seconds["slow"] > 5e-4 > seconds["static random"]
    assert (table["time_to_target"] == "").all()


def test_bad_comparisons():
    def compare(**settings):
        return compare_selection(SGDRegressor(), X, Y, **({"n_rounds": 2, "n_replicates": 2} | settings))

    for setting, values in {
        "n_rounds": [0, 0.5], "n_replicates": [1, None], "validation_fraction": [0, 1], "target": ["?"], "ratio": [0],
    }.items():  # fmt: skip
        for value in values:
            with pytest.raises(InvalidParameter, match=setting):
                compare(**{setting: value})
    with pytest.raises(TypeError, match="function"):
        compare(selectors={"mine": 3})
    with pytest.raises(InvalidParameter, match="always"):
        compare(selectors={"static random": first_rows})
    for bad in (np.zeros(48, int), np.arange(47), np.arange(48) + 10_000, np.arange(48.0), np.arange(48) - 1):
        with pytest.raises(InvalidData, match="places"):
            compare(selectors={"mine": lambda *_, bad=bad: bad})
    with pytest.raises(TypeError, match="partial_fit"):
        compare_selection(LinearRegression(), X, Y)
